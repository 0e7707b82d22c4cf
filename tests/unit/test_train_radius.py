"""What is said of a network that was trained at another radius than it is attacked with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from bench.audit.gather import ran
from bench.core.threat import Budget, Norm
from bench.plan import Request, RunSpec, plan_run
from bench.records.origin import Origin
from bench.records.record import Record
from bench.runner.summary import recipe_of, training_of
from bench.studies.curve.report import labels
from bench.train.fit import Trained


def _at(eps: str, norm: str = "Linf") -> dict[str, Any]:
    return {"training": {"budget": {"norm": norm, "eps": eps}}}


@pytest.mark.parametrize(
    ("inside", "eps", "words"),
    [
        ("8/255", "8/255", "--data cifar10"),
        ("8/255", "4/255", "--data cifar10 --norm Linf --eps 4/255"),
        ("4/255", "8/255", "--train-eps 4/255 --data cifar10"),
        ("4/255", "4/255", "--train-eps 4/255 --data cifar10 --norm Linf --eps 4/255"),
    ],
)
def test_the_command_of_an_audit_trains_the_same_network(
    make_record: Callable[..., Record], inside: str, eps: str, words: str
) -> None:
    record = make_record(spec=_at(inside), eps=eps)
    assert ran(record, Origin(), Path("runs")) == f"bench run --defense pgd_at {words}"


def _trained(epoch: int, epochs: int) -> Trained:
    return Trained(Path(), epoch, epochs, 1.0, 0.9, 0.5, Path(), "0" * 64)


def _planned(**words: Any) -> RunSpec:
    return plan_run(Request("pgd_at", suite="smoke", **words))


def test_studies_name_the_radius_in_training_where_it_is_another() -> None:
    def told(**words: Any) -> str:
        return recipe_of(_planned(**words), _trained(2, 3), nn.Linear(1, 1))

    smaller = Budget(Norm.LINF, Fraction(1, 10))
    assert told() == told(budget=smaller, train_budget=smaller) == "short"
    assert told(train_budget=smaller) == "short, trained at Linf 0.1"
    assert told(budget=smaller) == "short, trained at Linf 0.2"


def test_curves_of_one_defense_are_told_apart_by_it() -> None:
    def curve(recipe: str) -> Any:
        network = SimpleNamespace(defense="trades", architecture="lenet", recipe=recipe)
        return SimpleNamespace(network=network, seed=0, id="0" * 12)

    assert labels([curve("short"), curve("short, trained at Linf 0.1")]) == [
        "trades, short",
        "trades, short, trained at Linf 0.1",
    ]


def test_the_last_epoch_does_not_boast_of_what_the_best_one_kept() -> None:
    spec = _planned()
    last = dataclasses.replace(spec, checkpoint="last")
    assert training_of(spec, _trained(2, 3), nn.Linear(1, 1)).validation_robust_accuracy == 0.5
    assert training_of(last, _trained(2, 3), nn.Linear(1, 1)).validation_robust_accuracy is None
    assert training_of(last, _trained(3, 3), nn.Linear(1, 1)).validation_robust_accuracy == 0.5
