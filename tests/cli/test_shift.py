"""`bench shift` on a linear classifier: what it answers to each corrupted image is computed here, too."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.core.seeds import seed_for
from bench.data.catalog import source
from bench.data.splits import permutation
from bench.studies.shift.corruptions import corruption


@pytest.fixture
def words(linear, linear_data, tmp_path):
    given = ["--data", linear_data, "--examples", "all", "--set", "suite.chunk=50"]
    return ["shift", linear, *given, "--store", tmp_path / "runs"]


def read(told):
    assert told.code == 0, told.err
    return json.loads(told.out)


def right(arrays, linear_data, name, severity, seed=0, weights=0):
    """How many corrupted test images the linear classifier still knows."""
    generator = torch.Generator().manual_seed(weights)
    weight, bias = torch.randn(2, 16, generator=generator) / 4, torch.randn(2, generator=generator) / 4
    order = permutation(seed_for("examples", source(linear_data).name), 120)
    x = torch.from_numpy(arrays["x_test"])[order]
    out = corruption(name)(x, severity, seed, order.tolist()).flatten(1)
    y = torch.from_numpy(arrays["y_test"])[order]
    return int(((out @ weight.T + bias).argmax(1) == y).sum())


def test_every_figure_is_that_of_the_corrupted_images(bench, words, arrays, linear_data):
    """Of a classifier that is wrong about half the time, so that corruptions move its answers both ways."""
    words[1] += "[weights_seed=1]"
    only = [word for name in ("fog", "shot_noise", "elastic") for word in ("--only", name)]
    (shift,) = read(bench(*words, *only, "--json"))
    found = {(held["name"], held["severity"]): held for held in shift["corrupted"]}
    assert list(found) == [(n, s) for n in ("shot_noise", "fog", "elastic") for s in range(1, 6)]
    for (name, severity), held in found.items():
        assert held["accuracy"]["count"] == right(arrays, linear_data, name, severity, weights=1)
        assert held["accuracy"]["n"] == 120 and held["refused"] == 0
    counts = [held["accuracy"]["count"] for held in found.values()]
    assert len(set(counts)) > 5 and shift["mean"]["value"] == pytest.approx(np.mean(counts) / 120, abs=1e-6)
    assert shift["mean"]["low"] < shift["mean"]["value"] < shift["mean"]["high"]
    assert shift["posed"] is None
    (other,) = read(bench(*words, "--only", "shot_noise", "--seed", "1", "--json"))
    assert other["corrupted"][4]["accuracy"]["count"] == right(arrays, linear_data, "shot_noise", 5, 1, 1)


def test_poses(bench, words):
    (shift,) = read(bench(*words, "--only", "poses", "--json"))
    posed = shift["posed"]
    assert posed["poses"] == 775 and posed["pixels"] == 1 and posed["draws"] == 10 and shift["mean"] is None
    assert posed["worst"]["count"] <= posed["worst_of_draws"]["count"] <= 120
    assert posed["worst"]["value"] <= posed["random"]["value"] < 1 and 0 <= posed["shown"] <= 775
    assert posed["random"]["value"] >= posed["worst_of_draws"]["value"]


def test_the_table_and_the_files_tell_the_same(bench, words, linear, tmp_path, arrays, linear_data):
    out = tmp_path / "out"
    told = bench(*words, f"{linear}[weights_seed=1]", "--only", "fog", "--only", "saturate", "--out", out)
    assert told.code == 0, told.err
    endings = ["caption.txt", "csv", "md", "pdf", "png"]
    assert sorted(path.name for path in out.iterdir()) == [f"shift.{end}" for end in endings]
    known = [right(arrays, linear_data, "fog", severity) for severity in range(1, 6)]
    assert f"fog                        {100 * sum(known) / 600:.1f} ".split() == next(
        line.split()[:2] for line in told.out.splitlines() if line.startswith("fog")
    )
    assert "left out, as not defined for such images: saturate" in told.out and "not CIFAR-10-C" in told.out
    with (out / "shift.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["name"] == "fog" and "[" not in row["defense"]]
    assert [int(row["right"]) for row in rows] == known
    poses = bench(*words, "--only", "poses", "--out", tmp_path / "few")
    assert poses.code == 0 and "worst of 775 poses" in poses.out
    assert sorted(path.name for path in (tmp_path / "few").iterdir()) == ["shift.csv", "shift.md"]


def test_cells_are_kept_and_shared(bench, words, tmp_path, monkeypatch):
    from bench.studies.shift.measure import CLEAN, Measure

    judged, cell = [], Measure.cell

    def counted(self, task):
        judged.extend([task.column] * (task.column != CLEAN))
        return cell(self, task)

    def killed(self, task):
        if len(judged) == 7:
            raise KeyboardInterrupt
        return counted(self, task)

    monkeypatch.setattr(Measure, "cell", killed)
    stopped = bench(*words, "--only", "contrast", "--json")
    assert stopped.code == 130 and not list((tmp_path / "runs").rglob("shift.json"))
    monkeypatch.setattr(Measure, "cell", counted)
    whole = bench(*words, "--only", "contrast", "--json")
    assert len(judged) == 15, "five severities of three chunks"
    again = bench(*words, "--only", "contrast", "--json")
    assert "nothing was computed" in again.err and read(again) == read(whole)
    assert bench(*words, "--only", "contrast", "--only", "brightness").code == 0 and len(judged) == 30
    assert bench(*words, "--only", "contrast", "--rerun").code == 0 and len(judged) == 45


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", ["missing argument"]),
        ("pgdat", ["'pgdat'", "did you mean 'pgd_at'?"]),
        ("standard --only frost", ["--only is 'frost'", "noise, blur, weather, digital, poses"]),
        ("standard --examples 0", ["--examples is '0'"]),
        ("standard --eps 0.1", ["--eps"]),
        ("standard pgd_at --set defense.steps=5", ["standard[steps=5]"]),
        ("standard --set attack.pgd.steps=5", ["no column 'pgd'"]),
    ],
)
def test_a_bad_word_is_one_sentence(bench, tmp_path, words, told):
    given = ["--data", "synthetic", "--set", "recipe.epochs=1", "--store", tmp_path / "runs"]
    refused = bench("shift", *words.split(), *given)
    assert refused.code == 2 and refused.out == "" and "Traceback" not in refused.err
    for word in told:
        assert word in refused.err.splitlines()[-1]


def test_ids_are_those_of_the_first_shifts():
    """A published shift names the class of its grid by where it lived then; the id is of the same thing."""
    from bench.core.digest import content_id
    from bench.plan import Request
    from bench.studies.shift.plan import plan

    path = next((Path(__file__).parents[2] / "docs" / "records" / "shift").glob("*/shift.json"))
    published = json.loads(path.read_text())
    assert content_id(published["spec"]) == published["id"]
    (spec,) = plan(["standard"], Request("standard", data="mnist"))
    now = spec.encoded()
    assert content_id({"grid": now["grid"]}) == content_id({"grid": published["spec"]["grid"]})
    assert now["corruptions"] == published["spec"]["corruptions"]


def test_poses_alone_are_no_figure(bench, words, tmp_path):
    (shift,) = read(bench(*words, "--only", "poses", "--json"))
    told = bench("plot", "shift", shift["id"], "--store", tmp_path / "runs", "--out", tmp_path / "out")
    assert told.code == 2 and "poses alone" in told.err and "Traceback" not in told.err
