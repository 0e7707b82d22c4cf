"""RobustBench's form: their keys exactly, strings as theirs are, and their files read whatever they hold."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction
from pathlib import Path

import pytest

from bench.errors import BadData, BadValue
from bench.publish import read_records
from bench.records.record import Finding, Interval, Record
from bench.report.exchange import KEYS, SUPERSET, export, published
from bench.report.setting import Setting

BOARDS = Path(__file__).parents[3] / "leaderboards"

THEIRS = {  # a file of their model_info, as it stands there
    "link": "https://arxiv.org/abs/2001.03994",
    "name": "Fast is better than free: Revisiting adversarial training",
    "authors": "Eric Wong, Leslie Rice, J. Zico Kolter",
    "additional_data": False,
    "number_forward_passes": 1,
    "dataset": "cifar10",
    "venue": "ICLR 2020",
    "architecture": "PreActResNet-18",
    "eps": "8/255",
    "clean_acc": "83.34",
    "reported": "46.06",
    "autoattack_acc": "43.21",
    "unreliable": False,
}


@pytest.fixture(scope="module")
def trades() -> list[Record]:
    return [r for r in read_records(BOARDS) if r.defense == "trades" and r.data == "mnist"]


def as_autoattack(record: Record, value: float) -> Record:
    worst = Interval(value, value - 0.03, value + 0.03, round(500 * value), 500)
    return dataclasses.replace(record, suite="autoattack@1", run_id="aaaaaaaaaaaa", worst_case=worst)


def test_the_file_has_their_keys_and_types_and_our_numbers(trades):
    reference = as_autoattack(trades[0], 0.824)
    files = export([reference, *trades])
    (name, text), (beside, whole) = sorted(files.items(), key=lambda item: item[0].endswith(SUPERSET))
    info = json.loads(text)
    assert name.startswith("mnist/Linf/Zhang2019") and beside == name.replace(".json", f".{SUPERSET}")
    assert set(info) <= set(KEYS) and set(THEIRS) - {"link"} <= set(info)
    for key, value in info.items():
        kind = type(THEIRS[key]) if key in THEIRS else str
        assert type(value) is kind, key
    assert info["clean_acc"] == "95.00" and info["autoattack_acc"] == "82.40" and info["eps"] == "0.3"
    assert info["external"] == "82.00"  # Square of blackbox@1 went lower
    assert info["link"] == "https://arxiv.org/abs/1901.08573" and info["reported"] == "95.60"
    assert "reported: PGD-1000 on small CNN" in info["footnote"]
    assert "black-box" not in info["autoattack_acc"] and "aaaaaaaaaaaa" in info["footnote"]
    assert [held["run_id"] for held in json.loads(whole)] == sorted(r.run_id for r in [reference, *trades])


def test_findings_that_make_autoattack_doubtful_are_told_in_their_words(trades):
    finding = Finding("zero-gradients", "warn", "x")
    doubtful = dataclasses.replace(as_autoattack(trades[0], 0.5), findings=(finding,))
    info = json.loads(next(iter(export([doubtful]).values())))
    assert (
        info["unreliable"] is True and "flags: zero-gradients" in info["footnote"] and "external" not in info
    )


def test_the_same_weights_on_fewer_examples_have_a_name_of_their_own(trades):
    whole = as_autoattack(trades[0], 0.824)
    fewer = dataclasses.replace(whole, run_id="bbbbbbbbbbbb", examples=200)
    names = [Path(name).name for name in export([fewer, whole]) if not name.endswith(SUPERSET)]
    assert len(names) == 2 and names[1] == names[0].replace(".json", "_n200.json")


def test_without_autoattack_it_says_what_to_run(trades):
    with pytest.raises(BadValue, match=r"no record is a complete run of autoattack@1.*--suite autoattack"):
        export(trades)


@pytest.mark.parametrize("as_text", [True, False])
def test_their_files_are_read_with_strings_and_with_numbers(tmp_path, as_text):
    numbers = {"clean_acc": 83.34, "autoattack_acc": 43.21, "eps": 0.031}
    held = THEIRS | ({"external": "41.00"} if as_text else numbers)
    folder = tmp_path / "cifar10" / "Linf"
    folder.mkdir(parents=True)
    (folder / "Wong2020Fast.json").write_text(json.dumps(held), encoding="utf-8")
    (row,) = published(tmp_path)
    assert (row.id, row.clean, row.autoattack, row.data) == ("Wong2020Fast", 83.34, 43.21, "cifar10")
    assert row.robust == (41.0 if as_text else 43.21) and row.eps == ("8/255" if as_text else "31/1000")
    assert row.norm == "Linf"
    assert row.fits(Setting("CIFAR-10", "Linf", Fraction(row.eps), 500))
    assert not row.fits(Setting("cifar100", "Linf", Fraction(row.eps), 500))
    assert not row.fits(Setting("cifar10", "L2", Fraction(row.eps), 500))
    assert not row.fits(Setting("cifar10", "Linf", Fraction(1, 2), 500))


def test_what_we_write_we_read(trades, tmp_path):
    for name, text in export([as_autoattack(trades[0], 0.824), *trades]).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (row,) = published(tmp_path)
    assert (row.clean, row.autoattack, row.robust) == (95.0, 82.4, 82.0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "cannot be read"),
        ("[]", "no name and clean_acc"),
        (json.dumps(dict(THEIRS, clean_acc="high")), "clean_acc is 'high', expected percent"),
        (json.dumps(dict(THEIRS, autoattack_acc=512)), "autoattack_acc is 512"),
        (json.dumps(dict(THEIRS, eps="eight")), "eps is 'eight', expected a radius"),
        (json.dumps(dict(THEIRS, eps="8/0")), "eps is '8/0', expected a radius"),
    ],
)
def test_what_is_not_theirs_is_one_sentence(tmp_path, text, told):
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(BadData, match=told):
        published(tmp_path)


def test_an_empty_folder_is_one_sentence(tmp_path):
    with pytest.raises(BadData, match="holds no JSON file"):
        published(tmp_path)
