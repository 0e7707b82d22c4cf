"""Attacks of other libraries as dataclasses: each name is reachable, survives JSON, refuses in a sentence."""

from __future__ import annotations

import importlib
import inspect
import sys
from dataclasses import fields, replace
from fractions import Fraction
from typing import Any

import pytest
import torch
import torchattacks
from torch import nn

from bench.api import Deployed, Trial
from bench.attacks.norms import norms_of
from bench.attacks.others import autoattack
from bench.attacks.others import torchattacks as adapter
from bench.attacks.others.adapter import library
from bench.core.encoding import decode, describe, encode, override
from bench.core.threat import DECISIONS, SCORES, WHITE_BOX, Budget, Knowledge, Norm
from bench.errors import BadValue, MissingExtra, UnknownName
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Cell, Chunk, play
from bench.evaluate.numerics import PLAIN
from bench.registry import ATTACKS, BACKENDS

LINF, L2 = Budget(Norm.LINF, Fraction("8/255")), Budget(Norm.L2, Fraction(1))
BUDGETS = (LINF, L2, Budget(Norm.L1, Fraction(3)), Budget(Norm.L0, Fraction(8)))
MODULES = {"advlib": "adv_lib", "autoattack": "pyautoattack"}


def offered(prefix: str) -> tuple[Any, list[str]]:
    """The adapter of a library and all names that it offers."""
    pytest.importorskip(MODULES.get(prefix, prefix))
    module = importlib.import_module(f"bench.attacks.others.{prefix}")
    return module, [f"{prefix}:{name}" for name in module.offered()]


@pytest.mark.parametrize("prefix", BACKENDS)
def test_every_name_survives_json_and_text(prefix: str) -> None:
    _, names = offered(prefix)
    assert len(names) >= 6
    for name in names:
        attack: Any = ATTACKS.get(name)
        assert decode(encode(attack)) == attack, name
        assert attack.needs in ("gradients", "scores", "labels")
        assert attack.unfit or attack.norms, name
        assert prefix in describe(attack).lower()


def test_every_class_of_torchattacks_has_its_own_parameters_with_its_own_defaults() -> None:
    """Read from its signatures: what the harness decides is left out, and nothing else."""
    assert set(adapter.offered()) == set(torchattacks.__all__)
    decided = {"self", "model", "eps", "max_epsilon", "norm", "seed", "verbose", "n_classes"}
    no_data = {"LGV": {"trainloader", "attack_class", "kwargs"}, "MultiAttack": {"attacks"}}
    for name in torchattacks.__all__:
        parameters = inspect.signature(getattr(torchattacks, name)).parameters
        attack: Any = ATTACKS.get(f"torchattacks:{name}")
        held = {field.name: getattr(attack, field.name) for field in fields(attack)}
        assert set(held) == set(parameters) - decided - no_data.get(name, set()), name
        for field, value in held.items():
            default = parameters[field].default
            assert (float(value) if isinstance(value, Fraction) else value) == default, f"{name}.{field}"


def test_a_step_of_pixels_is_typed_and_shown_as_a_fraction() -> None:
    attack: Any = ATTACKS.get("torchattacks:PGD")
    assert describe(attack) == "torchattacks.PGD(alpha=2/255, steps=10, random_start=True)"
    assert override(attack, {"alpha": "1/100", "steps": "40"}).arguments() == {
        "alpha": 0.01,
        "steps": 40,
        "random_start": True,
    }
    assert attack.absolute == {"alpha": Fraction(8, 255)}
    with pytest.raises(BadValue, match=r"steps is '1\.5'"):
        override(attack, {"steps": "1.5"})


def test_greek_parameters_are_spelt_out() -> None:
    pytest.importorskip("adv_lib")
    attack: Any = ATTACKS.get("advlib:ddn")
    assert override(attack, {"gamma": "0.1"}).arguments()["γ"] == 0.1


@pytest.mark.parametrize(
    ("name", "budget", "told"),
    [
        ("torchattacks:PGDL2", LINF, "torchattacks:PGDL2 has L2, but the budget's norm is Linf"),
        ("torchattacks:PGD", L2, "torchattacks:PGD has Linf, but the budget's norm is L2"),
        ("torchattacks:OnePixel", LINF, "has L0, but the budget's norm is Linf"),
        ("torchattacks:EADL1", L2, "has L1, but the budget's norm is L2"),
        ("torchattacks:LGV", LINF, "needs trainloader, expected"),
        ("torchattacks:MultiAttack", LINF, "needs attacks, expected"),
        ("foolbox:L1PGD", LINF, "has L1, but the budget's norm is Linf"),
        ("foolbox:GenAttack", LINF, "needs targets, expected"),
        ("foolbox:VirtualAdversarialAttack", L2, "steps is none, expected a value"),
        ("art:AdversarialPatch", LINF, "makes no small change"),
        ("advlib:sigma_zero", LINF, "has L0, but the budget's norm is Linf"),
        ("advlib:perc_al", LINF, "keeps to no norm of ours, expected"),
    ],
)
def test_what_keeps_to_no_budget_is_refused_in_a_sentence(name: str, budget: Budget, told: str) -> None:
    offered(name.partition(":")[0])
    attack: Any = ATTACKS.get(name)
    with pytest.raises(BadValue) as refused:
        attack.require(budget)
    assert told in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["torchattacks:PDG", "torchattacks:pgd", "autoattack:apgd"])
def test_a_misspelt_name_is_guessed(name: str) -> None:
    with pytest.raises(UnknownName, match="did you mean"):
        ATTACKS.get(name)


def test_what_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "foolbox", None)
    with pytest.raises(MissingExtra, match=r"robust-bench-harness\[foolbox\]"):
        library("foolbox", "foolbox")


def _cell(attack: Any, seed: int = 0, budget: Budget = LINF, knows: Knowledge = WHITE_BOX) -> Cell:
    x = torch.rand(30, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))
    y = network.eval().requires_grad_(False)(x).argmax(1)
    arena = Arena(Deployed(network), budget, 10, {}, PLAIN, Batches(64), seed=0)
    return play(arena, Trial("it", attack, knows), Chunk(0, x, y, torch.arange(30)), seed)


TORCHATTACKS = [
    name
    for name in torchattacks.__all__
    if ATTACKS.get(f"torchattacks:{name}").unfit is None  # type: ignore[attr-defined]
]


@pytest.mark.parametrize("name", [name for name in TORCHATTACKS if name != "AutoAttack"])
def test_every_attack_of_torchattacks_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    attack: Any = ATTACKS.get(f"torchattacks:{name}")
    few = {"n_queries": "20", "max_iterations": "20", "steps": "3"}
    attack = override(attack, {key: value for key, value in few.items() if hasattr(attack, key)})
    cell = _cell(attack, budget=next(budget for budget in BUDGETS if budget.norm in attack.norms))
    assert cell.error is None and cell.outcomes is not None
    assert bool(cell.outcomes.backwards.any()) == (attack.needs == "gradients")
    assert bool(cell.outcomes.forwards.any()) == (name not in ("GN", "VANILA"))
    assert capsys.readouterr().out == "", "it prints on our stdout"


def test_random_numbers_come_from_the_cell_and_leave_no_trace() -> None:
    square = override(ATTACKS.get("torchattacks:Square"), {"n_queries": "40"})
    before = torch.random.get_rng_state()
    first, again, other = (_cell(square, seed).outcomes for seed in (0, 0, 1))
    assert first is not None and again is not None and other is not None
    assert (first.first_success == again.first_success).all()
    assert (first.first_success != other.first_success).any()
    assert torch.equal(before, torch.random.get_rng_state())


def test_its_autoattack_is_not_called_autoattack() -> None:
    attack = ATTACKS.get("torchattacks:AutoAttack")
    assert describe(attack) == "torchattacks.AutoAttack(version=standard)"
    assert type(attack).__module__ != autoattack.__name__


def test_an_exception_of_any_kind_is_a_failed_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        assert not "their fault"

    monkeypatch.setattr(torchattacks.FGSM, "forward", broken)
    cell = _cell(ATTACKS.get("torchattacks:FGSM"))
    assert cell.outcomes is None
    assert str(cell.error).startswith("RuntimeError: torchattacks:FGSM raised AssertionError")


def test_an_attack_that_averages_is_not_averaged_again() -> None:
    """A randomized defense's gradient is the mean of 20 passes, unless the attack takes means itself."""

    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(192, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.linear(x.flatten(1))
            return logits

    generator = torch.Generator().manual_seed(0)
    x, network = torch.rand(4, 3, 8, 8, generator=generator), Noisy().eval().requires_grad_(False)
    nowhere = Budget(Norm.LINF, Fraction(0))
    arena = Arena(Deployed(network, randomized=True), nowhere, 10, {}, PLAIN, Batches(8), seed=0)
    chunk = Chunk(0, x, network(x).argmax(1), torch.arange(4))
    spent = {}
    for name in ("torchattacks:PGD", "torchattacks:EOTPGD"):
        attack = override(ATTACKS.get(name), {"steps": "3"})
        outcomes = play(arena, Trial("it", attack, WHITE_BOX), chunk, 0).outcomes
        assert outcomes is not None
        spent[name] = set(outcomes.backwards.tolist())
    assert spent == {"torchattacks:PGD": {3 * 20}, "torchattacks:EOTPGD": {3 * 2}}


@pytest.mark.parametrize("name", ATTACKS.names())
def test_norms_are_listed_as_attacks_declare_them(name: str) -> None:
    assert ATTACKS.declared(name, "norms") == norms_of(ATTACKS.get(name))
    assert ATTACKS.declared(name, "needs") == ATTACKS.get(name).needs


@pytest.mark.parametrize("name", ATTACKS.names())
def test_what_our_attacks_are_listed_to_need_is_what_they_ask_for(name: str) -> None:
    """With less they are refused, with as much they are not."""
    attack, asked = ATTACKS.get(name), ATTACKS.declared(name, "needs")
    budget = LINF if Norm.LINF in norms_of(attack) else L2
    scores, labels = (
        _cell(attack, budget=budget, knows=replace(knows, max_queries=25)) for knows in (SCORES, DECISIONS)
    )
    assert ("gives no gradients" in str(scores.error)) == (asked == "gradients")
    assert (labels.error is not None) == (asked != "labels")
    assert (scores.error is not None) == (asked == "gradients")
