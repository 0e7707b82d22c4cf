"""Published robust accuracy beside what was measured here, a line for each defense."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.lines import Line2D

from bench.errors import BadValue
from bench.records.claims import Claim, claim_of
from bench.records.claims import claims as published
from bench.records.record import Interval, Record
from bench.report.names import pretty
from bench.report.paper import COLOURS, COLUMN, Drawing, plain, sheet
from bench.report.setting import require_alike, setting, suite_label

COLUMNS = (
    *("defense", "run", "seed", "kind", "architecture", "attack"),
    *("robust_accuracy", "low", "high", "n", "source"),
)
"""Of the CSV: a line for each training (kind "this") and for each published number."""


def claims(records: Sequence[Record], width: float = COLUMN) -> Drawing:
    """Every defense with a published number for its data and radius: published hollow, measured filled.

    Raises:
        BadValue: none has one, or the records cannot be compared.
    """
    require_alike(records)
    held = [record for record in records if claim_of(record) is not None]
    if not held:
        first = records[0]
        raise BadValue(
            f"no robust accuracy of {', '.join(dict.fromkeys(r.defense for r in records))} is published for "
            f"{first.data}, {first.budget}, expected a defense, data and radius that defenses/claims.csv has"
        )
    names = sorted({record.defense for record in held}, key=lambda name: -_highest(held, name))
    figure = sheet(width, 0.75 + 0.2 * len(names))
    axes = figure.subplots()
    rows: list[tuple[object, ...]] = []
    for line, name in enumerate(names):
        own = [record for record in held if record.defense == name]
        said = _published(own[0])
        values = [100 * claim.robust for claim in said] + [100 * _worst(record).value for record in own]
        axes.hlines(line, min(values), max(values), color="#CCCCCC", linewidth=1.5, zorder=0)
        for record in own:
            robust = _worst(record)
            axes.hlines(line, 100 * robust.low, 100 * robust.high, color=COLOURS[0], linewidth=1.0)
            axes.plot(100 * robust.value, line, "o", color=COLOURS[0], clip_on=False)
            rows.append(_row(record))
        for claim in said:
            look = _LOOKS[claim.kind]
            hollow: dict[str, Any] = {"color": COLOURS[1], "mfc": "none", "markersize": 5}
            axes.plot(100 * claim.robust, line, look, clip_on=False, zorder=5, **hollow)
            rows.append(_claim_row(claim))
    axes.set_yticks(range(len(names)), [plain(pretty(name)) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 101)
    axes.set_xlabel("robust accuracy (%)")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    handles = [
        Line2D([], [], color=COLOURS[0], marker="o", linewidth=1.0, label="measured here"),
        *(
            Line2D([], [], color=COLOURS[1], mfc="none", marker=look, linestyle="none", label=label)
            for look, label in (("D", "claimed"), ("s", "measured by others"), ("^", "retrained by others"))
        ),
    ]
    across = 2 if width == COLUMN else 3
    figure.legend(handles=handles, loc="outside lower center", ncols=across, handletextpad=0.3)
    return Drawing("claims", figure, COLUMNS, rows, _caption(held))


_LOOKS = {"claimed": "D", "measured": "s", "retrained": "^"}


def _published(record: Record) -> list[Claim]:
    """The authors' number, and the lowest that others measured on their networks, and on their own."""
    same = claim_of(record)
    assert same is not None
    ground_of = (same.defense, same.data, same.norm, same.eps)
    every = [
        claim for claim in published() if (claim.defense, claim.data, claim.norm, claim.eps) == ground_of
    ]
    found = []
    for kind in _LOOKS:
        of_kind = [claim for claim in every if claim.kind == kind]
        found += [min(of_kind, key=lambda claim: claim.robust)] if of_kind else []
    return found


def _worst(record: Record) -> Interval:
    assert record.worst_case is not None
    return record.worst_case


def _highest(records: Sequence[Record], name: str) -> float:
    return max(_worst(record).value for record in records if record.defense == name)


def _row(record: Record) -> tuple[object, ...]:
    robust = _worst(record)
    who = (record.defense, record.run_id, record.seed, "this", record.architecture, suite_label(record))
    return (*who, robust.value, robust.low, robust.high, robust.n, None)


def _claim_row(claim: Claim) -> tuple[object, ...]:
    who = (claim.defense, None, None, claim.kind, claim.architecture, claim.attack)
    return (*who, claim.robust, None, None, None, claim.source)


def _caption(records: Sequence[Record]) -> str:
    first = records[0]
    made = sorted({f"{r.architecture} by {r.recipe}" for r in records if r.training})
    return (
        f"Robust accuracy measured here (worst case of {suite_label(first)}, lines: 95 % Wilson intervals, "
        f"{', '.join(made)}) and published: claimed by the authors, and the lowest that others measured on "
        "their networks, which are other architectures and trainings; gray: from the lowest to the highest. "
        f"{setting(first).label}."
    )
