"""The inner attack's radius rises over the warm-up of the recipe, and validation always has all of it."""

from fractions import Fraction

import pytest

from bench.errors import BadValue
from bench.plan import Request, plan_training
from bench.records.store import Store
from bench.runner.options import Options
from bench.runner.weights import fit
from bench.train.context import TrainContext
from bench.train.recipe import Recipe
from bench.train.schedule import attack_strength


def test_the_strength_rises_by_equal_steps_to_one():
    recipe = Recipe("r", eps_warmup=0.5)
    assert [attack_strength(recipe, step, 8) for step in range(8)] == [
        Fraction(1, 4),
        Fraction(1, 2),
        Fraction(3, 4),
        *[Fraction(1)] * 5,
    ]
    assert attack_strength(Recipe("r"), 0, 8) == 1


def test_out_of_range_is_a_sentence():
    with pytest.raises(BadValue, match=r"eps_warmup is 1\.5"):
        Recipe("r", eps_warmup=1.5)


def test_training_attacks_with_the_rising_radius_and_validates_with_the_full_one(tmp_path, monkeypatch):
    trained, validated, real = [], [], TrainContext.inner_attack

    def watched(self, *args, budget=None, **more):
        (validated if budget is None else trained).append((budget or self.budget).eps)
        return real(self, *args, budget=budget, **more)

    monkeypatch.setattr(TrainContext, "inner_attack", watched)
    settings = {"recipe": {"epochs": "4", "eps_warmup": "0.5"}, "defense": {"steps": "1"}}
    spec = plan_training(Request("pgd_at", data="synthetic", settings=settings))
    fit(spec, Options(Store(tmp_path), device="cpu"))
    assert trained == sorted(trained) and trained[0] < trained[-1] == spec.budget.eps
    assert trained.count(spec.budget.eps) == len(trained) // 2 + 1
    assert set(validated) == {spec.budget.eps}
