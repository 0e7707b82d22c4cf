"""The guard speaks where training is lost, and is silent about noise."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from bench.errors import TrainingFailed
from bench.train.guard import EpochFigures, at_chance, check_finite, check_history
from bench.train.recipe import Recipe


def _history(
    robust: Sequence[float | None], clean: Sequence[float | None] | None = None, loss: Sequence[float] = ()
) -> list[EpochFigures]:
    clean = clean or [0.8] * len(robust)
    loss = loss or [1.0] * len(robust)
    return [EpochFigures(epoch + 1, loss[epoch], clean[epoch], robust[epoch]) for epoch in range(len(robust))]


def _runs_through(history: list[EpochFigures], adversarial: bool = True) -> None:
    for end in range(1, len(history) + 1):
        check_history(history[:end], adversarial, 0.1)


def test_catastrophic_overfitting_is_found_in_its_second_epoch() -> None:
    history = _history([0.2, 0.35, 0.40, 0.05, 0.0], [0.5, 0.6, 0.7, 0.85, 0.9])
    _runs_through(history[:4])
    with pytest.raises(
        TrainingFailed, match=r"catastrophic overfitting.*40\.0 % in epoch 3 to 0\.0 %"
    ) as found:
        check_history(history, True, 0.1)
    assert "best.safetensors" in str(found.value) and "--set recipe.epochs=3" in str(found.value)


def test_the_same_fall_without_attacks_is_no_overfitting() -> None:
    """A standard network loses what robustness it had by chance while it learns."""
    _runs_through(_history([0.4, 0.3, 0.05, 0.0, 0.0], [0.5, 0.6, 0.7, 0.85, 0.9]), adversarial=False)


@pytest.mark.parametrize(
    "history",
    [
        _history([0.0] * 10),  # never robust
        _history([0.003, 0.0, 0.001, 0.0, 0.0]),
        _history([0.45, 0.50, 0.02, 0.48, 0.51]),  # one bad epoch
        _history([0.45, 0.50, 0.36, 0.35, 0.34]),  # robust overfitting: slow, less than half
        _history([0.29, 0.14, 0.14, 0.14]),  # less than half, but within 15 points of the best
        _history([0.45, 0.50, 0.10, 0.10], [0.8, 0.8, 0.3, 0.3]),  # everything fell: not overfitting
        _history([None, None, None], [None, None, None]),  # no validation
    ],
)
def test_no_false_alarm(history: list[EpochFigures]) -> None:
    _runs_through(history)


def test_no_false_alarm_in_binomial_noise() -> None:
    """1,000 trainings of 30 epochs, robust accuracy rising to 45 % as measured on 100 images."""
    source = random.Random(0)
    for _ in range(1000):
        means = [0.1 + 0.35 * min(1.0, epoch / 10) for epoch in range(30)]
        robust = [sum(source.random() < mean for _ in range(100)) / 100 for mean in means]
        _runs_through(_history(robust))


def test_divergence() -> None:
    _runs_through(_history([0.3] * 4, loss=[2.3, 1.9, 6.0, 1.8]))
    _runs_through(_history([0.3] * 3, loss=[0.001, 0.02, 0.001]))  # tenfold of nearly nothing
    with pytest.raises(TrainingFailed, match=r"diverged.*epoch 3.*1e\+04"):
        check_history(_history([0.3] * 3, loss=[2.3, 1.9, 1e4]), False, 0.1)
    with pytest.raises(TrainingFailed, match="diverged"):
        check_history(_history([0.3] * 2, loss=[-3.0, 5.5]), False, 0.1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_term_that_is_not_finite_is_named(value: float) -> None:
    check_finite({"clean": 1.0, "metric": 0.0}, 1, 640, 0.1)
    with pytest.raises(TrainingFailed, match="'metric' is not finite within the first 640 images of epoch 2"):
        check_finite({"clean": 1.0, "metric": value}, 2, 640, 0.1)


RECIPE = Recipe("r", epochs=4, learning_rate=0.1)


def test_a_training_at_chance_is_told_of_in_its_second_epoch() -> None:
    history = _history([0.1] * 3, [0.1, 0.104, 0.098], [2.31, 2.302, 2.303])
    assert at_chance(history[:1], [100] * 10, RECIPE, True) is None  # one epoch may be a slow start
    told = at_chance(history[:2], [100] * 10, RECIPE, True)
    assert told is not None
    assert "after epoch 2 (loss 2.3) 10.4 % of the validation images are right" in told
    assert "would be right on 10.0 %" in told
    assert told.endswith("try: --set recipe.eps_warmup=0.4")


def test_what_is_tried_already_is_not_recommended() -> None:
    history = _history([0.1] * 2, [0.1, 0.1])
    for recipe, adversarial in ((replace(RECIPE, eps_warmup=0.2), True), (RECIPE, False)):
        told = at_chance(history, [100] * 10, recipe, adversarial)
        assert told is not None and "try: --set recipe.learning_rate=0.01 or" in told


@pytest.mark.parametrize(
    ("clean", "counts"),
    [
        ([0.1, 0.12], [100] * 10),  # 0.1 + 2 sqrt(0.1 * 0.9 / 1000) = 0.119
        ([0.12, 0.1], [100] * 10),  # it has learnt something before
        ([0.92, 0.92], [900, 100]),  # 0.9 + 2 sqrt(0.9 * 0.1 / 1000) = 0.919
        ([None, None], [100] * 10),
        ([1.0, 1.0], [1, 1]),  # 0.5 + 2 sqrt(0.5 * 0.5 / 2) = 1.21
    ],
)
def test_more_than_chance_is_no_chance(clean: list[float | None], counts: list[int]) -> None:
    assert at_chance(_history([0.0, 0.0], clean), counts, RECIPE, True) is None


def test_of_unbalanced_data_chance_is_the_share_of_the_commonest_class() -> None:
    history = _history([0.9, 0.9], [0.9, 0.9])
    assert "90.0 %" in (at_chance(history, [900, 100], RECIPE, True) or "")
    assert at_chance(history, [100] * 10, RECIPE, True) is None


def test_a_recipe_of_one_epoch_is_told_after_it() -> None:
    assert at_chance(_history([0.1], [0.1]), [100] * 10, replace(RECIPE, epochs=1), True) is not None
