"""A sequel attacks what the column before it left, and carries the rest on."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import torch
from torch import nn

from bench.api import Deployed, Trial
from bench.attacks.noise import UniformNoise
from bench.attacks.pgd import PGD
from bench.core.outcomes import NEVER
from bench.core.threat import WHITE_BOX, Budget, Norm
from bench.evaluate.batches import Batches
from bench.evaluate.diagnostics import broken_by, from_gates, from_outcomes
from bench.evaluate.engine import Arena, Chunk, part_of, play
from bench.evaluate.follow_up import FollowUp
from bench.evaluate.numerics import Numerics


def played():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).requires_grad_(False)
    x = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    y = network(x).argmax(1)
    y[:3] = (y[:3] + 1) % 10  # three are wrong when clean
    chunk = Chunk(0, x, y, torch.arange(40))
    arena = Arena(
        Deployed(network), Budget(Norm.LINF, Fraction("2/100")), 10, {}, Numerics(), Batches(64), seed=0
    )
    first = play(arena, Trial("noise", UniformNoise(draws=5), WHITE_BOX), chunk, 0).outcomes
    second = play(arena, FollowUp("pgd", PGD(), WHITE_BOX), chunk, 0, first).outcomes
    alone = play(arena, Trial("pgd", PGD(), WHITE_BOX), chunk, 0).outcomes
    return first, second, alone


def test_what_was_broken_stays_broken_at_no_cost():
    first, second, alone = played()
    before = first.correct & ~first.robust
    assert 0 < before.sum() < first.robust.sum(), "or nothing would be carried on"
    assert not second.robust[before].any() and (second.forwards[before] == 0).all()
    assert (second.attacked[before] == first.attacked[before]).all()
    assert (second.distance[before] == first.distance[before]).all()
    assert (second.first_success[before] == NEVER).all()
    assert (second.robust == (first.robust & second.robust)).all(), "its accuracy is that of both"
    assert (second.forwards[~first.correct] == 0).all()
    assert abs(int((first.robust & alone.robust).sum()) - int(second.robust.sum())) <= 1


def test_a_gate_counts_what_its_column_found_and_broke():
    first, second, _ = played()
    outcomes = {"noise": first, "pgd": second}
    found, broke = broken_by("pgd", outcomes)
    assert found == first.robust.sum() and broke == first.robust.sum() - second.robust.sum() > 0
    assert [finding.code for finding in from_gates(["pgd"], outcomes)] == ["gradients-mislead"]
    nothing = np.full(len(second), NEVER)
    again = dataclasses.replace(second, first_success=nothing)  # met what was left, and broke none of it
    assert broken_by("again", {**outcomes, "again": again}) == (second.robust.sum(), 0)
    assert list(from_gates(["again"], {**outcomes, "again": again})) == []


def test_flat_gradients_are_of_what_was_met():
    """Two of the six examples that it met gave no gradient: few of all, many of those."""
    _, second, _ = played()
    few = dataclasses.replace(
        second,
        first_success=np.full(len(second), NEVER),
        attacked=np.where(np.arange(40) < 34, 99, second.labels),
    )
    detail = f"pgd met only zero gradients on 2 of {few.robust.sum()} attacked examples"
    assert 0.1 * few.correct.sum() > 2, "of all that is right when clean it is no sign"
    (found,) = from_outcomes({"pgd": few}, {"pgd": 2})
    assert (found.code, found.detail) == ("zero-gradients", detail)


def test_a_part_holds_its_examples():
    first, _, _ = played()
    assert np.array_equal(part_of(first, 10, 5).ids, np.arange(10, 15))
