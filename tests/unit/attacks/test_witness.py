"""A witness remembers the projection that broke an example, however late it is told."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from bench.api import Attack, Deployed
from bench.attacks.fab import FAB
from bench.attacks.fmn import FMN
from bench.attacks.geometry import distance, project
from bench.attacks.hop_skip_jump import HopSkipJump
from bench.attacks.nes import NES
from bench.attacks.rays import RayS
from bench.attacks.simba import SimBA
from bench.attacks.transfer import TransferFGSM
from bench.attacks.witness import or_else
from bench.core.threat import TRANSFER, WHITE_BOX, Budget, Norm, Source
from bench.evaluate import ledger as ledgers
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.ledger import Ledger
from bench.evaluate.numerics import PLAIN
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import Referee

LINF = Budget(Norm.LINF, Fraction("0.1"))


def _metered(network, x, y, classes: int, budget: Budget = LINF) -> tuple[MeteredOracle, Referee]:
    deployed, batches = Deployed(network), Batches(64)
    referee = Referee(deployed, budget, batches)
    access = Access(deployed, WHITE_BOX, {}, PLAIN)
    return MeteredOracle(access, referee, Ledger(x, y, classes), batches), referee


def test_the_first_projection_that_succeeds_is_kept(problem) -> None:
    x, y = problem.x, problem.y
    weight = problem.network.weight.detach()
    uphill = (weight[1 - y] - weight[y]).reshape(x.shape).sign()
    oracle, _ = _metered(problem.network, x, y, 2)
    oracle.logits(x + 0.05 * uphill)
    early = oracle.broken()
    oracle.labels(x + 5 * uphill)  # far outside: the referee judges its projection
    late = oracle.broken() & ~early
    oracle.logits(x)
    found = or_else(oracle, x - uphill, x, LINF)
    assert early.any() and late.any() and not oracle.broken().all()
    torch.testing.assert_close(found[early], project(x + 0.05 * uphill, x, LINF)[early])
    torch.testing.assert_close(found[late], project(x + 5 * uphill, x, LINF)[late])
    torch.testing.assert_close(found[~oracle.broken()], project(x - uphill, x, LINF)[~oracle.broken()])


def test_where_the_defense_answers_nothing_nothing_is_remembered(problem) -> None:
    batches = Batches(64)
    deployed = Deployed(problem.network)
    access = Access(deployed, TRANSFER, {Source.SURROGATE: problem.network}, PLAIN)
    oracle = MeteredOracle(access, Referee(deployed, LINF, batches), Ledger(problem.x, problem.y, 2), batches)
    oracle.logits(1 - problem.x)
    found = or_else(oracle, problem.x + 0.01, problem.x, LINF)
    torch.testing.assert_close(found, project(problem.x + 0.01, problem.x, LINF))


ATTACKS: dict[str, Attack] = {
    "transfer_fgsm": TransferFGSM(look_ahead=True, scales=2, diversity=0.5, kernel=3, neighbours=2),
    "fab": FAB(steps=10, targets=2),
    "fmn": FMN(steps=30),
    "nes": NES(queries=400, samples=20),
    "simba": SimBA(queries=200),
    "simba_dct": SimBA(queries=200, directions="dct"),
    "rays": RayS(queries=200),
    "hop_skip_jump": HopSkipJump(queries=200, samples=20),
}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("budget", [LINF, Budget(Norm.L2, Fraction("0.6"))], ids=["Linf", "L2"])
def test_an_oracle_that_looks_only_now_and_then_changes_nothing(
    name: str, budget: Budget, make_mlp, seeded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU successes are looked for every few queries: what is returned is a mistake all the same."""
    monkeypatch.setitem(ledgers.CHECKED_EVERY, "cpu", 8)
    network, x = make_mlp(), torch.rand(50, 1, 6, 6, generator=seeded(0))
    y = network(x).argmax(1)
    oracle, referee = _metered(network, x, y, 5, budget)
    x_adv = ATTACKS[name](oracle, x, y, budget, seeded(0))
    assert oracle.broken().float().mean() > 0.1
    verdict = referee.judge(x_adv, x)
    assert (verdict.classes != y)[oracle.broken()].all() and not verdict.moved.any()
    assert (distance(x_adv, x, budget.norm) <= budget.radius + 1e-6).all()


@pytest.mark.parametrize("name", ["fab", "fmn", "nes", "rays", "hop_skip_jump", "transfer_fgsm"])
def test_a_budget_of_nothing_changes_nothing(name: str, make_mlp, seeded) -> None:
    network, x = make_mlp(), torch.rand(5, 1, 6, 6, generator=seeded(0))
    y = network(x).argmax(1)
    nothing = replace(LINF, eps=Fraction(0))
    oracle, _ = _metered(network, x, y, 5, nothing)
    assert torch.equal(ATTACKS[name](oracle, x, y, nothing, seeded(0)), x)
    assert not oracle.broken().any()
