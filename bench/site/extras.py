"""What a store holds beside records: adversarial images of runs, and curves of the weights behind them."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.digest import file_sha256
from bench.errors import BadData
from bench.records.evidence import FILE, images
from bench.records.gathering import Skip
from bench.records.record import Record
from bench.records.store import RunFolder, read_record
from bench.studies.curve.record import Curve
from bench.studies.table import study

SHOWN = 24
"""How many adversarial images a page shows."""


@dataclass(frozen=True)
class Picture:
    """One adversarial image."""

    source: str  # a data URI
    label: int
    attacked: int  # what the defense took it for
    column: str


@dataclass(frozen=True)
class CurvePicture:
    """One curve."""

    id: str
    svg: str
    axis: str
    attacks: str


@dataclass
class Extras:
    """Pictures by run, curves by training."""

    pictures: dict[str, tuple[Picture, ...]] = field(default_factory=dict)
    curves: dict[str, list[CurvePicture]] = field(default_factory=dict)


def extras(places: Iterable[Path], skip: Skip) -> Extras:
    """What lies in these stores or folders of runs; `skip` is told of what cannot be read."""
    found = Extras()
    for place in places:
        for path in sorted([*place.glob(FILE), *place.glob(f"*/{FILE}")]):
            if (path.parent / "record.json").is_file():
                with contextlib.suppress(BadData):  # who reads the records tells of this one
                    record = read_record(path.parent / "record.json")
                    _take(found, record, path, skip)
        for path in study("curve").files(place):
            try:
                curve: Curve = study("curve").read(path)
            except BadData as error:
                skip(error)
                continue
            found.curves.setdefault(curve.network.training_id, []).append(_drawn(curve))
    return found


def _take(found: Extras, record: Record, path: Path, skip: Skip) -> None:
    """The pictures of a run, from the file that its record names."""
    try:
        if record.evidence is None or file_sha256(path) != record.evidence.sha256:
            raise BadData(f"{path} is not the file of images that its record names, expected that")
        found.pictures[record.run_id] = _pictures(path)
    except BadData as error:
        skip(error)


def _pictures(path: Path) -> tuple[Picture, ...]:
    """The first images of a file, each with what it was taken for by the column that broke it."""
    outcomes = RunFolder(path.parent).examples()
    with images(path) as opened:
        names = list(outcomes)
        count = min(SHOWN, len(opened))
        found = []
        for number, image in zip(opened.ids[:count], opened.rows(0, count), strict=True):
            for column in names:
                held = outcomes[column]
                row = int(np.flatnonzero(held.ids == number)[0])
                if held.correct[row] and not held.robust[row]:
                    taken = int(held.attacked[row])
                    found.append(Picture(_data_uri(image), int(held.labels[row]), taken, column))
                    break
    return tuple(found)


def _data_uri(image: NDArray[np.float32]) -> str:
    """An image [C, H, W] in [0, 1] as a PNG that stands in the page itself."""
    from PIL import Image

    pixels = np.round(255 * np.clip(image, 0, 1)).astype(np.uint8).transpose(1, 2, 0)
    plain = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels[:, :, :3]
    buffer = io.BytesIO()
    Image.fromarray(plain).save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _drawn(curve: Curve) -> CurvePicture:
    from bench.report.paper import paper
    from bench.studies.curve.report import attacks_of, curve_figure

    buffer = io.BytesIO()
    with paper():
        figure: Any = curve_figure([curve]).figure
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return CurvePicture(curve.id, buffer.getvalue().decode(), curve.axis, _told(attacks_of(curve)))


def _told(attacks: Sequence[str]) -> str:
    return ", then ".join(attacks)
