"""What strangers have: four classes of small colour images, networks for them, weights in many shapes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

NETWORKS = """
import torch, torch.nn as nn, torch.nn.functional as F

class Net(nn.Module):
    def __init__(self, classes=4):
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Linear(128, classes)
    def forward(self, x):
        return self.fc(F.adaptive_avg_pool2d(F.relu(self.bn(self.conv(x))), 4).flatten(1))
"""
"""The file of the network that all of them have."""


@dataclass(frozen=True)
class Stranger:
    """A folder with data, a network and its weights, in which commands are typed."""

    folder: Path
    state: dict[str, Tensor]
    right: float  # the fraction of test images that the network, called as it is, classifies right
    bench: Callable[..., Any]

    def write(self, name: str, text: str) -> None:
        """A Python file beside the network's."""
        (self.folder / name).write_text(text)

    def save(self, name: str, found: object) -> None:
        """A checkpoint."""
        torch.save(found, self.folder / name)

    def run(self, *words: str, data: str = "npz:d.npz", suite: str = "smoke") -> Any:
        """`bench run --defense loaded` with these words."""
        usual = ("--defense", "loaded", "--data", data, "--suite", suite, "--examples", "20")
        return self.bench("run", "--offline", "--no-evidence", "--json", *words, usual=usual)

    def record(self, *words: str, **given: str) -> dict[str, Any]:
        """The record that the command prints; it is complete."""
        told = self.run(*words, **given)
        assert told.code == 0, (told.out[-500:], told.err)
        found: dict[str, Any] = json.loads(told.out)
        return found

    def refused(self, *words: str, **given: str) -> str:
        """The one sentence of the command that is refused."""
        told = self.run(*words, **given)
        sentences = [line for line in told.err.splitlines() if line.startswith("bench:")]
        assert told.code == 2 and len(sentences) == 1 and told.out == "", (told.code, told.out, told.err)
        assert "Traceback" not in told.err
        return str(sentences[0])


def images(n: int, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Noisy copies of one random image for each of four classes, uint8 [n, 3, 8, 8]."""
    draws, patterns = np.random.RandomState(seed), np.random.RandomState(99).rand(4, 3, 8, 8)
    y = np.arange(n) % 4
    draws.shuffle(y)
    x = 0.5 + 0.4 * (patterns[y] - 0.5) + 0.08 * draws.randn(n, 3, 8, 8)
    return (x.clip(0, 1) * 255).round().astype(np.uint8), y


@pytest.fixture(scope="session")
def trained() -> tuple[dict[str, Tensor], float]:
    """The weights of the network after a few steps, and the share of the test images that it gets right."""
    space: dict[str, Any] = {}
    exec(NETWORKS, space)
    torch.manual_seed(0)
    net: nn.Module = space["Net"]()
    x, y = (torch.tensor(part) for part in images(200, 1))
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(30):
        loss = F.cross_entropy(net(x.float() / 255), y.long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    test, labels = (torch.tensor(part) for part in images(40, 2))
    with torch.no_grad():
        right = (net.eval()(test.float() / 255).argmax(1) == labels).double().mean()
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}, float(right)


@pytest.fixture
def stranger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bench: Callable[..., Any], trained: Any
) -> Iterator[Stranger]:
    """A folder of its own; what was imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_DATA", raising=False)
    before = {*sys.modules}
    train, test = images(80, 1), images(40, 2)
    np.savez("d.npz", x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])
    found = Stranger(tmp_path, *trained, bench)
    found.write("theirs.py", NETWORKS)
    found.save("w.pt", found.state)
    yield found
    for name in {*sys.modules} - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]
