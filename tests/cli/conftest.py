"""What tests of whole commands share: a run that takes a moment, and whose truth is known."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
LINEAR = ROOT / "tests" / "reference" / "linear_defense.py"


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are as wide as they like, whatever terminal the tests run in."""
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture
def environment() -> dict[str, str]:
    """For commands in processes of their own, which must compute with as many threads as this one."""
    return {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command in a process group of its own, as a terminal does."""
    running = []

    def call(*words: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench", *(str(word) for word in words)],
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        running.append(process)
        return process

    yield call
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def linear() -> str:
    """A defense in a file of its own: a linear classifier of fixed weights."""
    return f"{LINEAR}:Linear"


@pytest.fixture(scope="session")
def arrays() -> dict[str, np.ndarray]:
    """Two classes of 4x4 images, labelled by that very classifier, so that its clean accuracy is 1."""
    weight, bias = linear_weights()
    x = np.random.default_rng(0).random((360, 1, 4, 4), dtype=np.float32)
    y = (x.reshape(len(x), -1) @ weight.T + bias).argmax(1)
    return {"x_train": x[120:], "y_train": y[120:], "x_test": x[:120], "y_test": y[:120]}


@pytest.fixture(scope="session")
def linear_data(arrays: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same as a data set's name on the command line."""
    path = tmp_path_factory.mktemp("data") / "linear.npz"
    np.savez(path, **arrays)
    return f"npz:{path}"


@pytest.fixture(scope="session")
def robust_count(arrays: dict[str, np.ndarray]) -> Callable[[float], int]:
    """Linf radius -> how many test images no perturbation moves across: a closed form, box included."""
    weight, bias = linear_weights()
    x, y = arrays["x_test"].reshape(120, -1).astype(float), arrays["y_test"]
    slope, offset = weight[y] - weight[1 - y], bias[y] - bias[1 - y]

    def count(eps: float) -> int:
        margins = (np.clip(x - eps * np.sign(slope), 0, 1) * slope).sum(1) + offset
        assert np.abs(margins).min() > 1e-5, "no example sits on the boundary"
        return int((margins > 0).sum())

    return count


def linear_weights() -> tuple[np.ndarray, np.ndarray]:
    """The weights [2, 16] and biases [2] that the linear defense draws."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2, 16, generator=generator) / 4
    bias = torch.randn(2, generator=generator) / 4
    return weight.double().numpy(), bias.double().numpy()
