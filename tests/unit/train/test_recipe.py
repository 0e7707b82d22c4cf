"""Recipes refuse what cannot train, and come by name."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction
from typing import Any

import pytest
import torch

from bench.core.encoding import decode, encode, override
from bench.data.catalog import CATALOG
from bench.errors import BadValue, UnknownName
from bench.plan import Request, plan_training
from bench.train.recipe import Recipe
from bench.train.recipes import RECIPES, published, recipe
from bench.train.schedule import attack_strength, learning_rate


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
        ("peak", 1.0),
        ("decayed", "some"),
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
    found = published("cifar10", "agkd_bml")
    assert (found.epochs, found.learning_rate, found.momentum, found.weight_decay) == (200, 0.1, 0.9, 2e-4)
    assert [round(milestone * found.epochs) for milestone in found.milestones] == [100, 150]
    assert (found.batch_size, found.gamma, found.optimizer) == (128, 0.1, "sgd")


def rates_by_epoch(found: Recipe, epochs: range) -> list[float]:
    """The learning rate in the middle of each epoch, counted from 1 as the authors' scripts do."""
    return [learning_rate(found, 100 * epoch - 50, 100 * found.epochs) for epoch in epochs]


@pytest.mark.parametrize(
    ("data", "defense", "drops"),
    [  # the epochs, counted from 1, at whose beginning the released scripts divide by ten
        ("cifar10", "trades", (75,)),
        ("mnist", "trades", (55, 75, 90)),
        ("cifar10", "mart", (75, 90, 100)),
        ("cifar10", "trades_awp", (100, 150)),
        ("cifar10", "ard", (101,)),
        ("cifar10", "feature_scattering", (61, 91)),
        ("cifar10", "agkd_bml", (101, 151)),
        ("cifar10", "bilateral", (101, 151)),
        ("cifar100", "lbgat", (76, 91)),
        ("svhn", "awp", (101, 151)),
        ("imagenet", "free_at", (33, 65)),  # its own 9 and 17, each of four replays
    ],
)
def test_learning_rates_drop_in_the_epochs_of_the_released_scripts(
    data: str, defense: str, drops: tuple[int, ...]
) -> None:
    found = published(data, defense)
    expected = [
        found.learning_rate * 0.1 ** sum(epoch >= drop for drop in drops)
        for epoch in range(1, found.epochs + 1)
    ]
    assert rates_by_epoch(found, range(1, found.epochs + 1)) == pytest.approx(expected)


def test_steps_of_scripts_that_count_steps() -> None:
    tla = published("cifar10", "tla_from_at")
    at = [0, 999, 1000, 4999, 5000, 79_999]
    rates = [learning_rate(tla, step, 80_000) for step in at]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert tla.epochs * 50_000 == 80_000 * tla.batch_size
    tiny = published("tiny_imagenet", "tla")
    rates = [learning_rate(tiny, step, 80_000) for step in (49_999, 50_000, 60_000)]
    assert rates == pytest.approx([0.1, 0.01, 0.001]) and tiny.epochs * 100_000 == 80_000 * tiny.batch_size
    noisy = published("svhn", "n_fgsm")
    at_epochs = [learning_rate(noisy, round(epoch * 573), 30 * 573) for epoch in (0, 6, 12, 21, 30)]
    assert at_epochs == pytest.approx([0, 0.025, 0.05, 0.025, 0])
    assert [attack_strength(noisy, step, 30 * 573) for step in (573, 5 * 573)] == pytest.approx(
        [0.2, 1], 1e-2
    )
    wong = published("mnist", "fast_at")
    at_epochs = [learning_rate(wong, round(epoch * 600), 6000) for epoch in (0, 2, 4, 7, 10)]
    assert at_epochs == pytest.approx([0, 2.5e-3, 5e-3, 2.5e-3, 0])
    assert (wong.optimizer, wong.batch_size, wong.epochs) == ("adam", 100, 10)


def test_rates_that_fall_with_each_epoch_are_those_of_the_released_scripts_near_enough() -> None:
    ikl = published("cifar10", "ikl_at")
    theirs = [0.2 * 0.5 * (1 + math.cos(math.pi * epoch / 201)) for epoch in range(1, 201)]
    assert rates_by_epoch(ikl, range(1, 201)) == pytest.approx(theirs, abs=1e-3)
    assert ikl.ema_decay ** math.ceil(50_000 / ikl.batch_size) == pytest.approx(0.9, abs=1e-3)
    assert [attack_strength(ikl, step, 200) for step in (0, 99, 199)] == [Fraction(1, 200), Fraction(1, 2), 1]
    score = published("cifar10", "score")
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.2, momentum=0.9, nesterov=True)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, pct_start=0.025, total_steps=400)
    for epoch in range(400):
        assert learning_rate(score, epoch, 400) == pytest.approx(cycle.get_last_lr()[0], rel=1e-6)
        optimizer.step()
        if epoch < 399:
            cycle.step()


def test_the_last_epoch_is_kept_where_authors_keep_it_and_kernels_alone_decay_where_theirs_do() -> None:
    last = {"trades", "mart", "bilateral", "feature_scattering", "ard", "fast_at", "n_fgsm", "pgd_at"}
    last |= {"lbgat", "ikl_at", "free_at"}
    assert all(published("cifar10", name).select == "last" for name in last)
    assert published("cifar10", "agkd_bml").select == published("cifar10", "awp").select == "best"
    every = ("agkd_bml", "trades", "mart", "pgd_at", "tla", "bilateral", "ard", "awp")
    every += ("lbgat", "ikl_at", "score", "free_at")
    kernels = {name for name in every if published("cifar10", name).decayed == "kernels"}
    assert kernels == {"pgd_at", "tla", "bilateral", "score", "free_at"}


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(UnknownName, match="did you mean 'short'"):
        recipe("digits", "shrt")
    with pytest.raises(UnknownName, match="did you mean 'digits'"):
        recipe("digit")


def test_recipes_do_not_load_torch() -> None:
    code = "import sys, bench.train.recipes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_paper_is_the_schedule_of_the_defenses_own_publication() -> None:
    for defense in ("trades", "mart", "feature_scattering", "tla", "bilateral", "ard", "tla_from_at"):
        found = plan_training(Request(defense, data="cifar10", recipe="paper")).recipe
        assert found.name == f"paper_{defense}"
    for data, defense in (("cifar100", "lbgat"), ("svhn", "n_fgsm"), ("mnist", "ensemble_at")):
        assert plan_training(Request(defense, data=data, recipe="paper")).recipe == published(data, defense)
    for variant, owner in (("m_pgd", "alp"), ("agkd_bml_released", "agkd_bml"), ("tla_sa", "tla")):
        found = plan_training(Request(variant, data="cifar10", recipe="paper")).recipe
        assert found.name == f"paper_{owner}"


@pytest.mark.parametrize("data", ["svhn", "fashion_mnist", "npz:mine.npz", "digits"])
def test_paper_refuses_data_that_the_publication_did_not_use(data: str) -> None:
    with pytest.raises(BadValue, match=f"no publication states a schedule of trades for {data}"):
        published(data, "trades")


def test_another_papers_schedule_is_had_by_its_name_and_says_whose_it_is() -> None:
    assert recipe("svhn", "paper_trades").source.startswith("TRADES, released code for CIFAR-10")
    assert recipe("fashion_mnist", "paper_trades").source.startswith("TRADES, released code for MNIST")
    with pytest.raises(BadValue, match="--recipe paper_trades for that on mnist, or --recipe short"):
        published("fashion_mnist", "trades")


def test_a_teacher_keeps_its_own_schedule_and_other_recipes_are_everyones() -> None:
    spec = plan_training(Request("ard", data="cifar10", recipe="paper"))
    assert (spec.recipe.name, spec.parents[0][1].recipe.name) == ("paper_ard", "paper_pgd_at")
    taught = plan_training(Request("agkd_bml", data="cifar10", recipe="paper"))
    assert taught.parents[0][1].recipe.name == "paper_standard"
    assert plan_training(Request("trades", data="cifar10")).recipe.name == "short"


def test_a_reconstruction_has_no_schedule_of_a_paper() -> None:
    with pytest.raises(BadValue, match="fdml is a reconstruction"):
        plan_training(Request("fdml", data="cifar10", recipe="paper"))
