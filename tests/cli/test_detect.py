"""`bench detect` on a linear classifier: what detectors see and attackers reach has a closed form."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from bench.core.seeds import seed_for
from bench.data.splits import permutation
from bench.plan import Init, Request, plan_training

ROOT = Path(__file__).parents[2]
EPS = 0.2

KILLED = """
import os, pathlib, signal, sys
import bench.studies.detect.measure
from bench.cli.main import main

rename, done = pathlib.Path.replace, 0
def replace(self, target):
    global done
    done += "cells" in str(target)
    if done > 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
pathlib.Path.replace = replace
main(sys.argv[1:])
"""


@pytest.fixture
def words(linear, linear_data, tmp_path):
    """Two detectors, one attack, chunks of 50 images."""
    given = [linear, "--data", linear_data, "--examples", "all", "--eps", "1/5"]
    chosen = ["--detector", "max_softmax", "--detector", "knn", "--attack", "fgsm", "--fpr", "0.1"]
    return ["detect", *given, *chosen, "--set", "suite.chunk=50", "--store", str(tmp_path / "runs")]


def toward_truth(arrays, part):
    """The logit of the true class less the other's, [n], of clean images and of each one's worst corner."""
    generator = torch.Generator().manual_seed(0)
    weight, bias = (torch.randn(*size, generator=generator).double().numpy() / 4 for size in ((2, 16), (2,)))
    x, y = arrays[f"x_{part}"].reshape(-1, 16).astype(float), arrays[f"y_{part}"]
    slope, offset = weight[y] - weight[1 - y], bias[y] - bias[1 - y]
    corner = np.clip(x - EPS * np.sign(slope), 0, 1)
    return (x * slope).sum(1) + offset, (corner * slope).sum(1) + offset


def told_json(told):
    assert told.code == 0, told.err
    (found,) = json.loads(told.out)
    return found


def one(found, detector, task, images="all"):
    (held,) = (
        held
        for held in found["separations"]
        if (held["detector"], held["task"], held["images"]) == (detector, task, images)
    )
    return held


def test_every_figure_of_a_linear_classifier_has_its_closed_form(bench, words, arrays, tmp_path):
    found = told_json(bench(*words, "--json"))
    clean, corner = toward_truth(arrays, "test")
    n = len(clean)
    suspicion = -np.abs(np.r_[clean, corner])  # two classes: the log odds are the margin
    truth = np.r_[np.zeros(n), np.ones(n)]
    held = one(found, "max_softmax", "adversarial")
    assert held["auroc"]["value"] == pytest.approx(roc_auc_score(truth, suspicion), abs=1e-4)
    wrong = np.r_[clean, corner] < 0
    held = one(found, "max_softmax", "wrong")
    assert (held["positives"], held["negatives"]) == (int(wrong.sum()), 2 * n - int(wrong.sum()))
    assert held["auroc"]["value"] == pytest.approx(roc_auc_score(wrong, suspicion), abs=1e-4)
    fooled = int((corner < 0).sum())
    assert one(found, "knn", "adversarial", "successes")["positives"] == fooled > 10

    guard = next(held for held in found["guards"] if held["detector"] == "max_softmax")
    sure = -guard["threshold"]  # refused is what is less sure
    accepted = clean >= sure
    assert guard["clean"]["count"] == int(accepted.sum())
    assert guard["robust"]["fgsm"]["count"] == int((accepted & (corner > -sure)).sum())
    assert guard["aware"]["count"] == int((accepted & (corner > -sure)).sum()), "the corner is all they have"
    assert found["attacks"][0]["robust"]["count"] == n - fooled
    assert guard["validation_refused"]["value"] <= 0.1


def test_thresholds_come_from_validation_images_alone(bench, words, arrays, tmp_path):
    before = told_json(bench(*words, "--json"))
    order = np.random.default_rng(0).permutation(len(arrays["y_test"]))[:60]
    other = {**arrays, "x_test": 1 - arrays["x_test"][order], "y_test": arrays["y_test"][order]}
    path = tmp_path / "linear.npz"  # the same name, so the same images are held out
    np.savez(path, **other)
    place = words.index("--data") + 1
    after = told_json(bench(*words[:place], f"npz:{path}", *words[place + 1 :], "--json"))
    assert [held["threshold"] for held in before["guards"]] == [held["threshold"] for held in after["guards"]]
    assert before["networks"][0]["clean"] != after["networks"][0]["clean"]


def test_a_killed_run_goes_on(bench, words, environment, tmp_path):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *words], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("detection/*/cells/*/*.npz")}
    assert len(kept) == 4
    whole = told_json(bench(*words, "--json"))
    assert kept == {path: path.stat().st_mtime_ns for path in kept}, "what was there was used"
    fresh = told_json(bench(*words[:-1], str(tmp_path / "fresh"), "--json"))
    for key in ("guards", "separations", "scores_sha256"):
        assert whole[key] == fresh[key]


def test_out_of_several_networks_holds_the_rows_of_all(bench, words, linear, tmp_path):
    told = bench(*words, f"{linear}[weights_seed=1]", "--out", tmp_path / "out")
    assert told.code == 0, told.err
    held = [path.parent.name for path in (tmp_path / "runs").glob("detection/*/detection.json")]
    assert {path.name for path in (tmp_path / "out").glob("roc-*.png")} == {f"roc-{one}.png" for one in held}
    for name, rows in (("detection.csv", 2), ("joint_accuracy.csv", 3)):
        head, *lines = (tmp_path / "out" / name).read_text().splitlines()
        assert head.startswith("detection,defense,architecture,")
        assert [line.partition(",")[0] for line in lines].count(held[0]) == rows and len(lines) == 2 * rows


def test_out_holds_tables_and_curves(bench, words, tmp_path):
    told = bench(*words, "--out", tmp_path / "out")
    assert told.code == 0, told.err
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"detection.md", "detection.csv", "joint_accuracy.csv"} <= names
    assert {path.rpartition(".")[2] for path in names if path.startswith("roc-")} >= {"png", "pdf", "csv"}
    rows = (tmp_path / "out" / "detection.csv").read_text().splitlines()
    assert len(rows) == 1 + 2
    assert "adversarial_auroc,adversarial_auroc_low" in rows[0]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--detector", "knnn"], "no detector is named 'knnn'; did you mean 'knn'?"),
        (["--detector", "knn[k=0]"], "KNearest.k is 0"),
        (["--detector", "knn[q=3]"], "has no parameter 'q'"),
        (["--detector", "lid", "--detector", "lid"], "--detector gives 'lid' twice"),
        (["--fpr", "5"], "--fpr is '5', expected a share"),
        (["--attack", "pdg"], "no attack is named 'pdg'; did you mean 'pgd'?"),
        (["--set", "attack.pgd_21.steps=3"], "has no column 'pgd_21'"),
        (["--examples", "0"], "--examples is '0'"),
    ],
)
def test_mistakes_are_one_sentence(bench, given, sentence, tmp_path):
    told = bench("detect", "standard", *given, "--store", tmp_path)
    assert told.code == 2
    assert sentence in told.err
    assert "Traceback" not in told.err
    assert list(tmp_path.iterdir()) == []


def test_run_sends_its_suite_here(bench, tmp_path):
    told = bench("run", "--defense", "standard", "--suite", "detection", "--store", tmp_path)
    assert told.code == 2
    assert "bench detect standard --data digits" in told.err


MEMORY = '''
import torch
from torch import nn

class Memory(nn.Module):
    """Sure of the images that it was trained on, and the less sure the farther away an image is."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(200, 16))
        self.linear = nn.Linear(16, 2)

    def forward(self, x):
        x = x.flatten(1)
        return self.linear(x) * torch.exp(-4 * torch.cdist(x, self.seen).amin(1, keepdim=True))
'''


@pytest.fixture
def remembered(tmp_path):
    """200 training and 200 test images of two classes, and a network that knows all of the former."""
    x = np.random.default_rng(3).random((400, 1, 4, 4), np.float32)
    y = np.arange(400) % 2
    np.savez(tmp_path / "own.npz", x_train=x[:200], y_train=y[:200], x_test=x[200:], y_test=y[200:])
    weights = {"seen": torch.from_numpy(x[:200]).flatten(1), "linear.bias": torch.zeros(2)}
    weights["linear.weight"] = torch.stack([torch.ones(16), torch.zeros(16)])
    torch.save(weights, tmp_path / "memory.pt")
    (tmp_path / "memory_of_others.py").write_text(MEMORY)
    suspicion = -weights["linear.weight"][0] @ weights["seen"].new_tensor(x[200:]).flatten(1).T
    far = torch.cdist(torch.from_numpy(x[200:]).flatten(1), weights["seen"]).amin(1)
    words = ["detect", "loaded", "--checkpoint", tmp_path / "memory.pt"]
    words += [
        "--factory",
        f"{tmp_path / 'memory_of_others.py'}:Memory",
        "--data",
        f"npz:{tmp_path / 'own.npz'}",
    ]
    words += ["--detector", "max_softmax", "--attack", "fgsm", "--fpr", "0.25", "--store", tmp_path / "runs"]
    return words, (suspicion * torch.exp(-4 * far)).numpy()


def test_thresholds_of_a_network_of_others_come_from_test_images_that_are_not_judged(bench, remembered):
    words, suspicion = remembered
    found = told_json(bench(*words, "--examples", "100", "--json"))
    (guard,) = found["guards"]
    order = permutation(seed_for("examples", "npz:own"), 200)
    assert (found["chosen_on"], found["validation_examples"]) == ("test", 20)
    threshold = np.sort(suspicion[order[180:]])[-1 - 5]  # 5 of 20 are 25 %
    assert guard["threshold"] == pytest.approx(threshold, rel=1e-4)
    assert guard["validation_refused"]["count"] == 5
    refused = int((suspicion[order[:100]] > threshold).sum())
    assert guard["clean_refused"]["count"] == pytest.approx(refused, abs=1) and refused < 40
    fewer = told_json(bench(*words, "--examples", "60", "--json"))
    assert fewer["guards"][0]["threshold"] == guard["threshold"], "whatever else is judged"
    assert (
        "20 clean test images, none of which is judged here: others" in bench(*words, "--examples", "60").out
    )


def test_where_no_test_image_is_left_the_rate_is_said_to_be_worth_nothing(bench, remembered):
    words, _ = remembered
    found = told_json(bench(*words, "--examples", "all", "--json"))
    (guard,) = found["guards"]
    assert found["chosen_on"] == "training" and guard["validation_refused"]["count"] == 5
    assert guard["clean_refused"]["count"] == 200, "it remembers none of them"
    out = " ".join(bench(*words, "--examples", "all").out.split())
    assert "warn: thresholds refuse at most 25 % of 20 clean validation images, but others trained" in out
    assert "warn: max_softmax refuses 100.0 % of the clean test images, and 25.0 % of those" in out


def test_what_begins_with_weights_of_others_is_of_others():
    alone = plan_training(Request("pgd_at"))
    taught = replace(alone, parents=(("teacher", replace(alone, init=Init(Path("w"), "0" * 64))),))
    assert (alone.of_others, taught.parents[0][1].of_others, taught.of_others) == (False, True, True)


def test_without_images_to_hold_out_there_is_no_threshold(bench, tmp_path):
    x = np.random.default_rng(0).random((2, 1, 8, 8), dtype=np.float32)
    few = tmp_path / "few.npz"
    np.savez(few, x_train=x, y_train=np.arange(2), x_test=x, y_test=np.arange(2))
    told = bench("detect", "standard", "--data", f"npz:{few}", "--store", tmp_path / "runs")
    assert told.code == 2 and len(told.err.splitlines()) == 1, told.err
    assert "2 training images and none to hold out" in told.err
