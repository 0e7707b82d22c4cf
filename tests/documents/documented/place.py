"""A folder in which commands of documents are run: small data, files of the names they use, a store."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image
from torch import nn

from documented.parsing import found
from documented.reading import ROOT, blocks

EXAMPLES = 10

SETUP = (
    "run --defense pgd_at --suite whitebox",
    "run --defense pgd_at --suite whitebox --data mnist",
    "run --defense trades --suite whitebox --data mnist",
)
"""What the pages take to be in the store already; the first is `ID`."""

PUBLISHED = "39daccc68173"
"""The record of the README's table, whose weights lie beside it."""

_SIDES = {"mnist": (28, 28), "fashion_mnist": (28, 28)}

NETWORK = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(784, 10))


make = Net
"""


def furnish(place: Path) -> None:
    """Write what the commands name: data sets, weights, networks, names, the published boards."""
    draw = np.random.default_rng(0)
    for name, sides in _SIDES.items():
        np.savez(place / f"{name}.npz", **_arrays(draw, sides))
    (place / "net.py").write_text(NETWORK)
    (place / "networks.py").write_text(NETWORK)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    torch.save(net.state_dict(), place / "net.pt")
    for name in ("cat", "dog"):
        for number in range(20):
            picture = Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            path = place / "photos" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
    (place / "my_defense.py").write_text(_shown("extending", "python").replace("MixedAt", "Mine"))
    (place / "study.toml").write_text(_shown("sweep", "toml"))
    (place / "names.toml").write_text('pgd_at = "PGD-AT"\n')
    (place / "bench.toml").write_text('data_root = "."\ndevice = "cpu"\n')
    shutil.copytree(ROOT / "leaderboards", place / "leaderboards")
    (place / "docs").mkdir()
    shutil.copytree(ROOT / "docs" / "records", place / "docs" / "records")


def small(words: Sequence[str], run_id: str) -> list[str]:
    """The same command in seconds: few examples, one epoch, names in the place of placeholders."""
    words = [_named(word, run_id) for word in words]
    command, left = found(words)
    head = words[: len(words) - len(left)]
    known = {option for parameter in command.params for option in parameter.opts}
    if "study.toml" in left:  # it says itself what runs
        return words
    if "--examples" in known and command.name not in ("compare", "plot"):
        left = [*_without(left, "--examples"), "--examples", str(EXAMPLES)]
    if "--set" in known and _trains(command, left):
        left = [*_without(left, "--set", "recipe.epochs"), "--set", "recipe.epochs=1"]
    return [*head, *left]


def _trains(command: click.Command, words: Sequence[str]) -> bool:
    return command.name not in ("check", "show") and "loaded" not in words


def _named(word: str, run_id: str) -> str:
    word = re.sub(r"(?<=leaderboards/records/)ID\b", PUBLISHED, word)
    return {"ID": run_id, "RUN_ID": run_id, "FILE": "net.pt"}.get(word, word)


def _without(words: Sequence[str], option: str, start: str = "") -> list[str]:
    """The words but an option whose value begins so."""
    gone = {
        at + more
        for at, word in enumerate(words[:-1])
        for more in (0, 1)
        if word == option and words[at + 1].startswith(start)
    }
    return [word for at, word in enumerate(words) if at not in gone]


def _shown(page: str, language: str) -> str:
    """The first block of a page in a language."""
    return next(b.text for b in blocks(ROOT / "docs" / f"{page}.md") if b.language == language)


def _arrays(draw: np.random.Generator, sides: tuple[int, int]) -> dict[str, np.ndarray]:
    return {
        "x_train": draw.integers(0, 256, (200, *sides), dtype=np.uint8),
        "y_train": np.arange(200) % 10,
        "x_test": draw.integers(0, 256, (40, *sides), dtype=np.uint8),
        "y_test": np.arange(40) % 10,
    }
