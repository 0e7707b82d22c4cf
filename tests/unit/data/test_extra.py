"""Extra images: what is refused, what names them, and what batches are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.data.dataset import Dataset
from bench.data.extra import Extra, extra_of, mixed
from bench.data.load import load
from bench.errors import BadData, BadValue
from bench.plan import Request, plan_training

Save = Callable[..., str]


@pytest.fixture
def data() -> Dataset:
    return load("synthetic")  # 1 x 8 x 8, three classes


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """A file of extra images by the names of published ones."""

    def made(name: str = "made", n: int = 12, shape: tuple[int, ...] = (8, 8), top: int = 3) -> str:
        rng = np.random.default_rng(0)
        path = tmp_path / f"{name}.npz"
        np.savez(path, image=rng.integers(256, size=(n, *shape), dtype=np.uint8), label=np.arange(n) % top)
        return f"npz:{path}"

    return made


def some(text: str, share: str | None = None) -> Extra:
    found = extra_of(text, share)
    assert found is not None
    return found


def test_they_are_named_by_content_and_share(save: Save, tmp_path: Path) -> None:
    one, copy, other = save("one"), save("copy"), save("other", n=13)
    plans = {
        name: plan_training(Request("standard", data="synthetic", extra=extra)).id
        for name, extra in {
            "none": None,
            "one": some(one),
            "copy": some(copy),
            "other": some(other),
            "share": some(one, "0.8"),
        }.items()
    }
    assert plans["one"] == plans["copy"], "wherever it lies"
    assert len({*plans.values()}) == 4
    assert some(one).share == 0.7


def test_what_teaches_trains_on_them_too(save: Save) -> None:
    spec = plan_training(Request("ard", data="synthetic", extra=some(save())))
    assert [parent.extra for _, parent in spec.parents] == [spec.extra] and spec.extra is not None


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"shape": (9, 9)}, r"the images have shape \[1, 9, 9\], expected \[1, 8, 8\]"),
        ({"shape": (8, 8, 3)}, r"the images have shape \[3, 8, 8\], expected \[1, 8, 8\]"),
        ({"top": 4}, "image 3 has label 3, expected 0 to 2"),
    ],
)
def test_what_does_not_fit_is_one_sentence(data: Dataset, save: Save, changes, sentence) -> None:
    with pytest.raises(BadData, match=rf"^--extra npz:.*: {sentence}"):
        mixed(data, some(save(**changes)))


def test_other_classes_are_refused(data: Dataset, tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((6, 8, 8), dtype=np.float32)
    np.savez(tmp_path / "named.npz", image=x, label=np.arange(6) % 3, classes=["a", "b", "c"])
    with pytest.raises(BadData, match=r"the classes are a, b, c, \.\.\., expected those of synthetic"):
        mixed(data, some(f"npz:{tmp_path / 'named.npz'}"))


def test_a_file_that_changed_since_it_was_planned_is_refused(data: Dataset, save: Save) -> None:
    extra = some(save())
    save(n=15)
    with pytest.raises(BadData, match="changed while it was read"):
        mixed(data, extra)


@pytest.mark.parametrize(
    "text, share, sentence",
    [
        ("mnist", None, "--extra is 'mnist', expected images of your own"),
        ("npz:x.npz", "1", "--extra-share is '1', expected a share of each batch above 0 and below 1"),
        ("npz:x.npz", "much", "--extra-share is 'much', expected a share"),
        (None, "0.5", "--extra-share is '0.5', but there are no extra images"),
    ],
)
def test_what_names_nothing_is_one_sentence(text: str | None, share: str | None, sentence: str) -> None:
    with pytest.raises(BadValue, match=f"^{sentence}"):
        extra_of(text, share)


def test_what_is_not_there_is_one_sentence() -> None:
    with pytest.raises(BadData, match=r"there is nothing at '.*nowhere\.npz'"):
        extra_of("npz:nowhere.npz", None)


def test_a_data_set_without_them_is_as_it_was(data: Dataset) -> None:
    assert mixed(data, None) is data
    assert torch.equal(replace(data).train.x, data.train.x)
