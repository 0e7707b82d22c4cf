"""`bench board` and `bench show record`: which board, in which form, into which file; and what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.records.record import Balanced, ByClass, OfClass, Record, to_json

Run = Callable[..., tuple[object, str, str]]

THEIRS = {
    "name": "Fast is better than free",
    "authors": "Wong et al.",
    "dataset": "CIFAR-10",
    "eps": "8/255",
    "clean_acc": 83.34,
    "autoattack_acc": "43.21",
}


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        told = capsys.readouterr()
        return left.value.code, told.out, told.err

    return run


@pytest.fixture
def store(tmp_path: Path, genuine: Callable[..., Record]) -> Path:
    """Three boards: two radii of one data set, and another data set."""
    changes = ({}, {"eps": "4/255", "worst": 600}, {"data": "svhn"}, {"defense": "trades", "worst": 500})
    for change in changes:
        record = genuine(**change)
        folder = tmp_path / "runs" / record.run_id
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(to_json(record))
    return tmp_path / "runs"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    folder = tmp_path / "model_info" / "cifar10" / "Linf"
    folder.mkdir(parents=True)
    (folder / "Wong2020Fast.json").write_text(json.dumps(THEIRS))
    (folder / "Elsewhere.json").write_text(json.dumps(THEIRS | {"eps": "1/255"}))
    return tmp_path / "model_info"


def test_one_board_of_several(bench: Run, store: Path) -> None:
    titles = [line for line in bench("board", "--store", store)[1].splitlines() if "examples" in line]
    assert len([title for title in titles if title.endswith("1,000 examples")]) == 3
    chosen = bench("board", "--store", store, "--data", "cifar10", "--eps", "0.03137254901960784")
    assert chosen[0] == 2, "8/255 is no decimal"
    out = bench("board", "--store", store, "--data", "cifar10", "--eps", "16/510")[1]
    assert out.startswith("cifar10, Linf 8/255") and "svhn" not in out and "4/255" not in out


def test_csv_into_a_file_has_one_header(bench: Run, store: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "board.csv"
    words = ("--data", "cifar10", "--eps", "8/255", "--format", "csv", "--out", path)
    code, out, err = bench("board", "--store", store, *words)
    assert (code, out, err) == (0, "", f"wrote {path}\n")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["defense"] for row in rows] == ["trades", "pgd_at"]


def test_what_others_published_is_told_where_it_fits_nowhere(
    bench: Run, store: Path, published: Path, tmp_path: Path
) -> None:
    words = ("board", "--store", store, "--published", published)
    code, out, err = bench(*words, "--json")
    assert code == 0
    assert err == "1 of 2 published rows share data, norm and eps with no board here: Elsewhere\n"
    rows = {(b["data"], b["eps"]): [r["defense"] for r in b["rows"]] for b in json.loads(out)}
    assert rows[("cifar10", "8/255")] == ["trades", "pgd_at", "Wong2020Fast"]
    assert rows[("svhn", "8/255")] == ["pgd_at"] and rows[("cifar10", "4/255")] == ["pgd_at"]
    assert r"\textit{Wong2020Fast}" in bench(*words, "--format", "latex")[1]
    bench(*words, "--write", tmp_path / "boards")
    assert "*Wong2020Fast (published)*" in (tmp_path / "boards" / "cifar10-linf-8_255.md").read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--format", "csv"], "3 boards, expected one for CSV"),
        (
            ["--data", "cifar"],
            "no record is of 'cifar', expected one of cifar10 Linf 4/255, cifar10 Linf 8/255",
        ),
        (["--eps", "small"], "eps is 'small', expected a number"),
        (["--format", "tex"], "'tex' is not one of 'table', 'markdown', 'csv', 'latex'"),
        (["--out", "."], "is a directory"),
        (["--published", "nowhere"], "does not exist"),
        (["--verify", "."], "'.' holds no record, expected published boards"),
        (["--rebuild", "."], "'.' holds no record, expected published boards"),
        (["--write", "file"], "'file' cannot be written to (not a directory)"),
        (["no_text"], "no_text cannot be read (it is not text in UTF-8)"),
        (["no_radius"], "no_radius is not a valid record at eps: eps is 'wide', expected a number"),
        (["--rebuild", ".", "--json"], "--rebuild FOLDER takes its own records"),
        (["--verify", ".", "--data", "svhn"], "--verify FOLDER takes its own records"),
        (["--rebuild", ".", "--verify", "."], "exclude each other"),
    ],
)
def test_mistakes_are_one_sentence(
    bench: Run,
    store: Path,
    words: list[str],
    told: str,
    tmp_path: Path,
    genuine: Callable[..., Record],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    (here / "file").write_text("")
    (here / "no_text").write_bytes(b"\xff\xfe")
    (here / "no_radius").write_text(to_json(genuine()).replace("8/255", "wide"))
    code, out, err = bench("board", "--store", store, *words)
    assert code == 2 and told in err and out == "" and err.count("\n") == 1


def test_a_run_in_every_form(bench: Run, store: Path, genuine: Callable[..., Record]) -> None:
    run_id = genuine(defense="trades", worst=500).run_id
    words = ("show", "record", run_id, "--store", store)
    assert bench(*words)[1].startswith("trades under whitebox@1\n")
    assert bench(*words, "--format", "markdown")[1].startswith(f"<!-- from record {run_id} -->")
    assert len(list(csv.DictReader(bench(*words, "--format", "csv")[1].splitlines()))) == 4
    narrow, wide = (bench(*words, "--format", "latex", *more)[1] for more in ((), ("--wide",)))
    assert r"worst case & all of them & 50.0" in narrow and "forwards" not in narrow
    assert r"\begin{table*}" in wide and "forwards" in wide
    assert json.loads(bench(*words, "--json")[1])["defense"] == "trades"
    code, _, err = bench("show", "record", store, "--json")
    assert code == 2 and "leads to 4 records, expected one for JSON" in err


def test_a_published_run_is_found_by_the_beginning_of_its_id(
    bench: Run, tmp_path: Path, alike: tuple[Record, Record]
) -> None:
    (tmp_path / "records").mkdir()
    one, other = (record.run_id for record in alike)
    for record in alike:
        (tmp_path / "records" / f"{record.run_id}.json").write_text(to_json(record))
    code, out, _ = bench("show", "record", one[:8], "--store", tmp_path, "--json")
    assert code == 0 and json.loads(out)["run_id"] == one
    code, _, err = bench("show", "record", one[:1], "--store", tmp_path)
    assert code == 2 and f"the beginning of several runs ({one}, {other})" in err


def test_a_record_by_class_or_why_not(bench: Run, tmp_path: Path, genuine: Callable[..., Record]) -> None:
    classes = (OfClass("cat", 900, 800, 451), OfClass("dog", 100, 0, 0))
    mean = (Balanced(0.444444, 0.39397, 0.496092), Balanced(0.250556, 0.208585, 0.297793))
    counted, older = genuine(by_class=ByClass(classes, *mean)), genuine(seed=1, by_class=None)
    for record in (counted, older):
        (tmp_path / record.run_id).mkdir()
        (tmp_path / record.run_id / "record.json").write_text(to_json(record))
    words = ("show", "record", "--store", tmp_path, "--classes")
    code, out, _ = bench(*words, counted.run_id, "--format", "csv")
    assert code == 0 and out.splitlines()[1].split(",")[6:9] == ["cat", "900", "0.888889"]
    code, _, err = bench(*words, older.run_id)
    assert code == 2 and "before classes were counted" in err and "bench run that made it" in err
    code, _, err = bench(*words, counted.run_id, "--wide")
    assert code == 2 and "--wide" in err
