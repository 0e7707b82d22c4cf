"""Every study keeps what it computed, refuses what other code made, goes on, and tells mistakes."""

from __future__ import annotations

import json

import click
import pytest

from bench.cli.main import bench as group
from bench.errors import BadData
from bench.records import documents
from bench.records.seal import seal
from bench.studies.table import NAMES, study

CHUNKS = ["--set", "suite.chunk=10"]
SMALLEST = {
    "curve": ["--over", "eps", "--at", "1/40,1/20", "--attack", "noise", *CHUNKS],
    "shift": ["--only", "contrast", *CHUNKS],
    "transfer": ["--attack", "noise", *CHUNKS],
    "detect": ["--detector", "max_softmax", "--attack", "noise", *CHUNKS],
    "certify": ["--at", "1/40", "--attack", "fgsm", *CHUNKS],
    "diagnose": [],  # one chunk holds everything that it shows
}
"""The cheapest thing that each can be asked for."""


def test_each_is_asked_for_something_here():
    assert set(SMALLEST) == set(NAMES)


@pytest.fixture(params=NAMES)
def asked(request, linear, linear_data, tmp_path):
    """The words of a study on a linear network: name, networks, options."""
    networks = [linear, f"{linear}[weights_seed=1]"] if request.param == "transfer" else [linear]
    given = ["--data", linear_data, "--examples", "30", "--store", tmp_path / "runs"]
    return [request.param, *networks, *SMALLEST[request.param], *given]


def test_it_is_computed_once_and_refused_once_its_code_is_another(bench, asked, tmp_path):
    told = bench(*asked, "--json")
    assert told.code == 0, told.err
    (held,) = json.loads(told.out)
    row = study(asked[0])
    path = row.where(tmp_path / "runs", held["id"])
    assert documents.to_json(row.read(path)) == path.read_text(encoding="utf-8"), "it reads what it wrote"
    assert held["examples"] == 30 and held["networks"][0]["clean"]["n"] == 30
    elsewhere = path.parent.with_name("0123456789ab") / path.name
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(path.read_bytes())
    with pytest.raises(BadData, match=f"holds the result {held['id']}, expected that of 0123456789ab"):
        row.read(elsewhere)
    again = bench(*asked, "--json")
    assert (again.code, again.out) == (0, told.out) and "nothing was computed" in again.err
    text = path.read_text(encoding="utf-8")
    judge = '"bench.evaluate.referee": "'
    assert judge in text
    path.write_text(seal(text.replace(judge, f"{judge}0")), encoding="utf-8")
    refused = bench(*asked)
    assert refused.code == 2 and "bench.evaluate.referee changed since" in refused.err
    assert "--rerun" in refused.err and "--accept-stale" in refused.err
    assert bench(*asked, "--accept-stale").code == 0
    path.write_text(text.replace('"examples": 30', '"examples": "many"'), encoding="utf-8")
    damaged = bench(*asked, "--accept-stale")
    assert damaged.code == 2 and "examples" in damaged.err and row.again in damaged.err


@pytest.mark.slow
def test_it_goes_on_after_a_stop_and_workers_give_the_same(bench, asked, tmp_path, monkeypatch):
    measure = study(asked[0]).module("measure").Measure
    played, play = [], measure.play

    def stopped(self, task):
        if len(played) == 1:
            raise KeyboardInterrupt
        played.append(task)
        return play(self, task)

    with monkeypatch.context() as patched:
        patched.setattr(measure, "play", stopped)
        told = bench(*asked)
    row = study(asked[0])
    single = told.code == 0  # one cell is all that it has
    assert told.code in (0, 130)
    assert single or not list((tmp_path / "runs" / row.folder).rglob(row.file))
    resumed = bench(*asked, "--workers", "2", "--json")
    assert resumed.code == 0, resumed.err
    whole = [*asked[:-1], tmp_path / "whole"]
    fresh = bench(*whole, "--json")
    assert _comparable(resumed.out) == _comparable(fresh.out)
    cells = [sorted(p.name for p in (tmp_path / s).rglob("cells/*/*.npz")) for s in ("runs", "whole")]
    assert cells[0] == cells[1]


def test_it_takes_what_all_take(asked):
    command = group.get_command(click.Context(group), asked[0])
    options = {parameter.name for parameter in command.params}
    shared = {
        "names",
        "examples",
        "checkpoint",
        "factory",
        "batch_size",
        "compiled",
        "workers",
        "init",
        "seed",
    }
    shared |= {"store", "settings", "device", "rerun", "accept_stale", "out", "as_json", "data", "recipe"}
    assert shared <= options
    assert {"norm", "eps"} <= options or not study(asked[0]).budgeted


def test_mistakes_are_one_sentence(bench, asked, tmp_path):
    name, *rest = asked
    for words in (["pgdat", *rest], [*rest, "--examples", "none"], [*rest, "--set", "defense.nothing=1"]):
        refused = bench(name, *words)
        assert refused.code == 2 and refused.out == "" and "Traceback" not in refused.err
    refused = bench(name, "--defense", "pgd_at")
    assert refused.code == 2 and f"bench {name} pgd_at" in refused.err
    blocked = tmp_path / "file"
    blocked.write_text("")
    refused = bench(*asked, "--out", blocked / "below")
    assert refused.code == 2 and "cannot be written to" in refused.err
    assert not (tmp_path / "runs").exists(), "known before anything is computed"


def test_what_out_says_is_written(bench, asked, tmp_path):
    told = bench(*asked, "--out", tmp_path / "out")
    assert told.code == 0, told.err
    written = [line.removeprefix("wrote ") for line in told.err.splitlines() if line.startswith("wrote ")]
    assert sorted(written) == sorted(str(path) for path in (tmp_path / "out").iterdir())
    assert any(name.endswith(".md") for name in written)


def _comparable(text):
    """Results without when, where and how long."""
    (held,) = json.loads(text)
    drop = {"provenance", "seconds", "proof_seconds", "arrays_sha256", "digest"}
    return _without(held, drop)


def _without(held, drop):
    if isinstance(held, dict):
        return {key: _without(value, drop) for key, value in held.items() if key not in drop}
    return [_without(value, drop) for value in held] if isinstance(held, list) else held
