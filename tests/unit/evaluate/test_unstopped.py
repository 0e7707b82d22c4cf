"""Adversarial images of a linear classifier: every step is taken, and access is what the knowledge says."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import nn

from bench.api import Deployed, Trial
from bench.attacks.pgd import PGD
from bench.attacks.square import Square
from bench.core.threat import DECISIONS, GRAY_BOX_CLASSIFIER, WHITE_BOX, Budget, Norm
from bench.errors import AccessDenied
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.numerics import Numerics
from bench.evaluate.unstopped import Unstopped, adversarial_images

BUDGET = Budget(Norm.LINF, Fraction(1, 4))
ATTACK = PGD(steps=6, step_size=Fraction(1, 2))


class Linear(nn.Module):
    """Two classes; pixel i counts slope[i] for the second."""

    def __init__(self, slope: list[float]) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, x):
        score = (x.flatten(1) - 0.5) @ self.slope
        return torch.stack([-score, score], dim=1)


class Counting(Linear):
    """Counts its backward passes."""

    def forward(self, x):
        answer = super().forward(x)
        if answer.requires_grad:
            self.backwards = getattr(self, "backwards", 0) + 1
        return answer


def arena(deployed: Deployed, **numerics) -> Arena:
    return Arena(deployed, BUDGET, 2, {}, Numerics(**numerics), Batches(8), seed=0)


def images(n: int = 5):
    x = 0.3 + 0.4 * torch.rand(n, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    return x, torch.zeros(n, dtype=torch.int64)


def test_every_example_goes_to_the_corner_though_it_was_broken_before():
    slope = [1.0, -2.0, 3.0, -0.5]
    net, (x, y) = Linear(slope), images()
    x = x - 0.05 * torch.sign(torch.tensor(slope)).view(1, 1, 2, 2)  # near the boundary
    verdict = adversarial_images(arena(Deployed(net)), ATTACK, WHITE_BOX, x, y, seed=0)
    corner = x + 0.25 * torch.sign(torch.tensor(slope)).view(1, 1, 2, 2)
    assert torch.allclose(verdict.x, corner, atol=1e-6)
    assert verdict.classes.tolist() == [1] * 5 and not verdict.moved.any()
    stopped = play(arena(Deployed(net)), Trial("pgd", ATTACK, WHITE_BOX), Chunk(0, x, y, torch.arange(5)), 0)
    assert (stopped.outcomes.forwards < ATTACK.steps).any(), "the engine stops at the first success"


def test_the_same_seed_gives_the_same_images():
    net, (x, y) = Linear([1.0, -2.0, 3.0, -0.5]), images()
    weak = PGD(steps=1, step_size=Fraction(1, 100))
    one, same, other = (
        adversarial_images(arena(Deployed(net)), weak, WHITE_BOX, x, y, seed=seed).x for seed in (0, 0, 1)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_each_knowledge_climbs_its_own_network():
    inside, whole, (x, y) = Linear([1.0] * 4), Linear([-1.0] * 4), images()
    defended = arena(Deployed(predict=whole, classifier=inside))
    white = adversarial_images(defended, ATTACK, WHITE_BOX, x, y, seed=0)
    gray = adversarial_images(defended, ATTACK, GRAY_BOX_CLASSIFIER, x, y, seed=0)
    assert torch.allclose(white.x, x - 0.25, atol=1e-6) and torch.allclose(gray.x, x + 0.25, atol=1e-6)
    assert white.classes.tolist() == whole(white.x).argmax(1).tolist(), "judged by what is deployed"
    assert gray.classes.tolist() == whole(gray.x).argmax(1).tolist()


def test_a_stand_in_is_climbed_and_random_defenses_are_averaged():
    blind, (x, y) = Linear([0.0] * 4), images()
    seen = Counting([1.0] * 4)
    deployed = Deployed(predict=blind, attackable=seen, randomized=True)
    found = adversarial_images(arena(deployed, eot_samples=3, fold=False), ATTACK, WHITE_BOX, x, y, seed=0)
    assert torch.allclose(found.x, x + 0.25, atol=1e-6)
    assert seen.backwards == 3 * ATTACK.steps


def test_labels_only_stay_labels_only():
    net, (x, _) = Linear([1.0] * 4), images()
    access = arena(Deployed(net)).access(DECISIONS)
    oracle = Unstopped(access, Batches(8), 2, torch.zeros(5, dtype=torch.bool))
    with pytest.raises(AccessDenied, match="answers labels"):
        oracle.logits(x)
    with pytest.raises(AccessDenied, match="gives no gradients"):
        oracle.climb(torch.nn.functional.cross_entropy, x, torch.zeros(5, dtype=torch.int64))
    assert oracle.labels(x).tolist() == net(x).argmax(1).tolist()
    assert len(oracle.only(torch.tensor([1, 3])).broken()) == 2


def test_attacks_that_ask_for_answers_work_and_stay_in_the_budget():
    net, (x, y) = Linear([1.0, -2.0, 3.0, -0.5]), images()
    verdict = adversarial_images(arena(Deployed(net)), Square(queries=5), WHITE_BOX, x, y, seed=0)
    assert float((verdict.x - x).abs().max()) <= 0.25 + 1e-6
