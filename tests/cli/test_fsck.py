"""`bench fsck`: every file of a store damaged in turn; it is told, repaired, and made anew by the command."""

from __future__ import annotations

import json
import os
import shutil
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bench.cli.main import main
from bench.records.seal import sealed

SMALL = ("--device", "cpu", "--examples", "12", "--eps", "0.2")


@pytest.fixture(scope="module")
def made(linear, linear_data, tmp_path_factory):
    """A store with a run, its weights, a curve and a look inside, and what was typed for each."""
    store = tmp_path_factory.mktemp("fsck") / "runs"
    shared = ("--data", linear_data, *SMALL, "--store", str(store))
    words = {
        "run": ("run", "--defense", linear, *shared, "--attack", "fgsm", "--set", "suite.chunk=6"),
        "curve": ("curve", linear, "--over", "eps", "--at", "0.1,0.2", *shared),
        "diagnose": ("diagnose", linear, *shared),
    }
    for typed in words.values():
        with pytest.raises(SystemExit) as left:
            main(list(typed))
        assert left.value.code == 0
    return store, words


@pytest.fixture
def store(made, tmp_path):
    """A copy of it to damage."""
    return Path(shutil.copytree(made[0], tmp_path / "runs"))


def flip(path):
    """Turn one bit in the middle of what a file holds."""
    data = bytearray(path.read_bytes())
    data[_middle(path, len(data))] ^= 1
    path.write_bytes(bytes(data))


def _middle(path, size):
    """Of archives, of the largest member's data: elsewhere are dates, which nothing follows from."""
    if not zipfile.is_zipfile(path):
        return size // 2
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda member: member.compress_size)
    begins = largest.header_offset + 30 + sum(_lengths(path, largest.header_offset))
    return begins + largest.compress_size // 2


def _lengths(path, offset):
    """Of a local header's name and extra field, after its 26 bytes of fixed fields."""
    return struct.unpack("<HH", path.read_bytes()[offset + 26 : offset + 30])


DAMAGES = {
    "emptied": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "flipped": flip,
}

FILES = {
    "*/spec.json": "run",
    "*/record.json": "run",
    "*/examples.csv": "run",
    "*/adversarial.safetensors": "run",
    "*/cells/fgsm/0000.npz": "run",
    "models/*/spec.json": "run",
    "models/*/training.json": "run",
    "models/*/best.safetensors": "run",
    "models/*/last.safetensors": "run",
    "curves/*/curve.json": "curve",
    "curves/*/cells/*/0000.npz": "curve",
    "diagnostics/*/diagnosis.json": "diagnose",
    "diagnostics/*/arrays.npz": "diagnose",
    "diagnostics/*/cells/*/0000.npz": "diagnose",
}


def again(bench, made, name, store):
    """The command as it was typed, on another store."""
    words = [str(store) if word == str(made[0]) else word for word in made[1][name]]
    return bench(*words)


def test_a_whole_store_is_told_so(bench, made):
    told = bench("fsck", made[0])
    assert (told.code, told.out) == (0, "1 runs, 1 trainings, 2 results of studies: nothing is wrong\n")
    assert json.loads(bench("fsck", made[0], "--json").out) == {
        "runs": 1,
        "trainings": 1,
        "results": 2,
        "unfinished": [],
        "flaws": [],
    }


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("pattern", FILES)
def test_damage_is_told_repaired_and_made_anew(bench, made, store, pattern, how):
    path = sorted(store.glob(pattern))[0]
    DAMAGES[how](path)
    before = {file: file.read_bytes() for file in store.rglob("*") if file.is_file()}

    told = bench("fsck", store)
    assert told.code == 1
    (line,) = [line for line in told.out.splitlines() if line.startswith(f"{path} ")]
    assert f"; try: bench fsck {store} --repair, then " in line
    assert before == {file: file.read_bytes() for file in store.rglob("*") if file.is_file()}, "only looked"

    repaired = bench("fsck", store, "--repair")
    assert repaired.code == 1
    moved = store / "damaged" / path.relative_to(store)
    assert not path.exists()
    assert moved.is_file() == (f"{path} " in repaired.out and "moved to" in repaired.out)
    if "cells" not in path.parts:
        assert moved.read_bytes() == before[path], "records and weights are never removed"
    assert bench("fsck", store).code == 0
    assert again(bench, made, FILES[pattern], store).code == 0, "from a record that stands, or made anew"
    assert bench("fsck", store).code == 0


def test_a_run_whose_spec_is_damaged_keeps_its_cells(bench, made, store):
    """The spec is written anew, and cells state of which spec they are."""
    (spec,) = store.glob("*/spec.json")
    before = {path: path.read_bytes() for path in spec.parent.rglob("*.npz")}
    flip(spec)
    spec.with_name("record.json").unlink()
    told = again(bench, made, "run", store)
    assert told.code == 0 and "computed by other code" not in told.err
    assert {path: path.read_bytes() for path in spec.parent.rglob("*.npz")} == before and before


def test_leftovers_go_once_nobody_can_be_writing_them(bench, store):
    (folder,) = (path.parent for path in store.glob("*/record.json"))
    young, old = folder / ".record.json.abcd1234", folder / "cells" / "fgsm" / ".0000.npz.abcd1234"
    for path in (young, old):
        path.write_bytes(b"half")
    yesterday = time.time() - 86_400
    os.utime(old, (yesterday, yesterday))
    told = bench("fsck", store, "--repair")
    assert told.code == 1
    assert told.out.splitlines()[0].startswith(f"{old} is left over from a process that was killed: removed")
    assert young.exists() and not old.exists()


def test_a_cell_of_another_column_is_told(bench, store):
    (cell,) = store.glob("*/cells/fgsm/0000.npz")
    other = cell.with_name("0001.npz")
    other.write_bytes(cell.read_bytes())
    told = bench("fsck", store)
    assert told.code == 1
    assert f"{other} is of fgsm, chunk 0" in told.out


def test_figures_that_the_examples_contradict_are_told(bench, store):
    """A record whose seal is right, as whoever forges one can make it, is held to its own table."""
    (path,) = store.glob("*/record.json")
    data = json.loads(path.read_text())
    table = path.with_name("examples.csv")
    lines = table.read_text().splitlines()
    labels, attacked = (lines[0].split(",").index(name) for name in ("labels", "attacked"))
    forged = [line.split(",") for line in lines[1:]]
    for cells in forged:
        cells[attacked] = cells[labels]
    table.write_text("\n".join([lines[0], *(",".join(cells) for cells in forged)]) + "\n")
    data["files"] = {}
    path.write_text(sealed({name: value for name, value in data.items() if name != "digest"}))
    told = bench("fsck", store)
    assert told.code == 1
    assert f"{table} makes another record: fgsm has robust " in told.out
    assert "the worst case leaves " in told.out and "by its examples.csv" in told.out


def test_an_unfinished_run_is_no_fault(bench, store):
    (record,) = store.glob("*/record.json")
    record.unlink()
    told = bench("fsck", store)
    assert told.code == 0
    assert told.out.endswith(f"not complete: {record.parent.name} (the same command goes on)\n")


def test_what_is_no_store_is_one_sentence(bench, tmp_path):
    told = bench("fsck", tmp_path / "nowhere")
    assert told.code == 2
    assert told.err == (
        f"bench: '{tmp_path / 'nowhere'}' is no folder, expected a store of runs; try: bench fsck FOLDER\n"
    )


def test_weights_that_no_digest_covers_are_read(bench, store):
    """A training that is still going on has weights, and nothing that says what they must be."""
    (done,) = store.glob("models/*/training.json")
    done.unlink()
    weights = done.with_name("best.safetensors")
    assert bench("fsck", store).code == 0
    weights.write_bytes(np.random.default_rng(0).bytes(100))
    told = bench("fsck", store)
    assert told.code == 1 and f"{weights} is damaged" in told.out


@pytest.mark.parametrize("name", ["", "..", "../../x", ".hidden"])
def test_a_name_that_leads_elsewhere_moves_nothing_but_its_training(bench, store, name):
    (done,) = store.glob("models/*/training.json")
    held = json.loads(done.read_text())
    del held["digest"]
    done.write_text(sealed({**held, "weights": name}))
    told = bench("fsck", store, "--repair")
    assert told.code == 1 and "Traceback" not in told.err
    assert done.parent.is_dir(), "its folder is not the file that is moved"
    assert bench("fsck", store).code == 0


def test_a_training_that_lacks_a_figure_is_one_sentence(bench, made, store):
    (done,) = store.glob("models/*/training.json")
    held = json.loads(done.read_text())
    del held["digest"], held["epoch"]
    done.write_text(sealed(held))
    words = [str(store) if word == str(made[0]) else word for word in made[1]["run"]]
    (record,) = store.glob("*/record.json")
    record.unlink()
    told = bench(*words)
    assert told.code == 2 and "training.json is damaged" in told.err and "Traceback" not in told.err


def test_the_digest_at_the_end_of_a_state_is_looked_at(bench, store):
    from bench.records.seal import with_sum

    (folder,) = store.glob("models/*")
    (folder / "training.json").unlink()
    with (folder / "zip").open("wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data", "state")
    whole = with_sum((folder / "zip").read_bytes())
    (folder / "zip").unlink()
    (folder / "state.ckpt").write_bytes(whole)
    assert "state.ckpt" not in bench("fsck", store).out
    (folder / "state.ckpt").write_bytes(whole[:-1] + b"x")
    assert "state.ckpt is damaged (it was changed after it was written)" in bench("fsck", store).out


def test_controls_in_names_are_not_printed_and_the_store_is_quoted(bench, store, tmp_path):
    blank = shutil.move(store, tmp_path / "my runs")
    (run,) = (path.parent for path in Path(blank).glob("*/record.json"))
    (run / "cells" / "a\x1b]0;evil\x07").mkdir()
    (run / "cells" / "a\x1b]0;evil\x07" / "0000.npz").write_bytes(b"nothing")
    told = bench("fsck", blank)
    assert told.code == 1 and "evil" in told.out and "\x1b" not in told.out and "\x07" not in told.out
    assert f"bench fsck '{blank}' --repair" in told.out
