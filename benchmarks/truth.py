"""Suites on networks whose exact robustness is known: by mixed integer programs, by complete verifiers."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import nn

import bench
from benchmarks.exact import Array, Truth, tiny, truths
from benchmarks.timing import Row, Settings

SUITE = "fast"
SEEDS = (0, 1, 2, 3, 4)

SATURATED = 4096
"""What logits are multiplied by for cross-entropy to have no gradient."""

LISTED = "truth.json"
"""In a folder of verified networks: NAME eps RADIUS -> what verifiers found of each image."""

_ANSWERS: dict[str, Truth] = {"unsat": "robust", "sat": "breakable", "open": "open"}


@dataclass(frozen=True)
class Known:
    """A network with images that it takes for what they are, and the truth of each."""

    name: str
    network: nn.Sequential
    x: NDArray[np.float32]  # [n, C, H, W]
    y: NDArray[np.int64]
    eps: float
    truth: tuple[Truth, ...]

    def judged(self, seed: int, suite: str = SUITE) -> NDArray[np.bool_]:
        """Who stands under a suite, [n]."""
        words = {"norm": "Linf", "eps": self.eps, "suite": suite, "seed": seed, "progress": False}
        result = bench.evaluate(self.network, self.x, self.y, name=self.name, **words)
        held = np.ones(len(self.y), dtype=bool)
        held[result.images.ids] = False
        return held

    def wrong(self, held: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Images that are proved robust and did not stand, and those that can be broken and stood."""
        truth = np.array(self.truth)
        return np.flatnonzero(~held & (truth == "robust")), np.flatnonzero(held & (truth == "breakable"))


def measure(settings: Settings) -> list[Row]:
    """Tiny networks always; verified ones where --data-root holds `truth.json`."""
    folder = settings.data_root
    known = [*solved(), *(verified(folder) if folder and (folder / LISTED).is_file() else ())]
    return [row for one in known for row in _rows(one, settings)]


def _rows(one: Known, settings: Settings) -> Iterator[Row]:
    told = ", ".join(f"{count} {what}" for what, count in sorted(Counter(one.truth).items()))
    for seed in SEEDS:
        settings.say(f"{one.name}, seed {seed}")
        wrong, left = one.wrong(one.judged(seed))
        what = f"{one.name}, eps {one.eps:g}, n = {len(one.y)}, seed {seed}"
        note = f"{told}{_listed(left)}"
        yield Row("truth", f"{what}: broken, proved robust", "0", float(len(wrong)), bar=0, exact=True)
        yield Row("truth", f"{what}: left, breakable", "0", float(len(left)), bar=0, exact=True, note=note)


def solved(
    n: int = 40, radii: Sequence[float] = (0.02, 0.05), shapes: Sequence[tuple[int, ...]] = ((24,), (12, 12))
) -> Iterator[Known]:
    """Digits of 4 x 4 pixels on networks of 24 and of 12 and 12 neurons, as they are and saturated."""
    images, labels = digits()
    for widths in shapes:
        network, saturated = (
            tiny(images[n:], labels[n:], widths, seed=0, scale=scale) for scale in (1, SATURATED)
        )
        name = "x".join(map(str, widths))
        for eps in radii:
            plain = known(name, network, images[:n], labels[:n], eps)
            yield plain
            yield replace(plain, name=f"{name}, saturated", network=saturated)  # the same classes


def known(name: str, network: nn.Sequential, x: Array, y: NDArray[np.int64], eps: float) -> Known:
    """The images [n, d] that a network of linear layers and ReLUs gets right, with the solver's truth."""
    side = round(x.shape[1] ** 0.5)
    images = x.astype(np.float32).reshape(-1, 1, side, side)
    right = _right(network, images, y)
    found = tuple(truths(network, x[right], y[right].tolist(), eps))
    return Known(name, network, images[right], y[right], eps, found)


def digits() -> tuple[Array, NDArray[np.int64]]:
    """The digits of scikit-learn as images [n, 16] of 4 x 4 pixels, and their classes."""
    held = load_digits()
    images = (held.images / 16).reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
    return images, held.target.astype(np.int64)


def verified(folder: Path) -> Iterator[Known]:
    """The networks of VNN-COMP's `mnistfc` in a folder: state dicts, images by radius, `truth.json`."""
    for name, answers in json.loads((folder / LISTED).read_text()).items():
        network, eps = re.fullmatch(r"(\S+) eps (\S+)", name).groups()  # type: ignore[union-attr]
        with np.load(folder / f"mnistfc-{eps}.npz") as held:
            x, y = held["x_test"], held["y_test"].astype(np.int64)
        images = (x / 255 if x.dtype == np.uint8 else x).astype(np.float32).reshape(-1, 1, 28, 28)
        net = _built(torch.load(folder / f"{network}.pth", map_location="cpu", weights_only=True))
        right = _right(net, images, y)
        truth = tuple(_ANSWERS[answer] for answer, is_right in zip(answers, right, strict=True) if is_right)
        yield Known(network, net, images[right], y[right], float(eps), truth)


def _built(state: dict[str, torch.Tensor]) -> nn.Sequential:
    sizes = [tensor.shape for name, tensor in state.items() if name.endswith("weight")]
    modules: list[nn.Module] = [nn.Flatten()]
    for out, inside in sizes:
        modules += [nn.Linear(inside, out), nn.ReLU()]
    network = nn.Sequential(*modules[:-1])
    network.load_state_dict(dict(zip(network.state_dict(), state.values(), strict=True)))
    return network


def _right(network: nn.Module, images: NDArray[np.float32], y: NDArray[np.int64]) -> NDArray[np.bool_]:
    with torch.no_grad():
        return cast(NDArray[np.bool_], network(torch.from_numpy(images)).argmax(1).numpy() == y)


def _listed(left: NDArray[np.int64]) -> str:
    return f"; left: images {', '.join(map(str, left))}" if len(left) else ""
