"""`bench compare` on records whose single examples were set by hand, without torch."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import ttest_ind

from bench.core.metrics import proportion
from bench.core.outcomes import Outcomes
from bench.core.paired import mcnemar
from bench.records.record import Interval
from bench.records.store import Store
from bench.records.verdicts import verdicts_of

N = 200


def kept(*ranges):
    held = np.zeros(N, dtype=bool)
    for start, stop in ranges:
        held[start:stop] = True
    return held


def outcomes(held, first_id=0):
    zeros = np.zeros(N, dtype=np.int64)
    none = zeros.astype(bool)
    return Outcomes(
        zeros + np.arange(N) + first_id, zeros, zeros, 1 - held.astype(np.int64), zeros * 0.0, zeros, zeros,
        zeros - 1, none, none, none,
    )  # fmt: skip


@pytest.fixture
def stored(make_record, make_trial, as_made, tmp_path):
    """Write a run: what it keeps against each of two columns; the worst case is what both leave.

    Its id follows from what it is of: `ids` has it by the letter that it is given here.
    """

    def write(letter, defense, pgd, noise=None, *, by_example=True, folder=True, first_id=0, **changes):
        found = {"noise": outcomes(kept((0, N)) if noise is None else noise, first_id)}
        found["pgd"] = outcomes(pgd, first_id)
        worst = pgd & found["noise"].robust

        def interval(held):
            share = proportion(held)
            return Interval(share.value, share.low, share.high, share.count, share.n)

        trials = tuple(make_trial(name, robust=interval(held.robust)) for name, held in found.items())
        record = make_record(
            examples=N, worst=1, clean=interval(kept((0, N))), defense=defense, columns=trials, **changes
        )
        verdicts = verdicts_of(found["pgd"], worst) if by_example else None
        record = as_made(dataclasses.replace(record, worst_case=interval(worst), robust_examples=verdicts))
        write.ids[letter] = run_id = record.run_id
        place = Store(tmp_path).run(run_id)
        place.finish(record, found)
        if not folder:
            (place.path / "examples.csv").unlink()
        return record

    write.store, write.ids = tmp_path, {}
    return write


def test_two_networks_in_a_sentence_and_column_by_column(bench, stored):
    stored("a", "ours", kept((0, 100)), kept((0, 150)))
    stored("b", "theirs", kept((0, 88), (100, 105)), kept((0, 140)))
    told = bench("compare", "ours", "theirs", "--store", stored.store)
    assert told.code == 0, told.err
    p = f"{mcnemar(12, 5):.2g}"
    assert (
        "ours keeps 12 of 200 examples that theirs loses, and loses 5 that it keeps: +3.5 points" in told.out
    )
    assert f"exact McNemar p = {p}: no significant difference" in told.out
    rows = [line.split() for line in told.out.splitlines()]
    noise = next(row for row in rows if row[:1] == ["noise"])
    assert noise[1:5] == ["75.0", "70.0", "10", "0"] and noise[-2:] == ["0.002", "0.0039*"]
    assert next(row for row in rows if row[:1] == ["pgd"])[-2:] == [p, p], "the larger of two keeps its own"
    assert "of these weights, not of the methods" in told.out
    turned = bench("compare", stored.ids["b"], stored.ids["a"], "--store", stored.store).out
    assert "theirs keeps 5 of 200 examples that ours loses, and loses 12 that it keeps: -3.5 points" in turned


def test_a_difference_beyond_chance_names_the_better(bench, stored):
    stored("a", "ours", kept((0, 100)))
    stored("b", "theirs", kept((0, 88)))
    told = json.loads(bench("compare", "theirs", "ours", "--store", stored.store, "--json").out)
    (pair,) = told["pairs"]
    assert (pair["won"], pair["lost"], pair["n"], pair["difference"]) == (0, 12, N, -0.06)
    assert pair["p"] == pair["p_holm"] == 2 / 2**12 and pair["significant"]
    assert told["told"][0].endswith("ours is better")


def test_several_are_corrected_by_holm(bench, stored):
    """Won 6, 8 and 2 with none lost: p of 2/64, 2/256 and 1/2, so by Holm 4/64, 6/256 and 1/2."""
    for name, count in (("a", 100), ("b", 94), ("c", 92)):
        stored(name, name, kept((0, count)))
    told = json.loads(bench("compare", "a", "b", "c", "--store", stored.store, "--json").out)
    found = {(pair["one"], pair["other"]): (pair["p_holm"], pair["significant"]) for pair in told["pairs"]}
    assert found == {("a", "b"): (4 / 64, False), ("a", "c"): (6 / 256, True), ("b", "c"): (0.5, False)}
    printed = bench("compare", "a", "b", "c", "--store", stored.store).out
    assert "+4.0*" in printed and "-4.0*" in printed and "+3.0*" not in printed
    assert "by Holm over 3 pairs" in printed


def test_a_folder_stands_for_what_was_asked_of_it(bench, stored):
    stored("a", "ours", kept((0, 100)))
    stored("b", "theirs", kept((0, 88)))
    stored("c", "ours", kept((0, 50)), suite="blackbox@1")
    stored("d", "ours", kept((0, 50)), data="svhn")
    told = bench("compare", stored.store, "--data", "cifar10", "--suite", "whitebox")
    assert told.code == 0 and {"ours", "theirs"} <= {*told.out.split()}
    assert "keeps 12 of 200 examples" in told.out or "loses 12 that it keeps" in told.out
    several = bench("compare", stored.store, "--suite", "whitebox")
    assert several.code == 2 and "can be compared on 2 grounds" in several.err
    none = bench("compare", stored.store, "--suite", "fast")
    assert none.code == 2 and "no record under fast" in none.err and "blackbox@1" in none.err


def test_without_a_suite_the_usual_one_is_meant_in_its_newest_version_that_all_have(bench, stored):

    def told(*words):
        return bench("compare", *words, "--store", stored.store).out

    for name, count in (("ours", 100), ("theirs", 88)):
        stored(f"{name}w", name, kept((0, 60)))
        for suite, more in (("fast@1", 0), ("fast@2", 7)):
            stored(f"{name}{suite}", name, kept((0, count + more)), suite=suite)
    assert "fast@2" in told("ours", "theirs")
    assert "whitebox@1" in told("ours", "theirs", "--suite", "whitebox")
    assert "fast@1" in told("ours", "theirs", "--suite", "fast@1")
    stored("other", "other", kept((0, 80)), suite="fast@1")
    assert "fast@1" in told("ours", "other")
    stored("another", "another", kept((0, 80)))
    assert "whitebox@1" in told("ours", "another")


def test_seeds_are_one_method_and_tested_over_trainings(bench, stored):
    counts = {"ours": (110, 114, 121), "theirs": (100, 96, 104)}
    for name, each in counts.items():
        for seed, count in enumerate(each):
            stored(f"{name}{seed}", name, kept((0, count)), seed=seed)
    told = json.loads(bench("compare", "ours", "theirs", "--store", stored.store, "--json").out)
    assert len(told["pairs"]) == 9, "every seed against every seed of the other"
    ours, theirs = ([count / N for count in each] for each in counts.values())
    (contest,) = told["over_seeds"]
    assert contest["p"] == pytest.approx(ttest_ind(ours, theirs, equal_var=False).pvalue)
    assert contest["difference"] == pytest.approx(statistics.mean(ours) - statistics.mean(theirs))
    mean, spread = 100 * statistics.mean(ours), 100 * statistics.stdev(ours)
    assert f"ours has {mean:.1f} ± {spread:.1f} (3 seeds: 55.0, 57.0, 60.5)" in told["told"][-1]
    only = bench("compare", "ours", "--store", stored.store)
    assert only.code == 0 and "ours seed 0" in only.out and "over seeds" not in only.out


def test_records_alone_are_enough(bench, stored):
    a = stored("a", "ours", kept((0, 100)), folder=False)
    b = stored("b", "theirs", kept((0, 88)), folder=False)
    told = bench("compare", *[stored.store / r.run_id / "record.json" for r in (a, b)])
    assert told.code == 0 and "ours keeps 12 of 200" in told.out


def test_old_records_fall_back_to_intervals_and_say_so(bench, stored):
    stored("a", "ours", kept((0, 100)))
    stored("b", "old", kept((0, 95)), by_example=False, folder=False)
    stored("c", "older", kept((0, 20)), by_example=False, folder=False)
    told = bench("compare", "ours", "old", "--store", stored.store)
    assert told.code == 0
    assert "no pairs can be tested" in told.out and f"missing for old ({stored.ids['b']})" in told.out
    assert "they overlap, so nothing is shown" in told.out
    assert "they lie apart" in bench("compare", "ours", "older", "--store", stored.store).out


def test_a_table_of_examples_stands_in_for_what_a_record_lacks(bench, stored):
    stored("a", "ours", kept((0, 100)))
    stored("b", "old", kept((0, 88)), by_example=False)
    assert "ours keeps 12 of 200" in bench("compare", "ours", "old", "--store", stored.store).out


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"eps": "0.1"}, "the eps (8/255 and 0.1)"),
        ({"norm": "L2"}, "the norm (Linf and L2)"),
        ({"data": "svhn"}, "the data (cifar10 and svhn)"),
        ({"data_digest": "f" * 12}, "the images under this name"),
        ({"suite": "blackbox@1"}, "the suite (whitebox@1 and blackbox@1)"),
        ({"first_id": 7}, "the examples"),
    ],
)
def test_what_must_not_be_compared_is_refused(bench, stored, changes, told):
    stored("a", "ours", kept((0, 100)))
    stored("b", "theirs", kept((0, 100)), **changes)
    refused = bench("compare", stored.ids["a"], stored.ids["b"], "--store", stored.store)
    assert refused.code == 2 and refused.out == "" and len(refused.err.splitlines()) == 1, refused.err
    assert "cannot be compared: they differ in" in refused.err and told in refused.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["ours"], "expected at least two"),
        (["ours", "nobody"], "'nobody' leads to no record"),
        (["ours", "theirs", "--suite", "fast"], "cifar10, Linf 8/255, 200 examples, whitebox@1"),
        (["ours", "theirs", "--examples", "many"], "--examples is 'many'"),
        (["ours", "theirs", "--eps", "8/25x"], "8/25x"),
        ([], "missing argument"),
    ],
)
def test_mistakes_are_one_sentence(bench, stored, words, told):
    stored("a", "ours", kept((0, 100)))
    stored("b", "theirs", kept((0, 88)))
    refused = bench("compare", *words, "--store", stored.store)
    assert refused.code == 2 and refused.out == "" and len(refused.err.splitlines()) == 1, refused.err
    assert told in refused.err


def test_it_needs_no_torch_and_fits_a_narrow_terminal(stored):
    for name, count in (("a", 100), ("b", 94), ("c", 92)):
        stored(name, f"defense_{name}", kept((0, count)))
    code = "import sys; from bench.cli.main import main\n"
    code += "try: main(sys.argv[1:])\nfinally: assert 'torch' not in sys.modules"
    words = [sys.executable, "-c", code, "compare", "defense_a", "defense_b", "defense_c"]
    done = subprocess.run(
        [*words, "--store", stored.store],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tables = done.stdout.partition("defense_a keeps")[0].splitlines()
    assert max(map(len, tables)) <= 80


def trained_at(eps, norm="Linf"):
    return {"suite": {"name": "whitebox"}, "training": {"budget": {"norm": norm, "eps": eps}}}


def test_another_radius_in_training_is_another_method(bench, stored):
    """One seed at 8/255 and one at 4/255 are no two seeds."""
    stored("a", "ours", kept((0, 100)), spec=trained_at("8/255"))
    stored("b", "ours", kept((0, 60)), spec=trained_at("4/255"))
    told = bench("compare", stored.ids["a"], stored.ids["b"], "--store", stored.store)
    assert "ours trained at Linf 8/255 keeps 40 of 200" in told.out and "2 seeds" not in told.out
    assert "trained at Linf 4/255" in told.out
    plain = json.loads(
        bench("compare", stored.ids["a"], stored.ids["b"], "--store", stored.store, "--json").out
    )
    assert [(method["name"], method["seeds"]) for method in plain["methods"]] == [
        ("ours@preact_resnet18, short", [0]),
        ("ours@preact_resnet18, short, trained at Linf 4/255", [0]),
    ]
    both = bench("compare", "ours", stored.ids["a"], "--store", stored.store)
    assert both.code == 2 and "networks of 2 kinds" in both.err and "--train-eps RADIUS" in both.err
    stored("c", "theirs", kept((0, 100)), spec=trained_at("4/255"))
    chosen = bench("compare", "ours", "theirs", "--train-eps", "4/255", "--store", stored.store)
    assert "ours keeps 0 of 200 examples that theirs loses, and loses 40" in chosen.out, chosen.err


def test_two_seeds_at_another_radius_are_two_seeds(bench, stored):
    for letter, seed, last in (("a", 0, 100), ("b", 1, 90)):
        stored(letter, "ours", kept((0, last)), seed=seed, spec=trained_at("4/255"))
    told = json.loads(bench("compare", "ours", "--store", stored.store, "--json").out)
    assert [method["seeds"] for method in told["methods"]] == [[0, 1]]


def test_of_many_pairs_the_surest_are_printed_and_json_has_all(bench, stored):
    for number in range(15):  # 105 pairs
        stored(f"r{number}", f"d{number}", kept((0, 100 - 3 * number)))
    printed = bench("compare", stored.store, "--suite", "whitebox").out
    assert "differences in the worst case" in printed, "so few networks have a matrix"
    assert "the surest 100 of 105 pairs" in printed and "by Holm over 105 pairs" in printed
    rows = [line for line in printed.splitlines() if line.startswith("d") and "[" in line]
    assert len(rows) == 100 and {*rows[0].split()[:2]} == {"d0", "d14"}, (
        "the largest difference is the surest"
    )
    told = json.loads(bench("compare", stored.store, "--suite", "whitebox", "--json").out)
    assert len(told["pairs"]) == 105 and "the surest 100 of 105 pairs are told" in told["told"]


def test_too_many_networks_for_a_matrix_are_told_so(bench, stored):
    for number in range(101):
        stored(f"r{number}", f"d{number}", kept((0, 100)))
    printed = bench("compare", stored.store, "--suite", "whitebox").out
    assert "101 networks are too many for a matrix; bench board ranks them all" in printed
    assert "differences in the worst case" not in printed and "runs: 101, in --json" in printed
