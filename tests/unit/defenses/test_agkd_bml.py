"""AGKD-BML: each term by hand, each switch by what it changes."""

import math
from fractions import Fraction

import pytest
import torch

from bench.api import Features
from bench.core.encoding import override
from bench.errors import BadValue
from bench.plan import Request, plan_training
from bench.records.store import Store
from bench.registry import DEFENSES
from bench.runner.options import Options
from bench.runner.weights import fit
from defenses.agkd_bml import AgkdBml


def features(logits, pooled, maps):
    return Features(torch.tensor(logits), torch.tensor(pooled), (torch.tensor(maps),))


ALL = AgkdBml(mart=True)


@pytest.fixture
def student():
    """One example: x1' and x1 orthogonal, x1' and x2' parallel, logits and maps easy to compute with."""
    return features(
        logits=[[math.log(0.5), math.log(0.3), math.log(0.2)], [0.0, 0.0, 0.0], [9.0, 9.0, 9.0]],
        pooled=[[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]],
        maps=[[[[1.0, 2.0], [3.0, 5.0]]], [[[7.0, 7.0], [7.0, 7.0]]], [[[0.0, 4.0], [4.0, 4.0]]]],
    )


@pytest.fixture
def teacher():
    return features(
        logits=[[0.0, 0.0, 0.0]] * 2,
        pooled=[[0.0, 0.0]] * 2,
        maps=[[[[0.0, 0.0], [0.0, 1.0]]], [[[0.0, 1.0], [1.0, 1.0]]]],
    )


def test_every_term_by_hand(student, teacher):
    terms = {name: term.item() for name, term in ALL.terms(student, teacher, torch.tensor([0])).items()}
    q = [0.5, 0.25, 0.25]
    smoothed = -sum(a * math.log(b) for a, b in zip(q, (0.5, 0.3, 0.2), strict=True))
    kl = sum(1 / 3 * math.log((1 / 3) / b) for b in (0.5, 0.3, 0.2))
    expected = {
        "smoothed": smoothed,
        "mart_margin": -math.log(1.0001 - 0.3),
        "mart_robust": 6 * kl * (1 - 1 / 3),
        "attention_forward": 0.1875,
        "attention_backward": 0.0,
        "triplet": 2 * (0.03 + 1 - 0),
        "norm": 2 * 0.001 * (1 / 2 + 1 / 2 + 4 / 2),
    }
    assert terms == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "gone"),
    [
        ({"mart": "false"}, {"mart_margin", "mart_robust"}),
        ({"agkd": "false"}, {"attention_forward", "attention_backward"}),
        ({"attention_on_backward": "false"}, {"attention_backward"}),
        ({"bml": "false"}, {"triplet", "norm"}),
    ],
)
def test_each_switch_removes_its_terms_and_leaves_the_others(settings, gone, student, teacher):
    y = torch.tensor([0])
    defense = override(ALL, settings)
    before = ALL.terms(student, teacher, y)
    after = defense.terms(student, teacher if defense.agkd else None, y)
    assert set(before) - set(after) == gone
    assert all(after[name].item() == before[name].item() for name in after)


def test_weights_scale_their_terms(student, teacher):
    y = torch.tensor([0])
    heavier = override(ALL, {"lam1": "4", "lam2": "0.01", "margin": "0.5", "beta": "1"}).terms(
        student, teacher, y
    )
    assert heavier["triplet"].item() == pytest.approx(4 * 1.5)
    assert heavier["norm"].item() == pytest.approx(4 * 0.01 * 3)
    assert heavier["mart_robust"].item() == pytest.approx(
        ALL.terms(student, teacher, y)["mart_robust"].item() / 6
    )


def test_the_named_variants():
    released, paper, seven = (DEFENSES.get(f"agkd_bml_{name}") for name in ("released", "paper", "7"))
    assert (released.steps, released.step_size, released.mart) == (10, Fraction(1, 4), True)
    assert (paper.steps, paper.mart) == (2, False)
    assert (seven.steps, seven.step_size, seven.mart) == (7, Fraction(1, 4), False)
    assert DEFENSES.get("agkd_bml") == released, "what agrees with code has the method's name"
    assert released.reconstruction is None and seven.reconstruction and paper.reconstruction
    assert seven.requires == {"teacher": "standard[label_smoothing=0.5]"}


@pytest.mark.parametrize("stage", ["2", "-3"])
def test_a_stage_that_the_network_lacks_is_one_sentence(stage, tmp_path):
    settings = {"defense": {"attention_stage": stage, "steps": "1"}, "recipe": {"epochs": "1"}}
    spec = plan_training(Request("agkd_bml", data="synthetic", settings=settings))
    with pytest.raises(BadValue, match=f"attention_stage is {stage}, but small_cnn has 2 stages"):
        fit(spec, Options(Store(tmp_path), device="cpu"))
    assert not list(tmp_path.glob(f"models/{spec.id}/*")), "nothing half-written"


def test_another_stage_can_be_chosen(tmp_path):
    settings = {"defense": {"attention_stage": "0", "steps": "1"}, "recipe": {"epochs": "1"}}
    spec = plan_training(Request("agkd_bml", data="synthetic", settings=settings))
    assert fit(spec, Options(Store(tmp_path), device="cpu")).epochs == 1


@pytest.mark.parametrize(
    "settings",
    [{"steps": "0"}, {"label_smoothing": "1"}, {"margin": "-1"}, {"negative": "none"}, {"mart": "2"}],
)
def test_values_out_of_range_are_one_sentence(settings):
    with pytest.raises(BadValue, match=next(iter(settings))):
        override(AgkdBml(), settings)
