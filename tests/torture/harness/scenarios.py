"""The commands that faults happen to: each tiny, with an attack that does break some of its images."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bench.publish import publish as _publish

LINEAR = Path(__file__).parents[2] / "reference" / "linear_defense.py"
RECORDS = Path(__file__).parents[3] / "leaderboards" / "records"

RANKED = str(RECORDS / "69db5b7210ce.json")
"""A record of the suite by which RobustBench ranks."""

LABEL = "linear_defense.py:Linear"
NETWORK = f"{LINEAR}:Linear"
IMAGES = ("--data", "npz:linear.npz", "--device", "cpu", "--examples", "12")
BUDGET = ("--eps", "0.2")
RUN = ("run", "--defense", NETWORK, *IMAGES, *BUDGET, "--set", "suite.chunk=6")
TWO = (*RUN, "--attack", "fgsm", "--attack", "pgd")
TRAIN = ("--defense", "pgd_at", "--data", "synthetic", "--device", "cpu", "--set", "defense.steps=1")
EPOCH = (*TRAIN, "--set", "recipe.epochs=1")

DETECTORS = ("--detector", "energy", "--detector", "knn")

Words = tuple[str, ...]
Act = Callable[[], int | None]
"""What is done in a working folder, in the place of a command; gives its exit code."""


@dataclass(frozen=True)
class Scenario:
    """A command, what goes before it, and how it ends when nothing happens to it."""

    name: str
    command: Words | Act
    before: tuple[Words | Act, ...] = ()
    code: int = 0

    def steps(self) -> tuple[Words | Act, ...]:
        """All that is called, in order."""
        return (*self.before, self.command)


def publish() -> int:
    """Three published records, onto boards in a folder of their own, as if their code were that of now."""
    import bench.publish as published

    published.publish = partial(_publish, sources=lambda then: then)
    paths = sorted(RECORDS.glob("*.json"))[:3]
    return call(("publish", *map(str, paths), "--folder", "boards"))


def images_of_others() -> None:
    """Images that somebody else made: noise within the budget."""
    with np.load("linear.npz") as held:
        x = held["x_test"]
    noise = np.random.default_rng(1).choice(np.float32([-0.2, 0.2]), size=x.shape)
    np.save("others.npy", np.clip(x + noise, 0, 1))


def import_others() -> int:
    """Judge them for the one run of the store."""
    (run,) = Path("runs").glob("*/record.json")
    return call(("import", "others.npy", "--defense", run.parent.name))


SCENARIOS: Mapping[str, Scenario] = {
    found.name: found
    for found in (
        Scenario("run", TWO),
        Scenario("run-board", (*TWO, "--board", "boards", "--junit", "junit.xml")),
        Scenario("run-rerun", (*TWO, "--rerun"), (TWO,)),
        Scenario("run-without-evidence", (*TWO, "--no-evidence")),
        Scenario("train", ("train", *EPOCH)),
        Scenario("train-two-epochs", ("train", *TRAIN, "--set", "recipe.epochs=2")),
        Scenario("train-and-run", ("run", *EPOCH, "--suite", "smoke", "--examples", "12", *BUDGET)),
        Scenario("curve", ("curve", NETWORK, "--over", "eps", "--at", "0.1,0.2", *IMAGES, *BUDGET)),
        Scenario("shift", ("shift", NETWORK, "--only", "fog", "--only", "contrast", *IMAGES)),
        Scenario(
            "transfer",
            ("transfer", NETWORK, f"{NETWORK}[weights_seed=1]", "--attack", "fgsm", *IMAGES, *BUDGET),
        ),
        Scenario("detect", ("detect", NETWORK, *DETECTORS, "--attack", "fgsm", *IMAGES, *BUDGET)),
        Scenario("diagnose", ("diagnose", NETWORK, *IMAGES, *BUDGET)),
        Scenario("certify", ("certify", NETWORK, "--at", "0.1", "--attack", "fgsm", *IMAGES, *BUDGET)),
        Scenario("publish", publish),
        Scenario("site", ("site", "runs", "--out", "page"), (TWO,)),
        Scenario("site-again", ("site", "runs", "--out", "page"), (TWO, ("site", "runs", "--out", "page"))),
        Scenario("board", ("board", "--write", "boards"), (TWO,)),
        Scenario("import", import_others, (images_of_others, TWO)),
        Scenario("audit", ("audit", "--all"), (TWO,)),
        Scenario("verify", ("verify", LABEL), (TWO,)),
        Scenario("export", ("export", "robustbench", RANKED, "--out", "exported")),
        Scenario("plot", ("plot", "queries", LABEL, "--every-column", "--out", "figures"), (TWO,)),
    )
}
"""By name."""


def write_data(folder: Path) -> None:
    """Two classes of 4x4 images, labelled by the linear classifier that is attacked."""
    import torch

    generator = torch.Generator().manual_seed(0)
    weight = (torch.randn(2, 16, generator=generator) / 4).double().numpy()
    bias = (torch.randn(2, generator=generator) / 4).double().numpy()
    x = np.random.default_rng(0).random((360, 1, 4, 4), dtype=np.float32)
    y = (x.reshape(len(x), -1) @ weight.T + bias).argmax(1)
    np.savez(folder / "linear.npz", x_train=x[120:], y_train=y[120:], x_test=x[:120], y_test=y[:120])


def call(step: Words | Act) -> int:
    """Do one step in this process; gives its exit code."""
    from bench.cli.main import main

    if callable(step):
        return step() or 0
    try:
        main(list(step))
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
