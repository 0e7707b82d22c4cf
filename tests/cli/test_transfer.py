"""`bench transfer` on linear classifiers: every cell of the matrix has a closed form."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
SEEDS = (0, 1, 2)

KILLED = """
import os, pathlib, signal, sys
import bench.studies.transfer.measure
from bench.cli.main import main

rename, done = pathlib.Path.replace, 0
def replace(self, target):
    global done
    done += str(target).endswith(".npz")
    if done > 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
pathlib.Path.replace = replace
main(sys.argv[1:])
"""


def drawn(seed):
    """The weights [2, 16] and biases [2] that the linear defense draws."""
    generator = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn(2, 16, generator=generator) / 4, torch.randn(2, generator=generator) / 4
    return weight.double().numpy(), bias.double().numpy()


def closed_form(arrays, eps):
    """[source][target] -> test images that the target still classifies right at the source's worst corner."""
    x, y = arrays["x_test"].reshape(120, -1).astype(float), arrays["y_test"]
    matrix = []
    for source in SEEDS:
        own = drawn(source)[0]
        corner = np.clip(x - eps * np.sign(own[y] - own[1 - y]), 0, 1)
        row = []
        for target in SEEDS:
            weight, bias = drawn(target)
            right = (x @ weight.T + bias).argmax(1) == y
            row.append(int((right & ((corner @ weight.T + bias).argmax(1) == y)).sum()))
        matrix.append(row)
    return matrix


@pytest.fixture
def words(linear, linear_data, tmp_path):
    """Three classifiers, of which the first knows every label, in chunks of 50 images."""
    names = [linear, *(f"{linear}[weights_seed={seed}]" for seed in SEEDS[1:])]
    given = ["--data", linear_data, "--examples", "all", "--eps", "1/20", "--set", "suite.chunk=50"]
    return ["transfer", *names, *given, "--store", str(tmp_path / "runs")]


def read(told):
    """The one matrix of a request."""
    assert told.code == 0, told.err
    (matrix,) = json.loads(told.out)
    return matrix


def counts(told):
    return [[cell["count"] for cell in row] for row in read(told)["robust"]]


def test_every_cell_is_its_closed_form(bench, words, arrays):
    told = bench(*words, "--json")
    found = closed_form(arrays, 0.05)
    assert counts(told) == found
    assert len({count for row in found for count in row}) > 4, "cells that differ"
    matrix = read(told)
    assert {cell["n"] for row in matrix["robust"] for cell in row} == {120}, "over all examples"
    x, y = arrays["x_test"].reshape(120, -1).astype(float), arrays["y_test"]
    right = [int(((x @ drawn(seed)[0].T + drawn(seed)[1]).argmax(1) == y).sum()) for seed in SEEDS]
    assert [network["clean"]["count"] for network in matrix["networks"]] == right


def test_the_table_and_the_files_tell_the_same(bench, words, arrays, tmp_path, linear):
    told = bench(*words, "--out", tmp_path / "out")
    assert told.code == 0 and sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "transfer.caption.txt",
        "transfer.csv",
        "transfer.md",
        "transfer.pdf",
        "transfer.png",
    ]
    found, names = closed_form(arrays, 0.05), [Path(linear).name + tail for tail in LABELS]
    shown = [f"{100 * count / 120:.1f}" for count in found[1]]
    (row,) = [line for line in told.out.splitlines() if line.startswith("linear_defense.py:Linear [w")][:1]
    assert [shown[0], f"{shown[1]}*", shown[2]] == row.split()[2:], "the diagonal is marked"
    with (tmp_path / "out" / "transfer.csv").open(newline="") as file:
        rows = {(row["source"], row["target"]): row for row in csv.DictReader(file)}
    assert len(rows) == 9
    for source, made in enumerate(names):
        for target, given in enumerate(names):
            row = rows[f"{made}@{ARCH}", f"{given}@{ARCH}"]
            assert int(row["robust"]) == found[source][target] and row["n"] == "120"
            assert row["relation"] == ("white-box" if source == target else "transfer")
    assert f"| {shown[0]} | {shown[1]}\\* | {shown[2]} |" in (tmp_path / "out" / "transfer.md").read_text()
    assert (tmp_path / "out" / "transfer.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "out" / "transfer.pdf").read_bytes()[:4] == b"%PDF"


LABELS, ARCH = ("", "[weights_seed=1]", "[weights_seed=2]"), "small_cnn"


def test_images_are_made_once_and_shown_to_newcomers(bench, words, monkeypatch, arrays):
    import bench.studies.transfer.measure as runner

    made, make = [], runner.adversarial_images
    monkeypatch.setattr(runner, "adversarial_images", lambda *given: made.append(1) or make(*given))
    two = [word for word in words if "=2]" not in word]
    smaller = bench(*two, "--json")
    assert len(made) == 2 * 3, "120 images in chunks of 50, on two networks"
    larger = bench(*words, "--json")
    assert len(made) == 3 * 3
    found = closed_form(arrays, 0.05)
    assert counts(smaller) == [row[:2] for row in found[:2]] and counts(larger) == found
    again = bench(*words, "--json")
    assert len(made) == 9 and "nothing was computed" in again.err and again.out == larger.out
    assert counts(bench(*words, "--json", "--rerun")) == found and len(made) == 18


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no SIGKILL")
def test_killed_it_goes_on_where_it_stopped(bench, words, environment, arrays, tmp_path):
    run = {"env": {**environment, "PYTHONPATH": str(ROOT)}, "capture_output": True, "check": False}
    done = subprocess.run([sys.executable, "-c", KILLED, *words], **run)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list((tmp_path / "runs" / "transfer").rglob("*.npz"))) == 4
    assert not list((tmp_path / "runs").rglob("matrix.json"))
    told = bench(*words, "--json")
    assert counts(told) == closed_form(arrays, 0.05)


def test_damaged_images_are_made_again_and_those_of_others_are_refused(bench, words, arrays, tmp_path):
    assert bench(*words).code == 0
    (matrix,) = (tmp_path / "runs" / "transfer").glob("*/matrix.json")
    matrix.unlink()
    damaged, swapped, *_ = sorted((tmp_path / "runs" / "transfer").rglob("*.npz"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert counts(bench(*words, "--json")) == closed_form(arrays, 0.05)
    whole = dict(np.load(swapped))
    swapped.write_bytes(damaged.read_bytes())
    matrix.unlink()
    told = bench(*words, "--json")
    assert counts(told) == closed_form(arrays, 0.05) and ", chunk 0, of " in told.err
    np.savez(swapped, **{**whole, "ids": np.arange(50)})  # they say that they are of chunk 1
    matrix.unlink()
    told = bench(*words, "--json")
    assert told.code == 2 and "are of other examples than those of chunk 1" in told.err
    assert counts(bench(*words, "--json", "--rerun")) == closed_form(arrays, 0.05)


def test_who_has_the_sources_weights_is_white_box(bench, linear, linear_data, tmp_path):
    """The same training twice, and another one that ends in the same weights."""
    given = ["--data", linear_data, "--examples", "40", "--eps", "1/20", "--store", tmp_path / "runs"]
    told = bench("transfer", linear, linear, f"{linear}@lenet", f"{linear}[weights_seed=1]", *given)
    assert told.code == 0, told.err
    cells = [re.findall(r" \d+\.\d(\*?)(?!\S)", line) for line in told.out.splitlines()]
    matrix = [row for row in cells if len(row) == 4][1:]  # the first are the clean accuracies
    assert matrix == [["*", "*", "*", ""]] * 3 + [["", "", "", "*"]]


def test_other_attacks_by_name(bench, words, arrays):
    told = bench(*words, "--attack", "fgsm", "--json")
    assert counts(told) == closed_form(arrays, 0.05), "one step suffices against a linear classifier"
    assert read(told)["attack"].startswith("FGSM(")
    told = bench(*words, "--attack", "pgd", "--set", "attack.pgd.steps=30", "--json")
    assert counts(told) == closed_form(arrays, 0.05) and "steps=30" in read(told)["attack"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("standard", ["'standard' is one network", "at least two"]),
        ("standard pgdat", ["'pgdat'", "did you mean 'pgd_at'?"]),
        ("standard pgd_at@lenett", ["'lenett'", "did you mean 'lenet'?"]),
        ("standard pgd_at --attack pgdd", ["'pgdd'", "did you mean 'pgd'?"]),
        ("standard pgd_at --set attack.pgd.steps=5", ["no column 'pgd'", "'pgd_100'"]),
        ("standard pgd_at --set attack.pgd_100.steps=0", ["at least 1"]),
        ("standard pgd_at --set defense.steps=5", ["defense.steps", "standard[steps=5]"]),
        ("standard pgd_at --examples 0", ["--examples is '0'"]),
        (
            "standard pgd_at --attack pgd --set attack.pgd.loss=adaptive",
            ["failed on standard"],
        ),
    ],
)
def test_a_bad_word_is_one_sentence(bench, tmp_path, words, told):
    given = ["--data", "synthetic", "--set", "recipe.epochs=1", "--store", tmp_path / "runs"]
    refused = bench("transfer", *words.split(" "), *given)
    assert refused.code == 2 and refused.out == "" and "Traceback" not in refused.err
    for word in told:
        assert word in refused.err.splitlines()[-1]


FACTORY = """
import torch

class Linear(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.last = torch.nn.Linear(16, 2)

    def forward(self, x):
        return self.last(x.flatten(1))
"""


def test_a_network_of_ones_own_is_in_the_matrix(bench, words, arrays, tmp_path, linear):
    """It has the weights of the second classifier: their rows and columns are equal, and white-box."""
    weight, bias = map(torch.from_numpy, drawn(1))
    torch.save({"last.weight": weight.float(), "last.bias": bias.float()}, tmp_path / "own.pt")
    (tmp_path / "factory_for_matrix.py").write_text(FACTORY)
    own = ("--checkpoint", tmp_path / "own.pt", "--factory", f"{tmp_path / 'factory_for_matrix.py'}:Linear")
    given = words[words.index("--data") :]
    matrix = read(bench("transfer", linear, f"{linear}[weights_seed=1]", "loaded", *own, *given, "--json"))
    known = closed_form(arrays, 0.05)
    kept = (0, 1, 1)
    counted = [[cell["count"] for cell in row] for row in matrix["robust"]]
    assert counted == [[known[source][target] for target in kept] for source in kept]
    assert matrix["networks"][2]["architecture"] == "factory_for_matrix:Linear"
    refused = bench("transfer", linear, f"{linear}[weights_seed=1]", *own, *given)
    assert refused.code == 2 and "is trained here" in refused.err
