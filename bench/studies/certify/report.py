"""Certificates as a table and as a figure: a row for each radius, for each defense a curve from each side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.threat import parse_eps
from bench.records.record import Interval
from bench.records.store import write_atomically
from bench.report.names import labels
from bench.report.paper import COLOURS, COLUMN, GRAY, MARKERS, Drawing, paper, plain, require_few, sheet
from bench.report.paper import write as write_figure
from bench.report.render import Cell, ColumnKind, Table, TableColumn, markdown
from bench.report.setting import require_same_ground
from bench.studies.certify.record import Bracket, Certificate, Certified

NUMBERS = (
    *("certificate", "defense", "architecture", "method", "value", "at", "certified", "certified_low"),
    *("certified_high", "certified_count", "stands", "stands_low", "stands_high", "stands_count", "n"),
    *("undecided", "contradicted", "by_luck"),
)
"""Of the CSV: a line for each radius of each certificate, shares as fractions."""

FINE = 601
"""Radii at which curves are drawn: between two measured ones, both ends are what is known there."""


DASHED = (0, (4, 1.5))


def tables(found: Sequence[Certificate]) -> list[Table]:
    """One table, of one certificate or of several side by side."""
    return [certificate_table(found)]


def write(found: Sequence[Certified], folder: Path) -> list[Path]:
    """The table, its numbers, and the figure as a picture and for print, with its caption."""
    with paper():
        drawing = certificate_figure(found)
        picture, numbers, below = write_figure(drawing, folder, "png")
        printed = write_figure(drawing, folder, "pdf")[0]
    table = folder / f"{drawing.name}.md"
    write_atomically(table, markdown(certificate_table([one.record for one in found])).encode())
    return [table, numbers, picture, printed, below]


def certificate_table(found: Sequence[Certificate]) -> Table:
    """Both ends at each radius, of one defense with their intervals, or of several side by side.

    Raises:
        BadValue: they are of different images or norms.
    """
    first = _same_setting(found)
    columns, rows = _alone(first) if len(found) == 1 else _together(found)
    facts = (
        ("defense", ", ".join(labels(found))),
        ("data", f"{first.data}, {first.examples} examples"),
        ("budget", first.budget),
        ("proof", ", ".join(dict.fromkeys(one.proof for one in found))),
        *(("attack", text) for text in dict.fromkeys(_attacks(one) for one in found)),
        ("clean", ", ".join(f"{100 * one.network.clean.value:.1f} %" for one in found)),
        ("recipe", ", ".join(sorted({one.network.recipe for one in found}))),
        ("seed", str(first.seed)),
        ("certificate", ", ".join(one.id for one in found)),
    )
    notes = [
        f"robust accuracy in % over all {first.examples} examples: at least certified, at most unbroken, with"
        " 95 % Wilson intervals; unbroken: by no attack at this radius or a smaller one"
    ]
    for label, one in zip(labels(found), found, strict=True):
        notes += [
            f"{finding.severity}: {label}: {finding.detail} ({finding.code})" for finding in one.findings
        ]
        notes += _of_votes(label, one)
        notes += [f"{label}: {note}" for note in one.notes]
    return Table("certificate", columns, rows, facts, tuple(notes))


def certificate_figure(found: Sequence[Certified], width: float = COLUMN) -> Drawing:
    """For each defense what attacks leave, solid, and what is certified, dashed; what lies between is open.

    Raises:
        BadValue: they cannot be compared, or are more than can be told apart.
    """
    first = _same_setting([one.record for one in found])
    require_few(len(found), "certificates")
    figure = sheet(width, 2.1 + 0.13 * len(found))
    axes = figure.subplots()
    for place, (label, one) in enumerate(zip(labels([one.record for one in found]), found, strict=True)):
        at, stands, certified = _ends(one)
        between = np.linspace(0, at[-1], FINE)
        upper, lower = _at_most(one, between), _at_least(one, between)
        look: dict[str, Any] = {"color": COLOURS[place], "clip_on": False}
        marks: dict[str, Any] = {"linestyle": "none", "marker": MARKERS[place], **look}
        axes.plot(between, upper, label=plain(label), **look)
        axes.plot(between, lower, linestyle=DASHED, **look)
        axes.plot(at, stands, **marks)
        axes.plot(at[1:], certified[1:], markerfacecolor="white", **marks)
        axes.fill_between(between, lower, upper, color=COLOURS[place], alpha=0.12, linewidth=0)
    axes.plot([], [], color=GRAY, marker="o", label="unbroken")
    axes.plot([], [], color=GRAY, marker="o", markerfacecolor="white", linestyle=DASHED, label="certified")
    axes.axvline(float(parse_eps(first.eps)), color=GRAY, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=0)
    axes.set_xlim(0, max(one.record.brackets[-1].at for one in found))
    axes.set_ylim(0, 101)
    axes.set_xlabel(f"{first.norm} radius (pixel units)")
    axes.set_ylabel("robust accuracy (%)")
    axes.grid()
    figure.legend(loc="outside lower center", ncols=2, handlelength=3.4)
    return Drawing("certificate", figure, NUMBERS, _numbers(found), caption([one.record for one in found]))


def caption(found: Sequence[Certificate]) -> str:
    """What to print below the figure: how it was measured, in whole sentences."""
    first, names = found[0], labels(found)
    proofs = "; ".join(f"{label} by {one.proof}" for label, one in zip(names, found, strict=True))
    suites = ", ".join(dict.fromkeys(one.suite for one in found))
    sentences = [
        f"Robust accuracy of {', '.join(names)} on {first.data} (n = {first.examples}, {first.norm}, seed "
        f"{first.seed}): solid and filled, what {suites} leaves unbroken at a radius and all smaller ones; "
        "dashed and hollow, what is certified; the truth lies between, and between measured radii, too.",
        f"Certified: {proofs}.",
        f"The vertical line is the radius of the run, {first.eps}.",
    ]
    for label, one in zip(names, found, strict=True):
        sentences += [f"{finding.code} ({label}): {finding.detail}." for finding in one.findings]
    return " ".join(sentences)


def _attacks(one: Certificate) -> str:
    """By whom, in a line: named attacks with their parameters, the columns of a suite by its name."""
    few = one.suite.partition("@")[0] == "attacks" or len(one.attacks) < 3
    return (
        f"{one.suite}: {'; then '.join(one.attacks)}"
        if few
        else f"{one.suite}, {len(one.attacks)} columns in a row"
    )


def _alone(one: Certificate) -> tuple[tuple[TableColumn, ...], tuple[tuple[Cell, ...], ...]]:
    columns = (
        TableColumn("radius", "value"),
        TableColumn("certified %", "certified", ColumnKind.INTERVAL),
        TableColumn("unbroken %", "unbroken", ColumnKind.INTERVAL),
        TableColumn("undecided", "undecided", ColumnKind.COUNT),
    )
    rows = [(held.value, held.certified, held.stands, held.undecided) for held in one.brackets]
    if not any(held.contradicted for held in one.brackets):
        return columns, tuple(rows)
    more = TableColumn("contradicted", "contradicted", ColumnKind.COUNT)
    counts = [held.contradicted for held in one.brackets]
    return (*columns, more), tuple((*row, count) for row, count in zip(rows, counts, strict=True))


def _together(found: Sequence[Certificate]) -> tuple[tuple[TableColumn, ...], tuple[tuple[Cell, ...], ...]]:
    """A column for each defense: certified to unbroken."""
    columns = (
        TableColumn("radius", "value"),
        *(TableColumn(f"{label} %", label) for label in labels(found)),
    )
    held = [{bracket.value: bracket for bracket in one.brackets} for one in found]
    values = sorted({value for brackets in held for value in brackets}, key=parse_eps)
    return columns, tuple((value, *(_range(each.get(value)) for each in held)) for value in values)


def _range(held: Bracket | None) -> str | None:
    return None if held is None else f"{100 * held.certified.value:.1f} to {100 * held.stands.value:.1f}"


def _of_votes(label: str, one: Certificate) -> list[str]:
    if one.smoothing is None:
        return []
    held = one.smoothing
    return [
        f"{label}: {held.abstained} of {one.examples} abstain; the mean certified radius is "
        f"{held.mean_radius:.3f}; the certificate is of the votes of infinitely many noisy copies"
    ]


def _ends(one: Certified) -> tuple[Any, Any, Any]:
    """Radii, and in % what stands and what is certified there, from the clean images on."""
    brackets, clean = one.record.brackets, one.record.network.clean
    at = np.array([0.0, *(held.at for held in brackets)])
    stands = 100 * np.array([clean.value, *(held.stands.value for held in brackets)])
    certified = 100 * np.array([clean.value, *(held.certified.value for held in brackets)])
    return at, stands, certified


def _at_most(one: Certified, radii: Any) -> Any:
    """Robust accuracy in % at these radii is at most what the largest measured one up to each has left."""
    at, stands, _ = _ends(one)
    return stands[np.searchsorted(at, radii, side="right") - 1]


def _at_least(one: Certified, radii: Any) -> Any:
    """The certified share in %: of smoothing by each example's radius, else of the next measured radius."""
    if one.record.smoothing is not None:
        return np.array([100 * one.of.certified(float(radius), True).mean() for radius in radii])
    at, _, certified = _ends(one)
    return certified[1:][np.searchsorted(at[1:], radii, side="left")]


def _numbers(found: Sequence[Certified]) -> list[tuple[object, ...]]:
    return [
        (
            *(one.id, one.network.defense, one.network.architecture, one.method, held.value, held.at),
            *(*_four(held.certified), *_four(held.stands), held.certified.n),
            *(held.undecided, held.contradicted, held.by_luck),
        )
        for one in (each.record for each in found)
        for held in one.brackets
    ]


def _four(held: Interval) -> tuple[object, ...]:
    return held.value, held.low, held.high, held.count


def _same_setting(found: Sequence[Certificate]) -> Certificate:
    choose = f"bench plot certify NAME... --eps {found[0].eps}"
    return require_same_ground(found, "certificates", _ground, _told, choose)


def _told(one: Certificate) -> str:
    return f"{one.data}, {one.budget}, {one.examples} examples"


def _ground(one: Certificate) -> tuple[object, ...]:
    return one.data_digest, one.budget, one.examples
