"""The lent defense: what others' code computes on it, what that costs, and what the knowledge refuses."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from torch import nn

from bench.api import Deployed
from bench.core.outcomes import NEVER
from bench.core.threat import DECISIONS, SCORES, TRANSFER, WHITE_BOX, Budget, Norm, Source
from bench.errors import AccessDenied, QueriesSpent
from bench.evaluate.access import Access
from bench.evaluate.attribution import Attribution
from bench.evaluate.batches import Batches
from bench.evaluate.ledger import Ledger
from bench.evaluate.numerics import PLAIN
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import Referee

FAINT = Budget(Norm.LINF, Fraction("1/100000"))
WIDE = Budget(Norm.LINF, Fraction("1/10"))


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.Tanh(), nn.Linear(16, 4)).requires_grad_(
            False
        )


@pytest.fixture
def x():
    return torch.rand(12, 1, 6, 6, generator=torch.Generator().manual_seed(1))


def asked(network, x, knowledge=WHITE_BOX, budget=FAINT, batch=5, randomized=False, others=None):
    deployed, batches = Deployed(network, randomized=randomized), Batches(batch)
    ledger = Ledger(x, network(x).argmax(1), 4)
    access = Access(deployed, knowledge, others or {}, PLAIN)
    return MeteredOracle(access, Referee(deployed, budget, batches), ledger, batches), ledger


def test_logits_and_gradients_are_the_networks_own(network, x):
    lent = asked(network, x)[0].lend()
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    weights = torch.linspace(-1, 2, 48).view(12, 4)
    (lent(mine).square() * weights).sum().backward()
    (network(theirs).square() * weights).sum().backward()
    assert torch.allclose(mine.grad, theirs.grad, atol=1e-6) and mine.grad.abs().max() > 0


def test_every_pass_is_charged_to_the_examples_that_made_it_in_whatever_order_they_come(network, x):
    oracle, ledger = asked(network, x)
    lent = oracle.lend()
    lent(x)
    some = torch.tensor([7, 2, 2, 11])
    image = (x[some] + 5e-6).requires_grad_()
    answer = lent(image)
    first = torch.autograd.grad(answer[:, 0].sum(), image, retain_graph=True)[0]
    torch.autograd.grad(answer[:, 1].sum(), image)
    forwards, backwards = torch.ones(12), torch.zeros(12)
    for row in some:
        forwards[row] += 1
        backwards[row] += 2  # the graph was asked twice
    assert ledger.forwards.tolist() == forwards.tolist()
    assert ledger.backwards.tolist() == backwards.tolist()
    assert first.abs().sum() > 0


def test_a_success_is_kept_and_what_is_broken_is_answered_free_of_charge(network, x):
    oracle, ledger = asked(network, x, budget=WIDE)
    lent = oracle.lend()
    y = network(x).argmax(1)
    moved = x
    for _ in range(30):
        image = moved.clone().requires_grad_()
        loss = nn.functional.cross_entropy(lent(image), y, reduction="sum")
        moved = image.detach() + 0.02 * torch.autograd.grad(loss, image)[0].sign()
        moved = torch.minimum(torch.maximum(moved, x - 0.1), x + 0.1).clamp(0, 1)
    broken = oracle.broken()
    assert 0 < broken.sum() < 12, "or nothing would be compared"
    assert (network(ledger.witness[broken]).argmax(1) != y[broken]).all()
    assert ((ledger.witness - x).abs() <= 0.1 + 1e-6).all()
    assert (ledger.forwards[broken] == ledger.first_success[broken]).all()
    assert (ledger.forwards[~broken] == 30).all() and (ledger.first_success[~broken] == NEVER).all()


def test_an_image_outside_the_budget_proves_nothing(network, x):
    oracle, ledger = asked(network, x)
    far = 1 - x
    assert (network(far).argmax(1) != network(x).argmax(1)).any()
    oracle.lend()(far)
    assert not oracle.broken().any() and int(ledger.forwards.sum()) == 12


def test_scores_give_no_gradients(network, x):
    oracle, ledger = asked(network, x, SCORES)
    image = x.clone().requires_grad_()
    answer = oracle.lend()(image)
    assert torch.allclose(answer, network(x), atol=1e-6), "the answer itself is allowed"
    with pytest.raises(AccessDenied):
        answer.sum().backward()
    assert ledger.forwards.tolist() == [1] * 12 and int(ledger.backwards.sum()) == 0


def test_labels_are_all_that_decisions_tell(network, x):
    answer = asked(network, x, DECISIONS)[0].lend()(x)
    assert torch.equal(answer, nn.functional.one_hot(network(x).argmax(1), 4).float())


def test_whoever_has_spent_the_queries_gets_the_last_answer_and_an_endless_attack_ends(network, x):
    oracle, ledger = asked(network, x, replace(SCORES, max_queries=3))
    lent = oracle.lend()
    for _ in range(3):
        lent(x[:1])
    assert torch.allclose(lent(x[:1]), network(x[:1]), atol=1e-6)
    lent(x)  # the others are not robbed
    assert ledger.forwards.tolist() == [3] + [1] * 11
    with pytest.raises(QueriesSpent):
        for _ in range(100):
            lent(x)
    assert ledger.forwards.tolist() == [3] * 12


def test_a_transfer_is_answered_by_the_surrogate_and_never_learns_of_a_success(network, x):
    other = nn.Sequential(nn.Flatten(), nn.Linear(36, 4)).requires_grad_(False)
    oracle, _ = asked(network, x, TRANSFER, WIDE, others={Source.SURROGATE: other})
    lent = oracle.lend()
    assert torch.allclose(lent(x), other(x), atol=1e-6)
    lent(torch.rand_like(x) * 0.1 + x - 0.05)
    assert not oracle.broken().any()


def test_a_randomized_defense_is_averaged_and_its_samples_are_charged(x):
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return torch.stack([x.flatten(1).sum(1) * self.calls, x.flatten(1).sum(1)], dim=1)

    network = Noisy()
    ledger = Ledger(x, torch.zeros(12, dtype=torch.int64), 2)
    deployed, batches = Deployed(network, randomized=True), Batches(64)
    access = Access(deployed, WHITE_BOX, {}, PLAIN)
    oracle = MeteredOracle(access, Referee(deployed, FAINT, batches), ledger, batches)
    image = x.clone().requires_grad_()
    answer = oracle.lend()(image)
    total = x.flatten(1).sum(1)
    assert torch.allclose(answer[:, 0], total * 10.5), "the mean of 1 to 20"
    answer[:, 0].sum().backward()
    assert torch.allclose(image.grad, torch.full_like(x, 10.5))
    assert ledger.forwards.tolist() == [20] * 12 and ledger.backwards.tolist() == [20] * 12
    network.calls = 0
    assert torch.allclose(oracle.lend(eot=False)(x.clone().requires_grad_())[:, 0], total)


def test_an_image_belongs_to_the_nearest_clean_one():
    clean = torch.tensor([0.0, 0.3, 0.9])[:, None, None, None].expand(3, 1, 2, 2)
    attribution = Attribution(clean, WIDE)
    assert attribution(clean + 0.05)[0].tolist() == [0, 1, 2]
    assert attribution(torch.flip(clean, (0,)))[0].tolist() == [2, 1, 0]
    assert attribution(torch.full((2, 1, 2, 2), 0.7))[0].tolist() == [2, 2], "nearer to 0.9"
    same = attribution(clean)[0]
    assert attribution(clean + 0.01)[0] is same, "the same object as long as it stays the same"
