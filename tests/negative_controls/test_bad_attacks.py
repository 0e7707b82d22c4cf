"""An attack that breaks the contract gives a finding or one sentence, never a traceback or a wrong number.

The network is linear and the truth is a closed form: no attack may break more than that.
"""

from __future__ import annotations

import importlib.util
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bench.api import Deployed, Trial
from bench.cli.main import main
from bench.core.threat import WHITE_BOX, Budget, Norm
from bench.evaluate import diagnostics
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.numerics import Numerics

PATH = Path(__file__).with_name("bad_attacks.py")
LINEAR = Path(__file__).parents[1] / "reference" / "linear_defense.py"
RADIUS = Fraction(1, 8)


@pytest.fixture(scope="module")
def bad():
    spec = importlib.util.spec_from_file_location("bad_attacks", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def played(bad):
    """Name of a class -> its cell on 60 images of a linear network that knows them all, and the images."""

    def run(name):
        generator = torch.Generator().manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).requires_grad_(False)
        network[1].weight.copy_(torch.randn(2, 16, generator=generator) / 4)
        network[1].bias.zero_()
        x = torch.rand(60, 1, 4, 4, generator=generator)
        y = network(x).argmax(1)
        arena = Arena(Deployed(network), Budget(Norm.LINF, RADIUS), 2, {}, Numerics(), Batches(64), seed=0)
        weight = network[1].weight.double()
        slope = weight[y] - weight[1 - y]
        worst = (x.flatten(1).double() - float(RADIUS) * slope.sign()).clamp(0, 1)
        margin = (worst * slope).sum(1)
        kept = x.clone()
        cell = play(arena, Trial(name, getattr(bad, name)(), WHITE_BOX), Chunk(0, x, y, torch.arange(60)), 0)
        assert torch.equal(x, kept), "the chunk belongs to all columns"
        return cell, (margin > 0).numpy()

    return run


def codes(cell):
    return {found.code for found in diagnostics.from_outcomes({"it": cell.outcomes}, {"it": 0})}


def test_the_honest_one_reaches_the_closed_form(played):
    cell, robust = played("Honest")
    np.testing.assert_array_equal(cell.outcomes.robust, robust)
    assert 10 < robust.sum() < 50 and codes(cell) == set()


@pytest.mark.parametrize("name", ["NotANumber", "Infinite"])
def test_no_numbers_break_nothing_and_are_told(played, name):
    cell, _ = played(name)
    assert cell.outcomes.robust.all() and cell.outcomes.invalid.all()
    assert codes(cell) == {"not-a-number"}


@pytest.mark.parametrize("name", ["LeavesTheBall", "LeavesTheBox"])
def test_what_leaves_ball_or_box_is_projected_and_told(played, name):
    cell, robust = played(name)
    assert codes(cell) == {"left-budget"}
    assert (cell.outcomes.distance <= float(RADIUS) + 1e-6).all()
    assert cell.outcomes.robust[robust].all(), "an image fell that no perturbation breaks"


@pytest.mark.parametrize("name", ["OneImageLess", "Flat"])
def test_another_shape_is_one_sentence(played, name):
    cell, _ = played(name)
    assert cell.outcomes is None
    assert "returned images of shape" in cell.error and "expected (60, 1, 4, 4)" in cell.error


@pytest.mark.parametrize("name", ["Double", "Half"])
def test_another_precision_is_judged_as_the_image_it_is(played, name):
    cell, robust = played(name)
    honest, _ = played("Honest")
    assert (cell.outcomes.distance <= float(RADIUS) + 1e-6).all()
    assert cell.outcomes.robust[robust].all()
    assert (cell.outcomes.robust != honest.outcomes.robust).sum() == 0


def test_what_raises_is_a_failed_cell(played):
    cell, _ = played("Raises")
    assert cell.outcomes is None and cell.error == "RuntimeError: no luck today, in bad_attacks.py, line 86"


def test_writing_into_the_clean_images_breaks_nothing(played):
    cell, robust = played("Mutates")
    assert cell.outcomes is None or cell.outcomes.robust[robust].all()


def test_writing_into_the_labels_breaks_nothing(played):
    cell, robust = played("Relabels")
    assert cell.outcomes is None or cell.outcomes.robust[robust].all()


@pytest.mark.parametrize("name", ["Asserts", "Nothing"])
def test_any_exception_of_an_attack_is_a_failed_cell(played, name):
    cell, _ = played(name)
    assert cell.outcomes is None and cell.error


@pytest.fixture
def run(capsys, tmp_path):
    """`bench run` of bad attacks beside an honest one on a linear defense: code, record, stderr."""

    def call(*names):
        attacks = [word for name in names for word in ("--attack", f"{PATH}:{name}")]
        with pytest.raises(SystemExit) as left:
            given = ["--data", "synthetic", "--examples", "40", "--store", str(tmp_path), "--json"]
            main(["run", "--defense", f"{LINEAR}:Linear", *given, *attacks])
        told = capsys.readouterr()
        return left.value.code, json.loads(told.out) if told.out else None, told.err

    return call


def test_on_the_command_line_the_other_columns_stay_as_they_are(run):
    names = ["NotANumber", "LeavesTheBall", "OneImageLess", "Raises"]
    code, record, _ = run("Honest", *names)
    columns = {column["name"]: column for column in record["columns"]}
    assert code == 1 and record["status"] == "failed" and record["worst_case"] is None
    assert (
        columns["bad_attacks_py_raises"]["error"] == "RuntimeError: no luck today, in bad_attacks.py, line 86"
    )
    assert "returned images of shape" in columns["bad_attacks_py_oneimageless"]["error"]
    assert {finding["code"] for finding in record["findings"]} >= {"not-a-number", "left-budget"}
    code, alone, _ = run("Honest")
    assert code == 0 and alone["worst_case"] is not None
    (honest,) = alone["columns"]
    assert columns["bad_attacks_py_honest"]["robust"] == honest["robust"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Raises", "no luck today"),  # there is no other column, so there is no table
        ("Plain", "is no frozen dataclass"),
        ("Raise", "did you mean 'Raises'?"),
    ],
)
def test_a_mistake_is_one_sentence(run, name, told):
    code, record, err = run(name)
    assert code == 2 and record is None
    assert told in err.splitlines()[-1] and "Traceback" not in err
