"""`bench list runs --all`: what is not complete, and a command that goes on with it when it is typed."""

from __future__ import annotations

import json
import shlex

import pytest

from bench.records.record import to_json


def told(bench, store):
    """The entries of `bench list runs --all` by their name."""
    found = bench("list", "runs", "--all", "--json", "--store", store)
    assert found.code == 0, found.err
    return {entry["name"]: entry for entry in json.loads(found.out)}


@pytest.fixture
def words(linear, linear_data, tmp_path):
    """A run that takes a moment."""
    return (
        *("run", "--defense", linear, "--suite", "smoke", "--data", linear_data, "--norm", "Linf"),
        *("--eps", "1/10", "--examples", "30", "--seed", "3", "--set", "attack.pgd_10.steps=3"),
        *("--store", tmp_path / "runs with a blank"),
    )


def test_a_run_that_was_stopped_is_listed_and_goes_on_as_printed(bench, words, tmp_path, monkeypatch):
    store = tmp_path / "runs with a blank"
    with monkeypatch.context() as patch:
        patch.setattr("bench.records.store.RunFolder.finish", stop)
        assert bench(*words).code == 130
    (folder,) = (path.parent for path in store.glob("*/spec.json"))
    entry = told(bench, store)[folder.name]
    assert entry["kind"] == "incomplete runs" and "under smoke@1 on npz:" in entry["summary"]
    again = shlex.split(entry["command"])
    assert again[:2] == ["bench", "run"] and bench(*again[1:]).code == 0
    assert (folder / "record.json").is_file(), "the same run, by the same id"
    assert folder.name not in {n for n, held in told(bench, store).items() if held["kind"] != "runs"}


def stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_without_a_note_the_spec_says_what_was_asked(bench, tmp_path):
    store = tmp_path / "runs"
    words = ("run", "--defense", "standard", "--suite", "smoke", "--data", "digits", "--seed", "2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.records.store.RunFolder.finish", stop)
        patch.setattr("bench.records.begun.note_begun", lambda *_: None)
        assert bench(*words, "--store", store).code == 130
    ((name, entry),) = told(bench, store).items()
    again = shlex.split(entry["command"])
    assert bench(*again[1:]).code == 0 and (store / name / "record.json").is_file()


def test_failed_and_damaged_runs_are_told_with_their_reason(bench, genuine, tmp_path):
    broken, failed = genuine(), genuine(seed=1)
    for record in (broken, failed):
        (tmp_path / record.run_id / "cells" / "pgd_20").mkdir(parents=True)
        content = json.dumps({"spec": {**record.spec}, "sources": {}})
        (tmp_path / record.run_id / "spec.json").write_text(content)
    (tmp_path / broken.run_id / "record.json").write_text(to_json(broken)[:-99])
    note = tmp_path / failed.run_id / "cells" / "pgd_20" / "0000.error"
    note.write_text("ValueError: out of\x1b[2J memory\n")
    found = told(bench, tmp_path)
    assert found[broken.run_id]["kind"] == "damaged runs" and found[failed.run_id]["kind"] == "failed runs"
    assert "cannot be read (it is not JSON" in found[broken.run_id]["summary"]
    assert found[broken.run_id]["command"].endswith(" --rerun")
    assert "pgd_20 failed (ValueError: out of [2J memory)" in found[failed.run_id]["summary"]
    plain = bench("list", "runs", "--all", "--store", tmp_path)
    assert plain.out.startswith("incomplete runs:") or "damaged runs:" in plain.out
    assert f"left out: {tmp_path / broken.run_id / 'record.json'}" in plain.err
    assert "1 result that cannot be read was left out" in plain.err


def test_a_hostile_note_or_spec_is_one_quoted_line(bench, genuine, tmp_path):
    record = genuine(defense="x; touch PWNED\n$(touch PWNED)")
    (tmp_path / record.run_id).mkdir()
    (tmp_path / record.run_id / "spec.json").write_text(json.dumps({"spec": record.spec}))
    command = told(bench, tmp_path)[record.run_id]["command"]
    assert command.isprintable() and shlex.join(shlex.split(command)) == command
    (tmp_path / "begun").mkdir()
    for note in (["run", ";rm -rf ~\nls"], {"a": 1}, "x", [["run"]], None):
        (tmp_path / "begun" / f"{record.run_id}.json").write_text(json.dumps(note))
        command = told(bench, tmp_path)[record.run_id]["command"]
        assert command.isprintable() and shlex.join(shlex.split(command)) == command
