"""`bench curve` on a linear classifier: accuracy at every radius has a closed form."""

from __future__ import annotations

import csv
import json
from fractions import Fraction

import numpy as np
import pytest

from bench.core.outcomes import Outcomes, concatenate
from bench.core.survival import survival
from bench.studies.curve.points import Point, signs

RADII = [Fraction(1, 80) * quarters for quarters in (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64)]


@pytest.fixture
def words(linear, linear_data, tmp_path):
    given = ["--data", linear_data, "--examples", "all", "--eps", "1/20", "--set", "suite.chunk=50"]
    return ["curve", linear, *given, "--store", tmp_path / "runs"]


def read(told):
    assert told.code == 0, told.err
    return json.loads(told.out)


def test_every_radius_is_its_closed_form_until_nothing_is_left(bench, words, robust_count):
    (curve,) = read(bench(*words, "--over", "eps", "--json"))
    known = [robust_count(float(eps)) for eps in RADII]
    measured = len(curve["points"]) - 1
    assert known[measured - 1] <= 1 < known[measured - 2], "it ends where at most 1 % of 120 are left"
    assert [point["robust"]["count"] for point in curve["points"]] == [120, *known[:measured]]
    assert [point["at"] for point in curve["points"]] == [0.0, *map(float, RADII[:measured])]
    assert len(set(known)) > 5 and curve["findings"] == []
    assert curve["knowledge"] == "white-box" and "adaptive" not in " ".join(curve["attacks"])


def test_named_radii_are_all_measured(bench, words, robust_count):
    (curve,) = read(bench(*words, "--over", "eps", "--at", "1/40,0.9,1", "--json"))
    known = [robust_count(float(eps)) for eps in (Fraction(1, 40), Fraction(9, 10), 1)]
    assert [point["robust"]["count"] for point in curve["points"]] == [120, *known]


def test_an_attack_that_cannot_see_is_told(bench, words):
    """Noise leaves most of the images in the whole box: A6."""
    (curve,) = read(bench(*words, "--over", "eps", "--attack", "noise", "--json"))
    assert curve["points"][-1]["at"] == 1.0 == curve["whole_box"]
    assert [finding["code"] for finding in curve["findings"]] == ["unconstrained-attack-fails"]
    told = bench(*words, "--over", "eps", "--attack", "noise")
    assert "eps 1 is the whole box" in told.out and "unconstrained-attack-fails" in told.out


def test_steps_and_restarts(bench, words, robust_count):
    """One step suffices against a linear classifier; PGD without steps enough stays above the truth."""
    (steps,) = read(bench(*words, "--over", "steps", "--at", "1,2,40", "--attack", "pgd", "--json"))
    counts = [point["robust"]["count"] for point in steps["points"]]
    assert counts == sorted(counts, reverse=True) and counts[-1] == robust_count(0.05) < counts[1]
    assert [point["value"] for point in steps["points"]] == ["0", "1", "2", "40"]
    assert [round(point["backwards"]) <= int(point["value"]) for point in steps["points"]] == [True] * 4
    given = ("--attack", "pgd", "--set", "attack.pgd.steps=1", "--json")
    (restarts,) = read(bench(*words, "--over", "restarts", "--at", "4", *given))
    counts = [point["robust"]["count"] for point in restarts["points"]]
    assert len(counts) == 5 and counts == sorted(counts, reverse=True)
    spent = [point["backwards"] for point in restarts["points"]]
    stood = [0, 120, *(count for count in counts[1:])]
    assert spent == pytest.approx(np.cumsum(stood[:5]) / 120, abs=1e-3), "one step for each that stands"


def test_the_curve_over_queries_is_that_of_the_stored_outcomes(bench, words, tmp_path):
    from bench.records.store import RunFolder

    given = ("--set", "attack.square.queries=150", "--json")
    place = words.index("--eps") + 1
    (curve,) = read(bench(*words[:place], "1/5", *words[place + 1 :], "--over", "queries", *given))
    folder = RunFolder(tmp_path / "runs" / "curves" / curve["id"])
    whole = concatenate([Outcomes(**folder.held("00", number)[0]) for number in range(3)])
    held = survival(whole)
    assert [point["at"] for point in curve["points"]] == held.queries.tolist()
    assert [point["robust"]["count"] for point in curve["points"]] == held.robust.tolist()
    assert len(held.queries) > 5 and curve["knowledge"] == "black-box, logits"
    from bench.report import queries as drawn

    assert drawn.survival is survival, "bench plot draws the same numbers"


def test_the_table_and_the_files_tell_the_same(bench, words, robust_count, tmp_path, linear):
    out = tmp_path / "out"
    told = bench(*words, f"{linear}[weights_seed=1]", "--over", "eps", "--at", "1/40,1/20", "--out", out)
    assert told.code == 0, told.err
    endings = ["caption.txt", "csv", "md", "pdf", "png"]
    assert sorted(path.name for path in out.iterdir()) == [f"curve-eps.{end}" for end in endings]
    with (out / "curve-eps.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 and len({row["defense"] for row in rows}) == 2
    first = [row for row in rows if "[" not in row["defense"]]
    assert [int(row["robust"]) for row in first] == [120, *(robust_count(e) for e in (1 / 40, 1 / 20))]
    for row in first:
        shown = f"{100 * int(row['robust']) / 120:.1f} ["
        assert any(line.startswith(row["value"]) and shown in line for line in told.out.splitlines())
    text = (out / "curve-eps.caption.txt").read_text()
    assert "n = 120" in text and "Wilson" in text and "APGD(steps=40" in text


def test_points_are_kept(bench, words, tmp_path, monkeypatch):
    import bench.studies.curve.measure as runner

    given = (*words, "--over", "eps", "--at", "1/40,1/20", "--json")
    measured, measure = [], runner.measure

    def killed(*args):
        if len(measured) == 4:
            raise KeyboardInterrupt
        measured.append(1)
        return measure(*args)

    monkeypatch.setattr(runner, "measure", killed)
    stopped = bench(*given)
    assert stopped.code == 130 and not list((tmp_path / "runs").rglob("curve.json"))
    monkeypatch.setattr(runner, "measure", lambda *args: measured.append(1) or measure(*args))
    resumed = read(bench(*given))
    assert len(measured) == 6, "three chunks at two radii"
    again = bench(*given)
    assert len(measured) == 6 and "nothing was computed" in again.err and read(again) == resumed
    assert len(read(bench(*given, "--rerun"))) == 1 and len(measured) == 12


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("standard", ["--over"]),
        ("standard --over epsilon", ["'epsilon'", "'eps'"]),
        ("pgdat --over eps", ["'pgdat'", "did you mean 'pgd_at'?"]),
        ("standard --over eps --at a", ["--at is 'a'", "--at 4/255,8/255"]),
        ("standard --over eps --at 2", ["--at holds 2", "at most 1 under Linf"]),
        ("standard --over eps --at 0.2,0.1", ["do not rise"]),
        ("standard --over steps --at 1.5", ["3/2", "whole numbers"]),
        ("standard --over steps --attack fgsm", ["'fgsm' has no steps", "--attack pgd"]),
        ("standard --over restarts --at 3,5", ["the largest alone"]),
        ("standard --over queries --at 5", ["expected no --at"]),
        ("standard --over eps --eps 0", ["--eps is 0"]),
        ("standard pgd_at --over eps --set defense.steps=5", ["standard[steps=5]"]),
        ("standard --over eps --attack pgdd", ["'pgdd'", "did you mean 'pgd'?"]),
    ],
)
def test_a_bad_word_is_one_sentence(bench, tmp_path, words, told):
    given = ["--data", "synthetic", "--set", "recipe.epochs=1", "--store", tmp_path / "runs"]
    refused = bench("curve", *words.split(" "), *given)
    assert refused.code == 2 and refused.out == "" and "Traceback" not in refused.err
    for word in told:
        assert word in refused.err.splitlines()[-1]


def held(count, n=200):
    return np.arange(n) < count


def points(*values):
    return [Point(Fraction(value), None, ()) for value in values]


def test_signs():
    """A rise counts where the same examples say so; a doubling where more than one example falls."""
    codes = lambda *given: [finding.code for finding in signs(*given, Fraction(1))]  # noqa: E731
    assert codes("eps", points("1/4", "1/2", "1"), [held(100), held(50), held(2)]) == []
    assert codes("eps", points("1/4", "1/2"), [held(100), held(101)]) == [], "one example is within chance"
    assert codes("eps", points("1/4", "1/2"), [held(100), held(120)]) == ["success-falls-with-eps"]
    assert codes("eps", points("1/4", "1"), [held(100), held(3)]) == ["unconstrained-attack-fails"]
    assert codes("steps", points(50, 100), [held(100), held(99)]) == []
    assert codes("steps", points(1, 50, 100), [held(150), held(100), held(98)]) == ["more-steps-help"]
    assert codes("restarts", points(5, 10), [held(100), held(98)]) == ["more-restarts-help"]
    assert codes("restarts", points(4, 10), [held(100), held(50)]) == [], "nothing was doubled"
