"""What a record says in two ways is held against each other; a genuine one says nothing in two ways."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from pathlib import Path

import pytest
from scipy.stats import binomtest

from bench.core.digest import content_id
from bench.core.json_file import DEPTH
from bench.errors import BadData
from bench.records.reading import from_json
from bench.records.record import to_json
from bench.records.recount import wilson
from bench.studies.table import study

ROOT = Path(__file__).parents[3]
GENUINE = json.loads((ROOT / "tests" / "hostile" / "genuine.json").read_text())


def test_wilson_is_that_of_scipy():
    for n in (1, 7, 500, 10_000):
        for count in {0, 1, n // 3, n - 1, n}:
            due = binomtest(count, n).proportion_ci(method="wilson")
            assert wilson(count, n) == pytest.approx((due.low, due.high), abs=1e-9)


@pytest.mark.parametrize("devices", ["x", [1], None, -1, 1.5])
def test_devices_are_a_number_whoever_names_the_run(devices):
    """Its id is that of its spec, as anybody can make it."""
    made = copy.deepcopy(GENUINE)
    made["spec"]["training"]["devices"] = devices
    made["run_id"] = content_id(made["spec"])
    with pytest.raises(BadData, match="devices"):
        from_json(json.dumps(made))


def changed(*path_and_value):
    *path, last, value = path_and_value
    made = copy.deepcopy(GENUINE)
    inside = made
    for key in path:
        inside = inside[key]
    inside[last] = value
    return json.dumps(made)


WRONG = {
    "a worst case of 99.9 %": (("worst_case", "value", 0.999), "worst_case is 0.999"),
    "an interval of 750 %": (("clean", "high", 7.5), "clean is"),
    "low above value": (("clean", "low", 0.9999), "clean is"),
    "another count": (("clean", "count", 400), "clean is"),
    "a negative count": (("clean", "count", -1), "clean.count"),
    "no examples": (("clean", "n", 0), "expected a share of at least one example"),
    "other examples": (("examples", 200), "clean is of 500 examples, and the run of 200"),
    "a doubt of more than was met": (
        ("doubt", {"attackers": 3, "met": 9, "broke": 10, "alone": 1, "at_most": 0.0}),
        "its doubt is of 9 examples, 10 broken, 1 of them by only one",
    ),
    "a doubt of more than is left": (
        ("doubt", {"attackers": 3, "met": 10, "broke": 9, "alone": 1, "at_most": 0.5}),
        "its doubt is of 0.5, more than what the attackers left",
    ),
    "another seed": (("seed", 7), "its seed is 7, and"),
    "another radius": (("eps", "1/255"), "its eps is 1/255, and"),
    "another norm": (("norm", "L2"), "its norm is L2, and Linf in its spec"),
    "no norm": (("norm", "L7"), "at norm"),
    "another defense": (("defense", "trades"), "its defense is trades, and standard in its spec"),
    "another data set": (("data", "cifar10"), "its data is cifar10, and mnist in its spec"),
    "another suite": (("suite", "autoattack@1"), "its suite is autoattack@1, and fast@1 in its spec"),
    "another training": (("training", "training_id", "0" * 12), "its training_id is 000000000000"),
    "another checkpoint": (
        ("training", "checkpoint", "last"),
        "its checkpoint is last, and best",
    ),
    "a level that sees more": (("columns", 0, "level", "black-box"), "its levels is black-box"),
    "a spec of another run": (("spec", "checkpoint", "last"), "its run_id is"),
    "a spec of nothing": (("spec", {}), "its spec is that of no run (training: Field required)"),
    "a spec that is deep": (("spec", "training", []), "its spec is that of no run"),
    "a column that was not played": (("columns", 0, "skipped", "tired"), "not one of an accuracy, a reason"),
    "nothing met": (("columns", 0, "broke", None), "does not say what it met and broke"),
    "more broken than met": (("columns", 0, "broke", 1), "which does not leave the"),
    "another rate": (("columns", 0, "attack_success_rate", 0.01), "has a success rate of 0.01"),
    "negative passes": (("columns", 0, "forwards", -3.0), "columns.0.forwards"),
    "negative seconds": (("provenance", "seconds", -1), "provenance.seconds"),
    "a failure that is complete": (("status", "failed"), "it is failed, and no column failed"),
    "no worst case": (("worst_case", None), "it has no worst case, and is complete"),
    "other marks": (("robust_examples", "worst_case", "f" * 125), "examples are marked as worst_case"),
    "marks that are none": (("robust_examples", "clean", "xyz"), "its marks of clean cannot be read"),
    "fewer images": (("evidence", "images", 3), "it keeps 3 adversarial images"),
    "images that others made": (("imported", 0, "robust", "0" * 125), "0 examples are marked as imported.0"),
    "a finding of no weight": (("findings", 0, "severity", "fine"), "findings.0.severity"),
    "a verdict of its own": (("audit", 0, "verdict", "great"), "audit.0.verdict"),
    "a command of others": (("audit", 0, "command", "rm -rf ~"), "no command of bench"),
    "a path for an id": (("run_id", "../../X"), "at run_id"),
    "a path for a file": (("evidence", "file", "../../X"), "no plain name"),
    "an unknown field": (("more", 1), "at more"),
}


@pytest.mark.parametrize(("change", "told"), WRONG.values(), ids=list(WRONG))
def test_each_contradiction_is_one_sentence_with_its_place(change, told):
    with pytest.raises(BadData) as raised:
        from_json(changed(*change), "record.json")
    assert told in str(raised.value) and str(raised.value).startswith("record.json ")
    assert str(raised.value).isprintable()


def test_a_worst_case_above_a_column_is_refused():
    held = copy.deepcopy(GENUINE)
    held["worst_case"], held["robust_examples"], held["imported"] = held["clean"], None, []
    with pytest.raises(BadData, match=r"its worst case leaves \d+ examples, and \w+ alone \d+"):
        from_json(json.dumps(held))


def test_every_number_that_counts_hangs_on_others(tmp_path):
    """One more or one less of any count, share or bound: the record is refused."""
    measured = ("seconds", "forwards", "backwards", "queries_mean", "queries_median", "threads", "parameters")
    counted = ("epoch", "epochs", "draws", "outside", "left", "moved", "lost", "invalid", "eot_samples")
    free = (*measured, *counted, "validation_robust_accuracy")

    def numbers(value, path=()):
        if isinstance(value, bool):
            return
        if isinstance(value, (int, float)):
            yield path
        items = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        for key, inside in items:
            yield from numbers(inside, (*path, key))

    places = [path for path in numbers({**GENUINE, "spec": {}}) if path[-1] not in free]
    assert len(places) > 30
    for path in places:
        held = GENUINE
        for key in path:
            held = held[key]
        with pytest.raises(BadData):
            from_json(changed(*path, held + (1 if isinstance(held, int) else 0.01)))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 100_000, "100 deep"),
        ("[" * (DEPTH + 1) + "]" * (DEPTH + 1), "100 deep"),
        ('{"schema": ' + "9" * 5000 + "}", "5000 digits"),
        ('{"schema": NaN}', "NaN, which is no number"),
        ('{"schema": 1e999}', "'1e999', which is no finite number"),
        ('{"schema": "\\ud800"}', "half of a surrogate pair"),
        ("{", "not JSON: expecting property name enclosed in double quotes in line 1"),
        ("[1]", "no JSON object"),
        ('"x"', "no JSON object"),
    ],
)
def test_json_of_anybody_is_one_sentence(text, told):
    with pytest.raises(BadData) as raised:
        from_json(text, "record.json")
    assert told in str(raised.value) and len(str(raised.value)) < 300


def test_a_radius_is_read_at_once(genuine):
    text = to_json(genuine()).replace('"8/255"', '"1e999999999"')
    with pytest.raises(BadData, match="eps is '1e999999999', expected a number"):
        from_json(text)


def test_text_loses_what_moves_a_cursor_and_the_spec_stays_as_it_is(genuine):
    made = genuine()
    told = dataclasses.replace(made, paper="a\x1b[2J\nb\u202ec", spec={**made.spec, "x": "a\nb"})
    told = dataclasses.replace(told, run_id=content_id(told.spec))
    found = from_json(to_json(told))
    assert found.paper == "a [2J bc" and found.spec["x"] == "a\nb"


STUDIES = {
    "curve": (
        (("points", 1, "robust", "count", 0), "points.1.robust is"),
        (("points", 2, "value", "1/3"), "points.2 is at"),
        (("id", "0" * 12), "its id is 000000000000"),
        (("seed", 9), "its seed is 9, and 0 in its spec"),
        (("networks", 0, "training_id", "0" * 12), "networks.0.training_id is 000000000000"),
        (("networks", []), "it is of no network"),
        (("points", 1, "seconds", -1), "points.1.seconds"),
        (("points", []), "it has no point"),
    ),
    "detection": (
        (("guards", 0, "worst", "low", 0.99), "guards.0.worst is"),
        (("separations", 0, "auroc", "high", 0.0), "separations.0.auroc is"),
        (("examples", 400), "networks.0.clean is of 500 examples, expected 400"),
    ),
    "shift": (
        (("corrupted", 3, "accuracy", "value", 1.0), "corrupted.3.accuracy is"),
        (("mean", "n", 3), "mean is"),
        (("mean", "value", math.pi), "mean is"),
    ),
}


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [(name, *one) for name, each in STUDIES.items() for one in each],
)
def test_results_of_studies_are_held_to_the_same(name, change, told, tmp_path):
    row = study({"detection": "detect"}.get(name, name))
    made = json.loads((ROOT / "tests" / "schemas" / f"{name}-2.json").read_text())
    *path, last, value = change
    inside = made
    for key in path:
        inside = inside[key]
    inside[last] = value
    (tmp_path / row.file).write_text(json.dumps(made))
    with pytest.raises(BadData) as raised:
        row.read(tmp_path / row.file)
    assert told in str(raised.value)
