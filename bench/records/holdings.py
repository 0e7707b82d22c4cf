"""What a store holds besides runs: matrices, curves, detections, shifts and looks inside, one line each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.records.record import Interval


@dataclass(frozen=True)
class Holding:
    """One complete result."""

    kind: str  # "transfer matrices", as a heading
    id: str
    summary: str


def holdings(store: Path) -> Iterator[Holding]:
    """Everything complete, by kind and id; models and images are no results.

    Raises:
        BadData: a file is damaged.
    """
    yield from _transfers(store)
    yield from _curves(store)
    yield from _detections(store)
    yield from _shifts(store)
    yield from _diagnostics(store)


def _transfers(store: Path) -> Iterator[Holding]:
    from bench.records.transfer import FOLDER, MATRIX, read

    for path in sorted(store.glob(f"{FOLDER}/*/{MATRIX}")):
        found = read(path.parent)
        if found is not None:
            names = ", ".join(found.labels)
            about = f"{names} on {found.data}, {found.budget}, seed {found.seed}, n = {found.examples:,}"
            yield Holding("transfer matrices", found.id, about)


def _curves(store: Path) -> Iterator[Holding]:
    from bench.records.curves import CURVE, FOLDER, SCHEMA, Curve
    from bench.records.documents import read

    for path in sorted(store.glob(f"{FOLDER}/*/{CURVE}")):
        found = read(path, Curve, SCHEMA, "bench curve with --rerun")
        if found is not None:
            first, last = found.points[0], found.points[-1]
            where = f"{found.network.defense} over {found.axis} {first.value} to {last.value} on {found.data}"
            about = f"{where}, {found.norm}, seed {found.seed}: {_percent(last.unbroken)} % at the end"
            yield Holding("curves", found.id, about)


def _detections(store: Path) -> Iterator[Holding]:
    from bench.records.detection import FIGURES, FOLDER, read

    for path in sorted(store.glob(f"{FOLDER}/*/{FIGURES}")):
        found = read(path.parent)
        if found is not None:
            where = f"{found.defense} under {found.suite} on {found.data}, {found.budget}, seed {found.seed}"
            yield Holding("detections", found.id, f"{where}: {len(found.guards)} detectors")


def _shifts(store: Path) -> Iterator[Holding]:
    from bench.records.documents import read
    from bench.records.shift import FOLDER, SCHEMA, Shift

    for path in sorted(store.glob(f"{FOLDER}/*/shift-*.json")):
        found = read(path, Shift, SCHEMA, "bench shift with --rerun")
        if found is not None:
            parts = [f"{len(found.names)} corruptions"] if found.corrupted else []
            parts += [f"{found.posed.poses} poses"] if found.posed is not None else []
            where = f"{found.network.defense} on {found.data}, seed {found.seed}, n = {found.examples:,}"
            yield Holding("shifts", found.id, f"{where}: {', '.join(parts)}")


def _diagnostics(store: Path) -> Iterator[Holding]:
    from bench.records.diagnostics import FIGURES, FOLDER, read_figures

    for path in sorted(store.glob(f"{FOLDER}/*/{FIGURES}")):
        found = read_figures(path.parent)
        where = f"{found.defense} on {found.data}, {found.budget}, seed {found.seed}"
        yield Holding("diagnostics", found.id, f"{where}: {', '.join(found.kinds)}")


def _percent(share: Interval) -> str:
    return f"{100 * share.value:.1f}"
