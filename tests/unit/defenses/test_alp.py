"""Logit pairing: each term by hand, what M-PGD and the mixes leave out, and what is attacked at all."""

import math
from dataclasses import dataclass, field
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from bench.api import Batch, Features
from bench.core.encoding import override
from bench.data.load import load
from bench.errors import BadValue
from bench.registry import DEFENSES
from bench.train.fit import train
from bench.train.recipe import Recipe
from defenses import alp
from defenses.alp import ALP_100, ALP_PLAIN, M_PGD, Alp, Clp, Lsq
from defenses.losses import noisy
from defenses.pgd_at import PgdAt
from defenses.standard import Standard

ONE_EPOCH = Recipe("one", epochs=1, batch_size=64, learning_rate=0.05, validation_examples=0, select="last")

P_CLEAN, P_ADV = (0.5, 0.3, 0.2), (0.1, 0.6, 0.3)
CLEAN, ADV, Y = torch.tensor([P_CLEAN]).log(), torch.tensor([P_ADV]).log(), torch.tensor([0])
SQUARES = [(math.log(p) - math.log(q)) ** 2 for p, q in zip(P_CLEAN, P_ADV, strict=True)]


def values(terms):
    return {name: term.item() for name, term in terms.items()}


def test_every_term_by_hand():
    expected = {
        "clean": -math.log(0.5) / 2,
        "adversarial": -math.log(0.1) / 2,
        "pairing": 0.25 * sum(SQUARES) / 3,
    }
    assert values(Alp(weight=0.25).terms(CLEAN, ADV, Y)) == pytest.approx(expected, rel=1e-6)


def test_the_mixed_cross_entropy_is_the_mean_over_both_halves():
    clean, adv, y = torch.randn(5, 4), torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 3])
    terms = Alp(label_smoothing=0.1).terms(clean, adv, y)
    both = F.cross_entropy(torch.cat([clean, adv]), torch.cat([y, y]), label_smoothing=0.1)
    assert (terms["clean"] + terms["adversarial"]).item() == pytest.approx(both.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("defense", "terms"),
    [
        (Alp(), {"clean": 0.5, "adversarial": 0.5, "pairing": 0.5}),
        (ALP_PLAIN, {"clean": 1.0, "pairing": 0.5}),
        (ALP_100, {"adversarial": 1.0, "pairing": 0.5}),
        (M_PGD, {"clean": 0.5, "adversarial": 0.5}),
    ],
    ids=["alp", "plain", "100", "m_pgd"],
)
def test_the_mixes_and_m_pgd_by_their_terms(defense, terms):
    whole = {"clean": -math.log(0.5), "adversarial": -math.log(0.1), "pairing": sum(SQUARES) / 3}
    expected = {name: share * whole[name] for name, share in terms.items()}
    assert values(defense.terms(CLEAN, ADV, Y)) == pytest.approx(expected, rel=1e-6)


def test_tensorflows_label_smoothing_by_hand():
    q = [0.7 + 0.1, 0.1, 0.1]  # s = 0.3, K = 3
    expected = -sum(a * math.log(b) for a, b in zip(q, P_CLEAN, strict=True)) / 2
    assert Alp(label_smoothing=0.3).terms(CLEAN, ADV, Y)["clean"].item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("distance", "reduction", "expected"),
    [
        ("squared", "mean", (10 / 4 + 2 / 4) / 2),
        ("squared", "sum", (10 + 2) / 2),
        ("l1", "mean", (4 / 4 + 2 / 4) / 2),
        ("l1", "sum", (4 + 2) / 2),
        ("l2", "mean", (math.sqrt(10 / 4) + math.sqrt(2 / 4)) / 2),
        ("l2", "sum", (math.sqrt(10) + math.sqrt(2)) / 2),
        ("cos", "mean", (2 + 1) / 2),
        ("cos", "sum", (2 + 1) / 2),
    ],
)
def test_distances_by_hand(distance, reduction, expected):
    # the first pair is antiparallel and differs by (3, -1, 0, 0), the second is orthogonal
    clean = torch.tensor([[-1.5, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    adv = torch.tensor([[1.5, -0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    found = Alp(distance=distance, reduction=reduction).pairing(clean, adv)
    assert found.item() == pytest.approx(expected)


def test_the_sum_over_the_classes_is_k_times_their_mean():
    zeros, ones = torch.zeros(4, 10), torch.ones(4, 10)
    assert Alp().pairing(zeros, ones).item() == pytest.approx(1)
    assert Alp(reduction="sum").pairing(zeros, ones).item() == pytest.approx(10)


@pytest.mark.parametrize("distance", ["squared", "l2", "l1", "cos"])
def test_equal_logits_have_no_distance_and_a_finite_gradient(distance):
    clean = torch.randn(3, 4, requires_grad=True)
    found = Alp(distance=distance).pairing(clean, clean.detach().clone())
    found.backward()
    assert found.item() == pytest.approx(0, abs=1e-6)
    assert clean.grad.isfinite().all()


def test_both_sides_of_a_pair_learn_unless_the_clean_one_is_detached():
    for detach, learns in ((False, True), (True, False)):
        clean, adv = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
        Alp(detach_clean=detach).pairing(clean, adv).backward()
        assert (clean.grad is not None) is learns
        assert adv.grad.abs().max() > 0


# what a step asks of the harness


@dataclass
class Asked:
    """A context that notes what it is asked for."""

    net: torch.nn.Module
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))
    attacks: list = field(default_factory=list)
    observed: int = 0

    def attack(self, net, attack, x, *labels):
        assert net is self.net
        self.attacks.append((attack, labels))
        return (x + 0.1).clamp(0, 1)

    def observe(self, net, x):
        self.observed += 1
        return Features(torch.eye(3)[[2] * len(x)], torch.zeros(len(x), 1), ())


class Counting(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.sizes = torch.nn.Linear(4, 3), []

    def forward(self, x):
        self.sizes.append(len(x))
        return self.linear(x.flatten(1))


def one_step(defense, monkeypatch, images=6):
    net, found = Counting(), {}
    context = Asked(net)
    batch = Batch(torch.rand(images, 1, 2, 2), torch.arange(images) % 2, torch.arange(images))
    monkeypatch.setattr(alp, "fit_classifier", lambda net, context, step: found.update(step(net, batch)))
    defense.fit(net, context)
    return context, net.sizes, found, batch


@pytest.mark.parametrize(
    ("defense", "attacks", "sizes"),
    [
        (Alp(), 1, [12]),
        (M_PGD, 1, [12]),
        (ALP_PLAIN, 1, [12]),
        (ALP_100, 1, [12]),
        (Alp(weight=0.0, mix="100"), 1, [6]),
        (Alp(weight=0.0, mix="plain"), 0, [6]),
        (Clp(), 0, [6]),
        (Lsq(), 0, [6]),
    ],
)
def test_no_attack_and_no_forward_that_no_term_needs(defense, attacks, sizes, monkeypatch):
    context, found, _, _ = one_step(defense, monkeypatch)
    assert (len(context.attacks), found) == (attacks, sizes)
    assert context.observed == 0


def test_the_predicted_label_is_what_an_attack_leaves(monkeypatch):
    context, _, _, batch = one_step(Alp(), monkeypatch)
    assert torch.equal(context.attacks[0][1][0], batch.y)
    context, _, _, batch = one_step(Alp(label="pred"), monkeypatch)
    assert context.attacks[0][1][0].tolist() == [2] * 6  # what the clean images are taken for


def test_targets_are_the_attacks_own(monkeypatch):
    context, _, _, _ = one_step(Alp(target="least_likely", steps=3), monkeypatch)
    attack, _ = context.attacks[0]
    assert (attack.target, attack.steps, attack.step_size) == ("least_likely", 3, Fraction(1, 4))


# reductions to other defenses, through whole trainings


def trained(defense, folder):
    data = load("synthetic")
    train(
        defense,
        data,
        data.task(),
        budget=data.budget,
        recipe=ONE_EPOCH,
        seed=0,
        identity="the same for both",
        parents={},
        folder=folder,
        device="cpu",
    )
    return load_file(folder / "last.safetensors")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Alp(weight=0.0, mix="100", steps=2), PgdAt(steps=2)),
        (Alp(weight=0.0, mix="plain"), Standard()),
        (Clp(weight=0.0, sigma=0.0), Standard()),
        (Lsq(weight=0.0, sigma=0.0), Standard()),
    ],
    ids=["pgd_at", "standard", "clp", "lsq"],
)
def test_without_its_own_terms_it_is_another_defense(ours, theirs, tmp_path):
    a, b = trained(ours, tmp_path / "a"), trained(theirs, tmp_path / "b")
    assert all(torch.allclose(a[key], b[key], rtol=0, atol=1e-7) for key in a)


def test_with_its_own_terms_it_is_not(tmp_path):
    a, b = (
        trained(Alp(weight=20.0, steps=1, mix="100"), tmp_path / "a"),
        trained(PgdAt(steps=1), tmp_path / "b"),
    )
    assert not all(torch.allclose(a[key], b[key], rtol=0, atol=1e-4) for key in a)


# clean logit pairing and squeezing


def test_clp_pairs_the_first_half_with_the_second():
    logits = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 0.0]])
    terms = values(Clp(weight=0.3).terms(logits, torch.tensor([0, 1, 0, 1])))
    assert terms["pairing"] == pytest.approx(0.3 * (2**2 + 2**2) / 4)
    leads = (1, 2, 3, 0)  # of the true logit
    assert terms["clean"] == pytest.approx(sum(math.log(1 + math.exp(-lead)) for lead in leads) / 4)


def test_the_last_image_of_an_odd_batch_is_classified_but_not_paired():
    logits = torch.tensor([[1.0, 0.0], [0.0, 2.0], [7.0, 7.0]], requires_grad=True)
    terms = Clp().terms(logits, torch.tensor([0, 1, 1]))
    assert terms["pairing"].item() == pytest.approx(0.5 * (1 + 4) / 2)
    (gradient,) = torch.autograd.grad(terms["pairing"], logits, retain_graph=True)
    assert gradient[2].abs().max() == 0
    (gradient,) = torch.autograd.grad(terms["clean"], logits)
    assert gradient[2].abs().max() > 0


def test_lsq_is_the_norm_and_not_its_square():
    logits = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    terms = values(Lsq(weight=0.2).terms(logits, torch.tensor([0, 0])))
    assert terms["squeezing"] == pytest.approx(0.2 * (5 + 1) / 2)  # squared: (25 + 1) / 2
    assert terms["clean"] == pytest.approx(math.log(1 + math.e))


def test_lsq_of_logits_at_zero_has_a_finite_gradient():
    logits = torch.zeros(2, 3, requires_grad=True)
    Lsq().terms(logits, torch.tensor([0, 1]))["squeezing"].backward()
    assert logits.grad.isfinite().all()


def test_noise_has_the_given_deviation_and_stays_in_the_box():
    grey = torch.full((64, 1, 28, 28), 0.5)
    small = noisy(grey, 0.05, torch.Generator().manual_seed(0))
    assert (small - grey).std().item() == pytest.approx(0.05, rel=0.02)
    assert (small - grey).mean().item() == pytest.approx(0, abs=1e-3)
    large = noisy(grey, 0.5, torch.Generator().manual_seed(0))
    assert large.min() == 0
    assert large.max() == 1
    clipped = (large == 0).float().mean().item()
    assert clipped == pytest.approx(0.158655, abs=0.005)  # below one deviation of a Gaussian


@pytest.mark.parametrize("name", ["clp", "lsq"])
def test_noise_comes_from_the_contexts_stream(name, monkeypatch):
    first, again = (one_step(DEFENSES.get(name), monkeypatch)[0].generator for _ in range(2))
    assert torch.equal(first.get_state(), again.get_state())
    assert not torch.equal(first.get_state(), torch.Generator().manual_seed(0).get_state())


# names and ranges


def test_the_named_variants():
    assert DEFENSES.get("alp") == Alp()
    assert DEFENSES.get("m_pgd") == M_PGD
    assert DEFENSES.get("alp_plain") == ALP_PLAIN
    assert DEFENSES.get("alp_100") == ALP_100
    assert (M_PGD.weight, M_PGD.mix) == (0, "50")
    assert (ALP_PLAIN.weight, ALP_PLAIN.mix, ALP_100.mix) == (0.5, "plain", "100")
    assert (Clp().sigma, Lsq().sigma, Lsq().weight) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("defense", "settings"),
    [
        (Alp(), {"steps": "0"}),
        (Alp(), {"weight": "-1"}),
        (Alp(), {"label_smoothing": "1"}),
        (Alp(), {"mix": "25"}),
        (Alp(), {"label": "pred", "target": "random"}),
        (Clp(), {"weight": "-1"}),
        (Clp(), {"sigma": "-1"}),
        (Lsq(), {"weight": "-1"}),
        (Lsq(), {"sigma": "-1"}),
    ],
)
def test_values_out_of_range_are_one_sentence(defense, settings):
    with pytest.raises(BadValue, match=next(iter(settings))):
        override(defense, settings)
