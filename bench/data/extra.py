"""Images beside a data set's own that training mixes into its batches, such as those of a generator.

Rebuffi et al., "Data Augmentation Can Improve Robustness", NeurIPS 2021; Wang et al., "Better Diffusion
Models Further Improve Adversarial Training", ICML 2023: of each batch a fixed share is generated.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from bench.core.exact import exact
from bench.core.progress import Silent
from bench.data.catalog import HUB, PREFIXES, kind, source
from bench.data.dataset import Dataset, as_images, check
from bench.data.identity import identity
from bench.data.reading import parted
from bench.data.splits import DataRequest, Splits
from bench.errors import BadData, BadValue

SHARE = 0.7
"""Of each batch, as in the released code of Wang et al. for CIFAR-10; their other data sets: 0.8."""


@dataclass(frozen=True)
class Extra:
    """Which images are mixed in, and how many; what they are is their content, wherever they lie."""

    source: str  # npz:FILE, or other images of one's own
    content: str  # twelve hexadecimal digits of their bytes
    share: float = SHARE  # of each batch, in (0, 1)

    def encoded(self) -> dict[str, Any]:
        """As JSON."""
        return {"content": self.content, "share": self.share}


def extra_of(text: str | None, share: str | None) -> Extra | None:
    """What `--extra` and `--extra-share` name, as it is now; None: nothing.

    Raises:
        BadData, BadValue: there is nothing there, or the share is none.
    """
    if text is None:
        if share is not None:
            raise BadValue(
                f"--extra-share is {share!r}, but there are no extra images, expected both or neither",
                f"--extra npz:FILE --extra-share {share}",
            )
        return None
    if kind(text) not in PREFIXES or kind(text) == HUB:
        raise BadValue(
            f"--extra is {text!r}, expected images of your own with their labels", "--extra npz:FILE"
        )
    try:
        part = float(exact(share)) if share is not None else SHARE
    except ValueError:
        part = 0.0
    if not 0 < part < 1:
        raise BadValue(
            f"--extra-share is {share!r}, expected a share of each batch above 0 and below 1",
            f"--extra-share {SHARE}",
        )
    content = identity(text)
    assert content is not None  # images of one's own have one
    return Extra(text, content, part)


def mixed(data: Dataset, extra: Extra | None) -> Dataset:
    """The data set with the extra images beside its own; on the device of its own.

    Raises:
        BadData: they are of another shape or other classes, or are no longer what was asked about.
    """
    if extra is None:
        return data
    place = f"--extra {extra.source}"
    splits = _read(extra.source)
    x, y = (splits.x_train, splits.y_train) if len(splits.x_train) else (splits.x_test, splits.y_test)
    images = as_images(x, y, place)
    check(images, place, data.num_classes, data.image_shape)
    if splits.classes and splits.classes != data.classes:
        raise BadData(
            f"{place}: the classes are {', '.join(splits.classes[:3])}, ..., expected those of {data.name}, "
            f"{', '.join(data.classes[:3])}, ..., in their order"
        )
    if identity(extra.source) != extra.content:
        raise BadData(f"{place} changed while it was read, expected a file that stays as it is")
    return replace(data, extra=images.to(data.train.x.device), extra_share=extra.share)


def _read(name: str) -> Splits:
    found = source(name)
    module, _, function = found.loader.partition(":")
    read: Any = getattr(importlib.import_module(module), function)
    typed = cast("Callable[[DataRequest, Silent], Splits]", read)
    return typed(DataRequest(parted(name)[0], cast("Path | None", None), False, found.reading), Silent())
