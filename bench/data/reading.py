"""How the files of a data set are read: what may stand in brackets behind its name."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bench.core.grammar import variant
from bench.errors import BadValue

EXAMPLES: Mapping[str, str] = {
    "resize": "256",
    "crop": "224",
    "channels": "1",
    "test": "all",
    "layout": "nhwc",
    "range": "0,255",
    "labels": "onehot",
    "classes": "10",
    "split": "test",
    "image": "image",
    "label": "label",
    "config": "default",
}
"""A value that somebody might type for each parameter."""

MOST: Mapping[str, int] = {"resize": 10_000, "crop": 10_000, "classes": 100_000}
"""Pixels of a side, and classes, of which no data set has more."""

_NAME = re.compile(r"(?P<plain>.*?)(?P<brackets>\[\s*\w+\s*=[^\[\]]*\])?", re.DOTALL)


@dataclass(frozen=True)
class Reading:
    """What stands in brackets behind a data set's name; None or empty: as it is usual there."""

    resize: int | None = None  # pixels of the shorter side, bicubic and antialiased
    crop: int | None = None  # pixels of the sides of the square that is cut from the middle
    channels: int | None = None  # 1: grey, 3: RGB
    test: Literal["all"] | None = None  # all images are test images
    layout: Literal["nhwc", "nchw"] | None = None  # where the channels are
    range: tuple[float, ...] = ()  # what is black and what is white
    labels: Literal["onehot", "float", "from1"] | None = None  # in which form they are
    classes: int | None = None  # how many there are, where the labels do not tell
    split: str | None = None  # whose images are tested
    image: str | None = None  # the column that holds the images
    label: str | None = None  # the column that holds the labels
    config: str | None = None  # which of several data sets in one repository

    def __post_init__(self) -> None:
        for name in ("resize", "crop", "classes"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= MOST[name]:
                raise BadValue(
                    f"{name} is {value}, expected at least 1 and at most {MOST[name]:,}",
                    f"{name}={EXAMPLES[name]}",
                )
        if self.channels not in (None, 1, 3):
            raise BadValue(f"channels is {self.channels}, expected 1 (grey) or 3 (RGB)", "channels=1")
        if self.range and not (len(self.range) == 2 and self.range[0] < self.range[1]):
            raise BadValue(
                f"range is {_text(self.range)}, expected what is black and what is white, of which white is "
                "more",
                "range=0,255",
            )
        if self.resize and self.crop and self.crop > self.resize:
            raise BadValue(
                f"crop is {self.crop} and resize is {self.resize}, expected to cut no more than is there",
                f"resize={self.crop}",
            )

    @property
    def resizes(self) -> bool:
        """Whether images get another size."""
        return self.resize is not None or self.crop is not None

    def beside(self, usual: Reading) -> str:
        """What differs from the usual, in brackets and in one order; empty: nothing does.

        >>> Reading(resize=256, crop=224).beside(Reading()), Reading(test="all").beside(Reading(test="all"))
        ('[crop=224,resize=256]', '')
        """
        changed = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != getattr(usual, field.name)
        }
        fields = ",".join(f"{name}={_text(value)}" for name, value in sorted(changed.items()))
        return f"[{fields}]" if fields else ""


def parted(name: str) -> tuple[str, str]:
    """A data set's name and the brackets behind it; brackets in a path are part of the path.

    >>> parted("folder:photos[crop=224,resize=256]"), parted("npz:my[old]/x.npz"), parted("mnist")
    (('folder:photos', '[crop=224,resize=256]'), ('npz:my[old]/x.npz', ''), ('mnist', ''))
    """
    match = _NAME.fullmatch(name.strip())
    if match is None:  # there is no such text
        return name.strip(), ""
    return match["plain"].strip(), match["brackets"] or ""


def read_brackets(name: str, usual: Reading, known: tuple[str, ...]) -> Reading:
    """How files are read by what stands in brackets behind a name; `known` are the parameters that it has.

    Raises:
        BadValue: there is no such parameter, or a value cannot be.
    """
    from bench.core.encoding import override  # it loads pydantic, which a plain name does not need

    plain, brackets = parted(name)
    _, given = variant(f"data{brackets}", "the data set", "--data NAME")
    for field in given:
        if field not in known:
            raise BadValue(
                f"the data set {plain} has no parameter {field!r}, expected {_listed(known)}",
                _typed(plain, known[0]),
            )
    try:
        return override(usual, dict(given))
    except BadValue as error:
        field = next((field for field in given if error.message.startswith(f"{field} is ")), known[0])
        mended = error.hint if error.hint and error.hint.startswith(tuple(given)) else None
        hint = f'--data "{plain}[{mended}]"' if mended else _typed(plain, field)
        raise BadValue(f"--data {name}: {error.message}", hint) from None


def _listed(known: tuple[str, ...]) -> str:
    return ", ".join(known[:-1]) + f" or {known[-1]}" if len(known) > 1 else known[0]


def _typed(plain: str, field: str) -> str:
    return f'--data "{plain}[{field}={EXAMPLES[field]}]"'


def _text(value: object) -> str:
    return ",".join(f"{item:g}" for item in value) if isinstance(value, tuple) else str(value)
