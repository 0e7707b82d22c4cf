"""`bench plot` as it is typed: every kind of runs from records by hand, whose figures can be counted."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.core.outcomes import NEVER, Outcomes, worst_case
from bench.figures.kinds import KINDS, kinds_of
from bench.figures.lookup import RUN, led_to
from bench.figures.read import Only
from bench.records.record import to_json
from bench.records.store import RunFolder
from bench.report.scatter import in_order_of_robustness, pareto

N = 40
OF_RECORDS = ("scatter", "claims", "cost")


def outcomes(broken: list[int]) -> Outcomes:
    """Forty examples of four classes; the first two are wrong when clean, the named ones fall."""
    labels = np.arange(N) % 4
    clean = np.where(np.arange(N) < 2, (labels + 1) % 4, labels)
    fell = np.isin(np.arange(N), broken) & (clean == labels)
    attacked = np.where(fell, (labels + 1) % 4, clean)
    no, nothing = np.zeros(N, dtype=bool), np.zeros(N, dtype=np.int64)
    first = np.where(fell, 3, NEVER)
    return Outcomes(
        ids=np.arange(N), labels=labels, clean=clean, attacked=attacked, distance=np.full(N, 0.1),
        forwards=nothing + 10, backwards=nothing + 10, first_success=first, moved=no, lost=no, invalid=no,
    )  # fmt: skip


@pytest.fixture
def store(tmp_path, make_record, make_trial, as_made) -> Path:
    """Complete runs of three defenses on MNIST, two seeds of the first; `pgd_at` and `trades` have claims."""
    place = tmp_path / "runs"
    runs = (("pgd_at", 0, [2, 3, 4]), ("pgd_at", 1, [2, 3]), ("trades", 0, [6]), ("mine", 0, list(range(N))))
    for defense, seed, broken in runs:
        weak, strong = outcomes(broken[:1]), outcomes(broken)
        columns = tuple(
            dataclasses.replace(
                make_trial(name, int(held.robust.sum()), N, knowledge=knowledge),
                forwards=passes / 2, backwards=passes / 2,
            )
            for name, held, knowledge, passes in (
                ("fgsm", weak, "white-box", 2.0), ("square", strong, "black-box, logits", 5000.0),
            )
        )  # fmt: skip
        right, left = int(strong.correct.sum()), int(worst_case([weak, strong]).sum())
        record = dataclasses.replace(
            make_record(defense=defense, seed=seed, data="mnist", eps="0.3"),
            examples=N, architecture="small_cnn", columns=columns,
            clean=make_trial("clean", right, N).robust, worst_case=make_trial("worst", left, N).robust,
        )  # fmt: skip
        record = as_made(record)
        RunFolder(place / record.run_id).finish(record, {"fgsm": weak, "square": strong})
    return place


@pytest.fixture
def first(store) -> str:
    """The run of `pgd_at` from seed 0."""
    records = [json.loads(path.read_text()) for path in store.glob("*/record.json")]
    return next(r["run_id"] for r in records if (r["defense"], r["seed"]) == ("pgd_at", 0))


@pytest.fixture
def plot(bench, store, tmp_path):
    """`bench plot` of that store into a folder of this test."""

    def call(*words):
        return bench("plot", *words, "--store", store, "--out", tmp_path / "out")

    return call


def test_every_kind_is_told_and_drawn_by_something(plot, bench):
    told = " ".join(bench("plot", "--help").out.split())
    assert all(one.draw for kind in KINDS.values() for one in kind.of) and len(KINDS) > 15
    for name, kind in KINDS.items():
        assert f"{name} {kind.shows} ({kind.made_by})" in told


@pytest.mark.parametrize(
    ("kind", "form"),
    [("scatter", "pdf"), ("claims", "svg"), ("cost", "pdf"), ("classes", "pdf"), ("queries", "png")],
)
def test_three_files_the_same_bytes_again_and_type_that_publishers_take(plot, tmp_path, kind, form):
    words = (kind, "pgd_at", "trades", "--format", form, "--width", "column")
    told = plot(*words)
    assert told.code == 0, told.err
    names = [Path(line).name for line in told.out.splitlines()]
    assert names == [f"{kind}.{form}", f"{kind}.csv", f"{kind}.caption.txt"]
    before = [(tmp_path / "out" / name).read_bytes() for name in names]
    if form == "pdf":
        assert b"/FontFile2" in before[0] and b"/Type3" not in before[0]
    assert before[2].decode().count("\n") == 1 and b"mnist, Linf 0.3" in before[2]
    assert plot(*words).code == 0
    assert [(tmp_path / "out" / name).read_bytes() for name in names] == before


def test_the_scatter_has_a_point_for_each_training_and_the_published_ones(plot, store, tmp_path):
    assert plot("scatter", store).code == 0
    rows = pd.read_csv(tmp_path / "out" / "scatter.csv")
    own = rows[rows["kind"] == "this"].set_index("run")
    assert sorted(own.index) == sorted(path.name for path in store.iterdir()) and len(own) == 4
    for run, row in own.iterrows():
        record = json.loads((store / run / "record.json").read_text())
        for name, held in (("clean", record["clean"]), ("robust", record["worst_case"])):
            assert row[f"{name}_accuracy"] == pytest.approx(held["value"])
            assert row[f"{name}_low"] == pytest.approx(held["low"], rel=1e-4)
    said = rows[rows["kind"] != "this"].set_index("defense")
    assert said.loc["trades", "clean_accuracy"] == 0.9948 and said.loc["trades", "robust_accuracy"] == 0.956
    assert sorted(said.index) == ["pgd_at", "trades"], "nobody published anything of mine"


def test_claims_are_those_of_the_table_beside_what_was_measured(plot, tmp_path):
    assert plot("claims", "trades", "mine").code == 0
    rows = pd.read_csv(tmp_path / "out" / "claims.csv")
    assert rows[["defense", "kind", "robust_accuracy"]].values.tolist() == [
        ["trades", "this", 37 / 40],
        ["trades", "claimed", 0.956],
        ["trades", "measured", 0.9281],
    ]


def test_classes_count_by_hand(plot, first, tmp_path):
    assert plot("classes", first[:8]).code == 0
    rows = pd.read_csv(tmp_path / "out" / f"classes-{first}.csv").set_index(["state", "class"])
    # 10 in a class; 0 and 1 wrong when clean; 2, 3, 4 fall
    assert [rows.loc[("clean", str(c)), "right"] for c in range(4)] == [9, 9, 10, 10]
    assert [rows.loc[("robust", str(c)), "right"] for c in range(4)] == [8, 9, 9, 9]
    assert rows.loc[("robust", "all"), "right"] == 35 and rows.loc[("robust", "all"), "n"] == 40


def test_cost_counts_forwards_and_backwards_and_knows_the_strongest(plot, first, tmp_path):
    assert plot("cost", "pgd_at", "--examples", "40").code == 0
    rows = pd.read_csv(tmp_path / "out" / "cost.csv")
    its = rows[rows["run"] == first]
    assert its["passes"].tolist() == [2, 5000] and its["column"].tolist() == ["fgsm", "square"]
    assert its["robust_accuracy"].tolist() == [37 / 40, 35 / 40]
    assert its["is_strongest_so_far"].tolist() == [1, 1]


def test_published_records_are_enough_for_what_needs_no_examples(bench, store, tmp_path):
    boards = tmp_path / "boards" / "records"
    boards.mkdir(parents=True)
    for path in store.glob("*/record.json"):
        (boards / f"{path.parent.name}.json").write_bytes(path.read_bytes())
    for kind in OF_RECORDS:
        assert bench("plot", kind, boards.parent, "--out", tmp_path / "out").code == 0
    refused = bench("plot", "classes", boards.parent, "--out", tmp_path / "out")
    assert refused.code == 2 and "published record" in refused.err and len(refused.err.splitlines()) == 1


def test_records_are_drawn_without_torch(store, tmp_path):
    code = (
        "import sys, atexit; from bench.cli.main import main; "
        "atexit.register(lambda: print('torch' in sys.modules)); main(sys.argv[1:])"
    )
    words = ["plot", "scatter", str(store), "--store", str(store), "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["landscape", "trades"], "'trades' leads to a run, expected a diagnosis"),
        (["eps", "zzz"], "'zzz' leads to no curve"),
        (["scater", "trades"], "no kind of figure is named 'scater'; did you mean 'scatter'?"),
        (["scatter"], "nothing is named to draw"),
        (["trades"], f"expected a kind of figure: {', '.join(kinds_of(kinds_of.__globals__['RUN']))}"),
        (["claims", "mine"], "no robust accuracy of mine is published for mnist, Linf 0.3"),
        (["scatter", "trades", "--suite", "blackbox"], "--suite blackbox leaves nothing of 1"),
        (["scatter", "trades", "--eps", "big"], "'big'"),
        (["scatter", "trades", "--every-column"], "--every-column comes without"),
        (["distance", "trades"], "has no column whose attack looked for the nearest"),
        (["scatter", "trades", "--width", "wide"], "'wide'"),
    ],
)
def test_a_mistake_is_one_sentence(plot, tmp_path, words, told):
    refused = plot(*words)
    assert refused.code == 2 and refused.out == "" and len(refused.err.splitlines()) == 1, refused.err
    assert told in refused.err
    assert not (tmp_path / "out").exists()


def test_other_budgets_are_not_compared_and_can_be_left_out(
    plot, store, make_record, make_trial, as_made, tmp_path
):
    held = outcomes(list(range(18)))
    right, left = int(held.correct.sum()), int(held.robust.sum())
    other = dataclasses.replace(
        make_record(defense="awp", data="mnist", eps="0.1"),
        examples=N, columns=(make_trial("pgd_20", left, N),),
        clean=make_trial("clean", right, N).robust, worst_case=make_trial("worst", left, N).robust,
    )  # fmt: skip
    other = as_made(other)
    RunFolder(store / other.run_id).finish(other, {"pgd_20": held})
    refused = plot("scatter", store)
    told = re.search(r"they differ in the eps \((.+) and (.+)\); try: .*--eps (\S+)", refused.err)
    assert refused.code == 2 and told, refused.err
    assert {told[1], told[2]} == {"0.1", "0.3"} and told[3] == told[1], "in the order of their ids"
    assert plot("scatter", store, "--eps", "3/10").code == 0
    assert "awp" not in (tmp_path / "out" / "scatter.csv").read_text()


def test_the_beginning_of_several_ids_is_refused_and_a_damaged_file_is_named(plot, first, store):
    twin = store / f"{first[:6]}zzzzzz" / "record.json"
    twin.parent.mkdir()
    twin.write_bytes((store / first / "record.json").read_bytes())
    assert f"{first[:6]!r} is the beginning of several runs" in plot("scatter", first[:6]).err
    twin.write_text("{")
    refused = plot("scatter", f"{first[:6]}z")
    assert refused.code == 2 and "cannot be read (it is not JSON" in refused.err


def test_only_and_top_choose_defenses(plot, store, tmp_path):
    assert plot("scatter", store, "--only", "trades,mine").code == 0
    rows = pd.read_csv(tmp_path / "out" / "scatter.csv")
    assert {*rows["defense"]} == {"trades", "mine"}
    assert plot("scatter", store, "--top", "1").code == 0
    rows = pd.read_csv(tmp_path / "out" / "scatter.csv")
    assert {*rows["defense"]} == {"trades"}, "37 of 40 stand, of pgd_at 36 and 35, of mine none"
    told = plot("scatter", store, "--only", "trdes")
    assert told.code == 2 and "did you mean 'trades'?" in told.err


def test_a_file_of_names_changes_what_is_read_and_not_the_numbers(plot, store, tmp_path):
    names = tmp_path / "names.toml"
    names.write_text('pgd_at = "PGD-AT"\ntrades = "TRADES"\n')
    words = ("scatter", store, "--names", names, "--format", "svg")
    assert plot(*words).code == 0
    drawn = (tmp_path / "out" / "scatter.svg").read_text()
    assert ">PGD-AT<" in drawn and ">TRADES<" in drawn and ">pgd_at<" not in drawn
    assert "pgd_at" in {*pd.read_csv(tmp_path / "out" / "scatter.csv")["defense"]}
    for text, why in (
        ('pgd_att = "x"', "did you mean 'pgd_at'?"),
        ("pgd_at = 3", "calls pgd_at 3, expected a name in quotes"),
        ("pgd_at : x", "is no TOML"),
        ('pgd_at = "x"\ntrades = "x"', "calls two defenses 'x'"),
    ):
        names.write_text(text)
        told = plot(*words)
        assert told.code == 2 and why in told.err and told.err.count("\n") == 1


def test_names_are_found_in_a_folder_of_published_records(bench, tmp_path):
    boards = Path(__file__).parents[2] / "leaderboards"
    ground = ("--suite", "whitebox@1", "--data", "mnist", "--eps", "0.3", "--examples", 500)
    words = ("trades", "pgd_at", *ground, "--store", boards, "--out", tmp_path)
    assert bench("plot", "scatter", *words, "--format", "png").code == 0
    rows = pd.read_csv(tmp_path / "scatter.csv")
    assert sorted(rows[rows["kind"] == "this"]["defense"]) == ["pgd_at", "trades"]


def test_the_front_is_who_has_no_superior(make_record):
    """By hand: b loses to a in both, d equals a in clean and is lower."""
    points = {"a": (900, 500), "b": (880, 400), "c": (950, 300), "d": (900, 499)}
    records = [
        dataclasses.replace(
            make_record(run_id=name, defense=name, worst=worst),
            clean=dataclasses.replace(make_record().clean, value=clean / 1000, count=clean),
        )
        for name, (clean, worst) in points.items()
    ]
    assert [record.defense for record in pareto(records)] == ["a", "c"]
    assert in_order_of_robustness(records) == ["a", "d", "b", "c"]


def test_a_suite_without_its_version_is_the_newest_that_there_is(make_record):
    old = [make_record(suite="whitebox@1", data="mnist"), make_record(suite="fast@1", data="mnist")]
    new = make_record(suite="whitebox@2", data="digits")
    asked = Only(suite="whitebox")
    assert asked.among([*old, new]).suite == "whitebox@2"
    assert dataclasses.replace(asked, data="mnist").among([*old, new]).suite == "whitebox@1"
    assert Only(suite="whitebox@1").among([new]).suite == "whitebox@1", "what is typed in full stays"
    assert Only(suite="blackbox").among(old).suite == "blackbox", "and is told as it was typed"


def test_a_defense_is_found_without_the_settings_that_its_data_set_gives_it(genuine, tmp_path):
    record = genuine(defense="trades[preset=mnist]", data="mnist", norm="Linf", eps="0.3")
    path = tmp_path / record.run_id / "record.json"
    path.parent.mkdir()
    path.write_text(to_json(record), encoding="utf-8")
    assert led_to("trades", tmp_path, RUN) == led_to("trades[preset=mnist]", tmp_path, RUN) == [path]
    assert not led_to("trades[preset=none]", tmp_path, RUN)
