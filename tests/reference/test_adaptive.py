"""adaptive@1 on linear classifiers behind a quantiser, noise or a detector: what is known must be found."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench.check import check_defense
from bench.core.threat import Budget, Norm
from bench.plan import Request, plan_run
from bench.records.reading import from_json
from bench.records.record import to_json
from bench.records.store import Store
from bench.report.board import board
from bench.report.render import csv
from bench.report.table import run_table
from bench.runner.options import Options
from bench.runner.run import run

DEFENSE = f"{Path(__file__).with_name('layered_defense.py')}:Layered"
N, SHAPE, LEVELS = 60, (1, 4, 4), 64
EPS = Fraction(4, LEVELS)


QUICK = {
    "attack.square": {"queries": "50"},
    "attack.apgd_t": {"targets": "1"},
    "attack.bpda_apgd_t": {"targets": "1"},
    "attack.aware_selective": {"times": "1"},
    "attack.aware_orthogonal": {"times": "1"},
    "attack.features": {"steps": "20"},
}
"""Less of what these toys do not need; there is one other class."""


def weights():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2, 16, generator=generator) / 4
    bias = -weight.sum(1) / 2
    return weight.numpy().astype(np.float64), bias.numpy().astype(np.float64)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images on the quantiser's grid, labelled by the classifier itself."""
    weight, bias = weights()
    x = np.random.default_rng(0).integers(0, LEVELS + 1, (2 * N, *SHAPE)).astype(np.float32) / LEVELS
    y = (x.reshape(len(x), -1) @ weight.T + bias).argmax(1)
    path = tmp_path_factory.mktemp("data") / "grid.npz"
    np.savez(path, x_train=x[N:], y_train=y[N:], x_test=x[:N], y_test=y[:N])
    return path


def robust_count(path):
    """The closed form within ball and box; its corners are on the grid, so rounding takes nothing away."""
    weight, bias = weights()
    with np.load(path) as held:
        x, y = held["x_test"].reshape(N, -1).astype(np.float64), held["y_test"]
    slope = np.stack([weight[label] - weight[1 - label] for label in y])
    offset = np.array([bias[label] - bias[1 - label] for label in y])
    worst = (np.clip(x - float(EPS) * np.sign(slope), 0, 1) * slope).sum(1) + offset
    assert np.abs(worst).min() > 1e-3, "no example sits on the boundary"
    return int((worst > 0).sum())


@pytest.fixture(scope="module")
def judged(data, tmp_path_factory):
    """Records by kind of defense and suite, each computed once."""
    store, found = Store(tmp_path_factory.mktemp("runs")), {}

    def record(kind, suite="adaptive"):
        if (kind, suite) not in found:
            request = Request(
                f"{DEFENSE}[kind={kind}]",
                data=f"npz:{data}",
                suite=suite,
                architecture="small_cnn",
                budget=Budget(Norm.LINF, EPS),
                settings=QUICK if suite == "adaptive" else {},
            )
            found[kind, suite] = run(plan_run(request), Options(store))
        return found[kind, suite]

    return record


def columns(record):
    return {column.name: column for column in record.columns}


def test_a_quantiser_stands_end_to_end_and_falls_to_bpda(judged, data):
    record, known = judged("quantised"), robust_count(data)
    found = columns(record)
    assert known < N
    assert record.traits == ("preprocessing",) and record.draws == 1 and record.eot_samples == 1
    assert found["bpda_apgd_margin"].robust.count == known == found["bpda_apgd_t"].robust.count
    assert found["apgd_margin"].robust.count > known
    assert record.worst_case.count == known
    assert found["bpda_apgd_margin"].answers == ("preprocessing",) and found["bpda_apgd_margin"].adaptive
    assert not found["apgd_margin"].adaptive and not found["classifier_apgd"].adaptive
    assert found["classifier_apgd"].robust.count == known, "gradients of the classifier are those of BPDA"
    assert {finding.code for finding in record.findings} >= {"zero-gradients"}


def test_what_does_not_apply_is_skipped_with_its_reason_and_costs_nothing(judged):
    skipped = {name: column for name, column in columns(judged("plain")).items() if column.skipped}
    reasons = {
        "bpda_apgd_margin": "nothing is done to the images",
        "bpda_apgd_t": "nothing is done to the images",
        "own_loss": "states no adaptive loss",
        "aware_selective": "refuses nothing",
        "aware_orthogonal": "refuses nothing",
        "classifier_apgd": "nothing around it is hidden",
    }
    assert skipped.keys() == reasons.keys()
    assert all(reasons[name] in column.skipped for name, column in skipped.items())
    assert all(column.forwards is None and column.seconds == 0 for column in skipped.values())


def test_noise_is_climbed_by_the_authors_number_of_samples_and_judged_by_nine_draws(judged, data):
    record = judged("noisy")
    assert record.traits == ("randomized",) and record.draws == 9 and record.eot_samples == 3
    assert record.worst_case.count == robust_count(data), "noise of 1e-5 changes no verdict"
    margin = columns(record)["apgd_margin"]
    assert margin.answers == ("randomized",)
    stood = margin.robust.count / N
    assert margin.backwards >= 3 * 100 * stood, "every step costs three passes"
    assert "most of 9 answers name, a gradient the mean of 3 passes" in " ".join(run_table(record).notes)
    assert not any("owes " in note for note in run_table(record).notes)


def test_a_detector_is_owed_an_attack_that_knows_it(judged):
    aware, blunt = judged("detecting"), judged("blunt")
    assert columns(aware)["aware_selective"].answers == ("detector",)
    assert columns(aware)["aware_orthogonal"].skipped is None
    assert "yes or no" in columns(blunt)["aware_selective"].skipped
    assert any("owes an adaptive attack" in note and "detector" in note for note in run_table(blunt).notes)
    assert not any("owes" in note for note in run_table(aware).notes)


def test_boards_mark_what_is_owed_until_it_is_there(judged):
    plain, owing = judged("plain", "whitebox"), judged("quantised", "whitebox")
    table = board([plain, owing])
    marks = {row[1].text.partition("[")[2]: row[1].mark for row in table.rows}
    assert marks == {"": "*", "kind=plain]": ""}, "quantised is the default"
    (note,) = [note for note in table.notes if note.startswith("*")]
    assert "owes an adaptive attack: preprocessing asks for gradients through the purifier" in note
    assert sorted(frame(table)["adaptive"]) == ["not needed", "owed"]
    both = board([plain, judged("plain"), owing, judged("quantised")])
    assert set(frame(both)["adaptive"]) == {"not needed", "yes"}
    assert not [note for note in both.notes if " owes " in note]


def frame(table):
    return pd.read_csv(io.StringIO(csv(table)))


def test_a_plain_network_needs_no_adaptive_attack_and_records_survive_json(judged):
    plain, answered = judged("plain", "whitebox"), judged("quantised")
    assert list(frame(board([plain]))["adaptive"]) == ["not needed"]
    table = board([plain, answered, judged("quantised", "whitebox")])
    assert not [note for note in table.notes if "was not run" in note], "and lacks nothing without one"
    assert from_json(to_json(answered)) == answered


@pytest.mark.parametrize("kind", ["plain", "quantised", "noisy", "detecting", "blunt"])
def test_each_of_these_keeps_the_contract(kind):
    broken = [c.clause for c in check_defense(DEFENSE, {"kind": kind}) if not c.kept]
    assert broken == ["lowers its own loss in a few epochs"] or not broken


LIES = {
    "states a purifier that is not its own": (
        "Deployed(nn.Sequential(Quantise(), net), classifier=net, purifier=nn.Sigmoid())",
        "answers what its classifier makes of the purified image",
    ),
    "states a purifier and no classifier": (
        "Deployed(nn.Sequential(Quantise(), net), purifier=Quantise())",
        "answers what its classifier makes of the purified image",
    ),
    "calls itself randomized": (
        "Deployed(net, randomized=True)",
        "answers differently from time to time, as it says",
    ),
    "refuses where it is not suspicious": (
        "Deployed(net, detector=lambda x: suspicion(x) > -0.1, suspicion=suspicion)",
        "refuses exactly where its suspicion is above 0",
    ),
    "is suspicious in steps": (
        "Deployed(net, suspicion=lambda x: (suspicion(x) > 0).float() - 0.5)",
        "has a suspicion with a finite, non-zero gradient",
    ),
    "rounds and states nothing": (
        "Deployed(nn.Sequential(Quantise(), net))",
        "has a finite, non-zero input gradient",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_a_defense_says_of_itself_is_checked(lie, tmp_path):
    source = Path(__file__).with_name("layered_defense.py").read_text(encoding="utf-8")
    deployed, clause = LIES[lie]
    path = tmp_path / "liar.py"
    path.write_text(source.replace("return Deployed(net)\n", f"return {deployed}\n"), encoding="utf-8")
    broken = {c.clause for c in check_defense(f"{path}:Layered", {"kind": "plain"}) if not c.kept}
    assert clause in broken
