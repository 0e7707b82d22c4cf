"""`bench run --extra`: another training than without, which says so where it is named; what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.records.reading import from_json
from bench.records.record import Record

Bench = Callable[..., Any]
WORDS = (
    "run",
    "--defense",
    "standard",
    "--data",
    "synthetic",
    "--set",
    "recipe.epochs=1",
    "--suite",
    "smoke",
)


def images(path: Path, side: int = 8) -> str:
    """A file of extra images by the names of published ones, as --extra takes it."""
    rng = np.random.default_rng(0)
    np.savez(path, image=rng.integers(256, size=(24, side, side), dtype=np.uint8), label=np.arange(24) % 3)
    return f"npz:{path}"


@pytest.fixture
def run(bench: Bench, tmp_path: Path) -> Callable[..., Any]:
    """A training of one epoch with some words more."""

    def call(*words: object) -> Any:
        return bench(*WORDS, "--examples", "20", *words, "--store", tmp_path / "runs")

    return call


def recipe(record: Record) -> str:
    assert record.training is not None
    return record.training.recipe


def weights(record: Record) -> str:
    assert record.training is not None
    return record.training.sha256


def test_a_run_with_them_is_another_one_and_says_so(
    run: Callable[..., Any], bench: Bench, tmp_path: Path
) -> None:
    given = images(tmp_path / "made.npz")
    plain, mixed = run("--json"), run("--json", "--extra", given)
    assert plain.code == mixed.code == 0, plain.err + mixed.err
    without, having = from_json(plain.out), from_json(mixed.out)
    assert without.run_id != having.run_id and weights(without) != weights(having), "they are trained on"
    content = having.spec["training"]["extra"]["content"]
    assert (recipe(without), recipe(having)) == ("short[epochs=1]", f"short[epochs=1,extra={content}*0.7]")
    again = run("--extra", images(tmp_path / "copy.npz"))
    assert "is complete: this is its record" in again.err, "the same images elsewhere"
    assert f"extra={content}*0.7" in again.out


def test_an_audit_names_their_file_or_says_that_it_must_be_named(
    run: Callable[..., Any], bench: Bench, tmp_path: Path
) -> None:
    given, store = images(tmp_path / "made.npz"), tmp_path / "runs"
    assert run("--extra", given, "--extra-share", "0.5").code == 0
    (path,) = store.glob("*/record.json")
    told = bench("audit", path.parent.name, "--store", store)
    assert f" --set recipe.epochs=1 --extra {given} --extra-share 0.5 " in told.out, told.err
    for note in store.glob("models/*/origin.json"):
        note.unlink()
    told = bench("audit", path.parent.name, "--store", store)
    assert " --set recipe.epochs=1 --extra npz:FILE --extra-share 0.5 " in told.out, told.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--extra", "npz:{}/small.npz"), "the images have shape [1, 7, 7], expected [1, 8, 8]"),
        (("--extra-share", "0.5"), "--extra-share is '0.5', but there are no extra images"),
        (("--extra", "npz:{}/none.npz"), "there is nothing at"),
    ],
)
def test_what_cannot_be_mixed_in_is_one_sentence(
    run: Callable[..., Any], tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    images(tmp_path / "small.npz", side=7)
    told = run(*(word.format(tmp_path) for word in words))
    assert told.code == 2 and told.out == ""
    assert sentence in told.err.splitlines()[-1]
    assert not list(tmp_path.glob("runs/*/record.json"))
