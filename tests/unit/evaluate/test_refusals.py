"""Labels as the deployed defense answers them: an image that it turns away is not wrong, and fools nobody."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from torch import nn

from bench.api import Deployed, Trial
from bench.attacks.combine import Cascade
from bench.attacks.geometry import random_start
from bench.attacks.hop_skip_jump import HopSkipJump
from bench.attacks.noise import UniformNoise
from bench.core.outcomes import REFUSED
from bench.core.threat import DECISIONS, TRANSFER, WHITE_BOX, Budget, Norm, Source
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.ledger import Ledger
from bench.evaluate.numerics import PLAIN
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import Referee
from bench.registry import ATTACKS

STRIP = 0.03
LINF, L2 = Budget(Norm.LINF, Fraction("0.1")), Budget(Norm.L2, Fraction("0.3"))
FEW = replace(DECISIONS, max_queries=600)


def gap(x):
    """How far the left half's mean is above the middle: its sign is the class."""
    return x.flatten(1)[:, :8].mean(1) - 0.5


class Plane(nn.Module):
    def forward(self, x):
        return 9 * torch.stack([-gap(x), gap(x)], dim=1)


def in_the_strip(x):
    return gap(x).abs() < STRIP


GUARDED = {
    "detector": Deployed(Plane(), detector=in_the_strip),
    "suspicion": Deployed(Plane(), suspicion=lambda x: STRIP - gap(x).abs()),
}
guarded = pytest.mark.parametrize("deployed", GUARDED.values(), ids=GUARDED)


@pytest.fixture(scope="module")
def chunk():
    """Images that are right and accepted when clean."""
    x = (0.5 + 0.2 * torch.randn(200, 1, 4, 4, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    x = x[~in_the_strip(x)]
    return Chunk(0, x, Plane()(x).argmax(1), torch.arange(len(x)))


def robust(attack, deployed, chunk, budget, knowledge=FEW, seed=3):
    arena = Arena(deployed, budget, 2, {}, PLAIN, Batches(512), seed=0)
    cell = play(arena, Trial("it", attack, knowledge), chunk, seed)
    assert cell.error is None, cell.error
    assert (cell.outcomes.forwards <= 600).all()
    return torch.from_numpy(cell.outcomes.robust)


def oracle_of(deployed, x, y, knowledge, others=None):
    ledger, batches = Ledger(x, y, 2), Batches(8)
    access = Access(deployed, knowledge, others or {}, PLAIN)
    return MeteredOracle(access, Referee(deployed, LINF, batches), ledger, batches)


@guarded
def test_noise_goes_on_after_a_draw_that_was_refused(deployed, chunk):
    """By hand: some draw of ten, from the same stream, is wrong and accepted."""
    generator, broken = torch.Generator().manual_seed(3), torch.zeros(len(chunk.y), dtype=torch.bool)
    wide = Budget(Norm.LINF, Fraction("0.3"))
    stopped = broken.clone()
    for _ in range(10):
        x = random_start(chunk.x, wide, generator)
        wrong = Plane()(x).argmax(1) != chunk.y
        broken |= wrong & ~in_the_strip(x)
        stopped |= wrong & in_the_strip(x) & ~broken
    assert (broken & stopped).any(), "or it would be no matter"
    assert torch.equal(robust(UniformNoise(10), deployed, chunk, wide), ~broken)


@guarded
@pytest.mark.parametrize("budget", [LINF, L2], ids=lambda budget: budget.label)
def test_hop_skip_jump_walks_along_the_boundary_of_what_is_accepted(deployed, budget, chunk):
    """The closed form: beyond the strip on the other side, each value moved by as much."""
    far = (gap(chunk.x).abs() + STRIP) * (1 if budget.norm is Norm.LINF else 8**0.5)
    left = robust(HopSkipJump(queries=600, samples=20), deployed, chunk, budget)
    assert left[far > budget.radius].all()
    assert not left[far < 0.8 * budget.radius].any()
    assert 0.1 < (far > budget.radius).float().mean() < 0.9, "a case in between"


@guarded
def test_what_is_turned_away_is_answered_so_also_when_the_queries_are_spent(deployed):
    levels = torch.tensor([0.4, 0.49, 0.51, 0.6])[:, None, None, None].expand(4, 1, 4, 4)
    oracle = oracle_of(deployed, levels, torch.tensor([0, 0, 1, 1]), replace(DECISIONS, max_queries=2))
    assert oracle.labels(levels).tolist() == [0, REFUSED, REFUSED, 1]
    oracle.labels(levels)
    first = oracle.only(torch.tensor([0, 1]))
    with pytest.raises(Exception, match="2 queries"):
        first.labels(levels[:2])
    white = oracle_of(deployed, levels, torch.tensor([0, 0, 1, 1]), WHITE_BOX)
    assert white.labels(levels).tolist() == [0, REFUSED, REFUSED, 1]
    assert white.logits(levels).isfinite().all(), "logits are the network's own"


def test_a_surrogate_turns_nobody_away():
    levels = torch.full((2, 1, 4, 4), 0.51)
    others = {Source.SURROGATE: Plane()}
    oracle = oracle_of(GUARDED["detector"], levels, torch.tensor([0, 1]), TRANSFER, others)
    assert oracle.labels(levels).tolist() == [1, 1]


@guarded
def test_other_peoples_code_is_told_that_what_is_turned_away_is_right(deployed):
    levels = torch.tensor([0.4, 0.49, 0.51, 0.6])[:, None, None, None].expand(4, 1, 4, 4).contiguous()
    y = torch.tensor([0, 1, 1, 0])
    answers = oracle_of(deployed, levels, y, DECISIONS).lend()(levels)
    assert answers.tolist() == [[1, 0], [0, 1], [0, 1], [0, 1]]


@guarded
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("art:HopSkipJump", {"max_iter": 5, "max_eval": 100, "init_eval": 10}),
        ("foolbox:HopSkipJumpAttack", {"steps": 5, "max_gradient_eval_steps": 100}),
    ],
)
def test_walks_of_other_libraries_find_what_is_accepted(deployed, name, fields, chunk):
    package = name.partition(":")[0]
    pytest.importorskip(package)
    few = Chunk(0, chunk.x[:8], chunk.y[:8], chunk.ids[:8])
    far = (gap(few.x).abs() + STRIP) * 8**0.5
    left = robust(replace(ATTACKS.get(name), **fields), deployed, few, L2)
    assert left[far > L2.radius].all()
    near = far < 0.75 * L2.radius
    assert near.any() and not left[near].any()


@guarded
def test_a_later_attack_is_not_passed_over_for_an_image_that_was_refused(deployed, chunk):
    """One that ends in the strip, then one that crosses it: what the second proposes counts."""

    class Into:
        norms = tuple(Norm)

        def __init__(self, depth):
            self.depth = depth

        def __call__(self, oracle, x, y, budget, generator):
            sign = (1 - 2 * y.float())[:, None, None, None]
            return (x + sign * (gap(x).abs() + self.depth)[:, None, None, None]).clamp(0, 1)

    second = Into(0.04)(None, chunk.x, chunk.y, LINF, None)
    crosses = (Plane()(second).argmax(1) != chunk.y) & ~in_the_strip(second)
    crosses &= (second - chunk.x).flatten(1).abs().amax(1) < LINF.radius
    left = robust(Cascade((Into(0.01), Into(0.04))), deployed, chunk, LINF, WHITE_BOX)
    assert crosses.sum() > 10 and not left[crosses].any()
