"""The oracle charges, limits and keeps; checked on networks whose every answer is known."""

from fractions import Fraction

import pytest
import torch
from torch import nn

from bench.api import Deployed, Trial
from bench.attacks.fgsm import FGSM
from bench.attacks.losses import cross_entropy, margin
from bench.attacks.noise import UniformNoise
from bench.attacks.pgd import PGD
from bench.attacks.square import Square
from bench.core.outcomes import NEVER
from bench.core.threat import (
    DECISIONS,
    GRAY_BOX_TWIN,
    SCORES,
    TRANSFER,
    WHITE_BOX,
    WHITE_BOX_BPDA,
    Budget,
    Feedback,
    Knowledge,
    Norm,
    Source,
)
from bench.errors import AccessDenied, QueriesSpent
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.ledger import Ledger
from bench.evaluate.numerics import PLAIN, Numerics
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import Referee

LINF = Budget(Norm.LINF, Fraction(1, 10))


class Threshold(nn.Module):
    """Class 1 where the mean pixel exceeds one half; the logit gap is the mean minus one half."""

    def forward(self, x):
        gap = x.flatten(1).mean(dim=1) - 0.5
        return torch.stack([-gap, gap], dim=1)


def images(*levels):
    return torch.tensor(levels)[:, None, None, None].expand(len(levels), 1, 2, 2).contiguous()


def oracle(x, y, knowledge=WHITE_BOX, deployed=None, others=None, budget=LINF, batch=64, numerics=PLAIN):
    deployed = deployed or Deployed(Threshold())
    batches = Batches(batch)
    access = Access(deployed, knowledge, others or {}, numerics)
    ledger = Ledger(x, y, 2)
    return MeteredOracle(access, Referee(deployed, budget, batches), ledger, batches), ledger


def test_a_climb_costs_one_forward_and_one_backward_and_gives_the_known_gradient():
    x, y = images(0.3, 0.8), torch.tensor([0, 1])
    asked, ledger = oracle(x, y)
    climb = asked.climb(margin, x, y)
    # z_1 - z_0 = 2 (mean - 1/2), so each of four pixels has slope 1/2, upwards for class 0
    assert torch.allclose(climb.gradient, torch.tensor([0.5, -0.5])[:, None, None, None].expand_as(x))
    assert torch.allclose(climb.loss, torch.tensor([-0.4, -0.6]))
    assert ledger.forwards.tolist() == [1, 1] and ledger.backwards.tolist() == [1, 1]
    assert not climb.broken.any()


def test_a_broken_example_is_kept_and_costs_nothing_more():
    x, y = images(0.45, 0.2), torch.tensor([0, 0])
    asked, ledger = oracle(x, y)
    climb = asked.climb(margin, x + 0.08, y)  # 0.53 is class 1
    assert climb.broken.tolist() == [True, False]
    assert climb.gradient[0].abs().sum() == 0 and climb.gradient[1].abs().sum() > 0
    again = asked.climb(margin, x, y)
    assert again.broken.tolist() == [True, False]
    assert again.loss[0] == climb.loss[0], "the loss of the query that broke it"
    assert ledger.forwards.tolist() == [1, 2] and ledger.first_success.tolist() == [1, NEVER]
    assert torch.allclose(ledger.witness[0], x[0] + 0.08)


def test_a_success_outside_the_budget_is_none():
    x, y = images(0.3), torch.tensor([0])
    asked, ledger = oracle(x, y)
    assert asked.labels(torch.full_like(x, 0.9)).tolist() == [1]
    assert not asked.broken().any(), "0.9 is class 1, but 0.3 + 0.1 = 0.4 is all that the budget allows"
    assert ledger.forwards.tolist() == [1]


def test_views_charge_the_examples_they_show():
    x, y = images(0.1, 0.2, 0.3), torch.tensor([0, 0, 0])
    asked, ledger = oracle(x, y)
    view = asked.only(torch.tensor([2, 0])).only(torch.tensor([0]))
    view.logits(x[[2]])
    assert ledger.forwards.tolist() == [0, 0, 1]


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_batches_change_nothing(batch):
    torch.manual_seed(0)
    x = torch.rand(5, 1, 2, 2)
    y = Threshold()(x).argmax(1)
    whole, _ = oracle(x, y)
    parts, _ = oracle(x, y, batch=batch)
    one, other = whole.climb(cross_entropy, x, y), parts.climb(cross_entropy, x, y)
    assert torch.equal(one.gradient, other.gradient) and torch.equal(one.logits, other.logits)


def test_out_of_memory_halves_the_batch_with_the_same_result():
    sizes = []

    def hungry(x):
        sizes.append(len(x))
        if len(x) > 3:
            raise torch.OutOfMemoryError("no")
        return x * 2

    batches = Batches(8)
    x = torch.arange(10.0)
    assert torch.equal(batches.map(hungry, x), x * 2)
    assert sizes == [8, 4, 2, 2, 2, 2, 2] and batches.size == 2


@pytest.mark.parametrize(
    ("knowledge", "forbidden"),
    [
        (SCORES, ["climb"]),
        (DECISIONS, ["climb", "logits"]),
        (Knowledge("blind", Source.NOTHING, Feedback.NOTHING), ["climb", "logits", "labels"]),
        (WHITE_BOX, []),
    ],
)
def test_what_the_knowledge_forbids_is_denied(knowledge, forbidden):
    x, y = images(0.2), torch.tensor([0])
    asked, ledger = oracle(x, y, knowledge)
    calls = {
        "climb": lambda: asked.climb(margin, x, y),
        "logits": lambda: asked.logits(x),
        "labels": lambda: asked.labels(x),
    }
    for name, call in calls.items():
        if name in forbidden:
            with pytest.raises(AccessDenied):
                call()
        else:
            call()
    if len(forbidden) == 3:
        assert ledger.forwards.tolist() == [0]


def test_an_adaptive_loss_is_climbed_where_there_is_one_and_denied_where_there_is_none():
    x, y = images(0.2), torch.tensor([0])
    asked, _ = oracle(x, y)
    with pytest.raises(AccessDenied, match="adaptive_loss"):
        asked.climb(None, x, y)
    deployed = Deployed(Threshold(), adaptive_loss=lambda x, y: 3 * x.flatten(1).sum(1))
    asked, _ = oracle(x, y, deployed=deployed)
    assert torch.allclose(asked.climb(None, x, y).gradient, torch.full_like(x, 3.0))


def test_the_harness_enforces_the_query_limit():
    x, y = images(0.2, 0.3), torch.tensor([0, 0])
    three = Knowledge("black-box", Source.NOTHING, Feedback.LOGITS, max_queries=3)
    asked, ledger = oracle(x, y, three)
    for _ in range(3):
        asked.logits(x)
    with pytest.raises(QueriesSpent, match="3 queries"):
        asked.logits(x)
    assert ledger.forwards.tolist() == [3, 3]
    arena = Arena(Deployed(Threshold()), LINF, 2, {}, PLAIN, Batches(8), seed=0)
    cell = play(arena, Trial("square", Square(queries=50), three), Chunk(0, x, y, torch.arange(2)), 0)
    assert cell.error is None and cell.outcomes.forwards.max() <= 3, "the attack wanted 50"


def test_a_transfer_asks_the_surrogate_and_never_learns_of_success():
    class Inverted(Threshold):
        def forward(self, x):
            return super().forward(x).flip(1)

    x, y = images(0.45, 0.55), torch.tensor([0, 1])
    for knowledge, source in ((TRANSFER, Source.SURROGATE), (GRAY_BOX_TWIN, Source.TWIN)):
        asked, _ = oracle(x, y, knowledge, others={source: Inverted()})
        assert asked.labels(x).tolist() == [1, 0], "the surrogate's answers"
        assert not asked.climb(margin, x, y).broken.any() and not asked.broken().any()
    with pytest.raises(AccessDenied, match="surrogate"):
        oracle(x, y, TRANSFER)


def test_eot_averages_gradients_and_charges_every_sample():
    class Noisy(Threshold):
        def forward(self, x):
            return super().forward(x) * (1 + torch.randn(()))

    x, y = images(0.2), torch.tensor([0])
    deployed = Deployed(Noisy(), randomized=True)
    asked, ledger = oracle(x, y, deployed=deployed, numerics=Numerics(eot_samples=400))
    torch.manual_seed(0)
    climb = asked.climb(margin, x, y)
    assert climb.gradient.mean().item() == pytest.approx(0.5, abs=0.1)
    assert ledger.forwards.tolist() == [400] == ledger.backwards.tolist()


def test_bpda_climbs_the_stand_in_and_is_judged_on_the_defense():
    class Rounded(Threshold):
        def forward(self, x):
            return super().forward((x * 4).round() / 4)

    x, y = images(0.3), torch.tensor([0])
    chunk = Chunk(0, x, y, torch.arange(1))
    big = Budget(Norm.LINF, Fraction(4, 10))
    trial = Trial("pgd", PGD(steps=10, random_start=False), WHITE_BOX)
    blocked = play(Arena(Deployed(Rounded()), big, 2, {}, PLAIN, Batches(8), seed=0), trial, chunk, 0)
    assert blocked.outcomes.robust.all() and blocked.flat_gradients == 1, "rounding has no gradient"
    bpda = Deployed(Rounded(), attackable=Threshold())
    broken = play(Arena(bpda, big, 2, {}, PLAIN, Batches(8), seed=0), trial, chunk, 0)
    assert not broken.outcomes.robust.any() and broken.flat_gradients == 0


def test_folding_and_channels_last_agree_with_everything_off():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 2)
    )
    net[1].running_mean.normal_()
    net[1].running_var.uniform_(0.5, 2)
    x = torch.rand(16, 3, 8, 8)
    y = net.eval()(x).argmax(1)
    plain, _ = oracle(x, y, deployed=Deployed(net))
    fast, _ = oracle(x, y, deployed=Deployed(net), numerics=Numerics())
    one, other = plain.climb(cross_entropy, x, y), fast.climb(cross_entropy, x, y)
    assert torch.allclose(one.gradient, other.gradient, atol=1e-6)
    assert torch.allclose(one.logits, other.logits, atol=1e-5)


def test_bf16_success_is_confirmed_in_full_precision():
    class Coarse(nn.Module):
        """Under autocast the gap of 1e-3 drowns in bfloat16's rounding, and the wrong class wins."""

        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 2, bias=False)
            with torch.no_grad():
                self.linear.weight[0] = 1.0
                self.linear.weight[1] = 1.001  # rounds down to 1 in bfloat16: a tie, class 0 wins

        def forward(self, x):
            return self.linear(x.flatten(1))

    x = images(0.7)
    net = Coarse()
    y = net(x).argmax(1)
    asked, _ = oracle(x, y, deployed=Deployed(net), numerics=Numerics(precision="bf16"))
    climb = asked.climb(cross_entropy, x, y)
    assert climb.logits.argmax(1) != y, "bfloat16 sees a success"
    assert not climb.broken.any(), "full precision does not"


def test_a_defense_without_a_derivative_is_a_sentence_and_its_scores_can_be_attacked():
    class Cut(Threshold):
        def forward(self, x):
            return super().forward(x.detach())

    x, y = images(0.45, 0.9), torch.tensor([0, 1])
    chunk = Chunk(0, x, y, torch.arange(2))

    def broken(deployed, attack, knowledge):
        cell = play(
            Arena(deployed, LINF, 2, {}, PLAIN, Batches(8), seed=0),
            Trial("one", attack, knowledge),
            chunk,
            seed=0,
        )
        return cell.error or (~cell.outcomes.robust).tolist()

    assert broken(Deployed(Cut()), FGSM(), WHITE_BOX).startswith("the defense answers without a derivative")
    assert broken(Deployed(Cut()), Square(queries=20), SCORES) == [True, False]
    assert broken(Deployed(Cut(), attackable=Threshold()), FGSM(), WHITE_BOX_BPDA) == [True, False]


def test_noise_and_fgsm_on_the_threshold_break_exactly_what_the_budget_reaches():
    levels = (0.25, 0.39, 0.41, 0.45, 0.55, 0.59, 0.61, 0.9)
    x = images(*levels)
    y = Threshold()(x).argmax(1)
    chunk = Chunk(0, x, y, torch.arange(len(levels)))
    arena = Arena(Deployed(Threshold()), LINF, 2, {}, PLAIN, Batches(3), seed=0)
    outcomes = play(arena, Trial("fgsm", FGSM(), WHITE_BOX), chunk, 0).outcomes
    assert outcomes.robust.tolist() == [abs(level - 0.5) > 0.1 for level in levels]
    noise = play(arena, Trial("noise", UniformNoise(draws=5), WHITE_BOX), chunk, 0).outcomes
    assert (noise.robust >= outcomes.robust).all() and noise.robust[[0, 1, 6, 7]].all()
