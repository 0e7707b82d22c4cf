"""Recipes refuse what cannot train, and come by name."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from bench.core.encoding import decode, encode, override
from bench.data.catalog import CATALOG
from bench.errors import BadValue, UnknownName
from bench.plan import Request, plan_training
from bench.train.recipe import Recipe
from bench.train.recipes import RECIPES, recipe


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", 1),
        ("learning_rate", 0.0),
        ("momentum", 1.0),
        ("weight_decay", -1e-4),
        ("milestones", (0.75, 0.5)),
        ("milestones", (0.5, 1.0)),
        ("gamma", 0.0),
        ("eps_warmup", 1.5),
        ("clip_norm", 0.0),
        ("ema_decay", 1.0),
        ("precision", "fp8"),
        ("schedule", "cosin"),
        ("optimizer", "adamw"),
        ("validation_steps", 0),
        ("validation_examples", 0),  # nothing to select the best by
    ],
)
def test_a_bad_value_is_named_with_its_field(field: str, value: Any) -> None:
    with pytest.raises(BadValue, match=r"recipe\.\w+ is .*, expected "):
        Recipe("toy", **{field: value})


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(BadValue, match="nesterov"):
        Recipe("toy", momentum=0.0, nesterov=True)
    with pytest.raises(BadValue, match="nesterov"):
        Recipe("toy", optimizer="adam", nesterov=True)


def test_every_data_set_has_a_short_recipe() -> None:
    for name in CATALOG:
        assert recipe(name).name == "short"
    for name in ("folder:a/b", "npz:c.npz"):
        assert recipe(name) is RECIPES[name.partition(":")[0]]["short"]


def test_every_recipe_survives_json_and_overrides() -> None:
    for table in RECIPES.values():
        for name, found in table.items():
            assert found.name == name and found.source
            assert decode(encode(found)) == found
    changed = override(recipe("digits"), {"epochs": "3", "milestones": "0.2,0.4", "clip_norm": "1.5"})
    assert (changed.epochs, changed.milestones, changed.clip_norm) == (3, (0.2, 0.4), 1.5)


def test_the_paper_recipe_is_the_released_code() -> None:
    found = recipe("cifar10", "paper")
    assert (found.epochs, found.learning_rate, found.momentum, found.weight_decay) == (200, 0.1, 0.9, 2e-4)
    assert [round(milestone * found.epochs) for milestone in found.milestones] == [100, 150]
    assert (found.batch_size, found.gamma, found.optimizer) == (128, 0.1, "sgd")


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(UnknownName, match="did you mean 'short'"):
        recipe("digits", "shrt")
    with pytest.raises(UnknownName, match="did you mean 'digits'"):
        recipe("digit")


def test_recipes_do_not_load_torch() -> None:
    code = "import sys, bench.train.recipes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("defense", "epochs", "last_decay"),
    [("trades", 76, 75), ("mart", 120, 100), ("feature_scattering", 200, 90), ("tla", 80, 60)],
)
def test_paper_is_the_schedule_of_the_defenses_own_publication(
    defense: str, epochs: int, last_decay: int
) -> None:
    found = plan_training(Request(defense, data="cifar10", recipe="paper")).recipe
    assert (found.name, found.epochs) == (f"paper_{defense}", epochs)
    assert found.milestones[-1] * epochs == pytest.approx(last_decay)


def test_a_teacher_keeps_its_own_schedule_and_other_recipes_are_everyones() -> None:
    spec = plan_training(Request("ard", data="cifar10", recipe="paper"))
    assert (spec.recipe.name, spec.parents[0][1].recipe.name) == ("paper", "paper_pgd_at")
    assert plan_training(Request("trades", data="cifar10")).recipe.name == "short"


def test_a_reconstruction_has_no_schedule_of_a_paper() -> None:
    with pytest.raises(BadValue, match="fdml is a reconstruction"):
        plan_training(Request("fdml", data="cifar10", recipe="paper"))
