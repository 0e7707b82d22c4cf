"""What a reader of a board must know: what the marks of its rows mean, and what the rank is by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.core.text import listed
from bench.core.traits import ANSWERED_BY
from bench.records.claims import Claim
from bench.report.render import percent
from bench.report.rows import BoardRow

_WHO = {
    "claimed": "claimed by its authors",
    "measured": "measured by others",
    "retrained": "trained and measured by others",
}


def footnotes(
    rows: Sequence[BoardRow],
    suites: Sequence[str],
    marks: Mapping[str, str],
    claims: Mapping[str, Claim],
    others: bool,
) -> tuple[str, ...]:
    """The sentences below a board, in order; suites: those of its records; others: published rows, too."""
    notes = []
    for defense, mark in marks.items():
        text = next(row.first.reconstruction for row in rows if row.first.defense == defense)
        notes.append(f"{mark.strip()} {defense} is a reconstruction: {text}")
    for row in rows:
        if row.missing:
            why = "; ".join(f"{suite} {what}" for suite, what in row.missing.items())
            notes.append(f"! {row.name} is ranked after the complete rows: {why}")
    for row in rows:
        if row.owed:
            lacking = "; ".join(f"{trait} asks for {ANSWERED_BY[trait]}" for trait in row.owed)
            notes.append(f"* {row.name} owes an adaptive attack: {lacking} (--suite adaptive)")
    notes += [_told_of_more(row) for row in rows if row.met_more]
    notes += [f"{row.masked.code}: {row.name}: {row.masked.detail}" for row in rows if row.masked]
    for defense, claim in sorted(claims.items()):
        who = _WHO[claim.kind]
        notes.append(
            f"published: {defense} keeps {100 * claim.robust:.1f} % under {claim.attack} on "
            f"{claim.architecture}, {who} ({claim.source})"
        )
    if claims:
        notes.append("difference: lowest minus published, in points; other weights, often other networks")
    if any(record.imported for row in rows for record in row.records):
        notes.append("best known: the lowest number, with images that others made and bench import judged")
    if any(row.first.trained_at for row in rows):
        notes.append(
            "trained at: the budget in training, of its attacks and of the choice of the epoch; "
            "it need not be the board's"
        )
    if others:
        notes.append(
            "(published): figures from files in RobustBench's form, behind which no record here stands; "
            "never ranked"
        )
    notes.append(
        f"{_told_of_rank(rows, suites)}; accuracies are over all n examples, with 95 % Wilson intervals"
    )
    notes.append("forwards and backwards: per example, all trials together; seconds: of the attacks")
    return tuple(notes)


def _told_of_more(row: BoardRow) -> str:
    assert row.shared is not None and row.lowest is not None
    spared = {
        suite: found[0].value for suite, found in row.worst.items() if found and suite not in row.counted
    }
    by = listed([suite for suite, value in spared.items() if value == row.lowest]) or "images of others"
    told = f"+ {row.name} falls to {100 * row.lowest:.1f} % under {by}, which not all rows met"
    figure = f"{percent(row.shared)} %, its worst case over the suites that count"
    if row.has_a_hole:
        return f"{told}: that is below all of {figure}, so it is ranked by it"
    return f"{told}; it is ranked by {figure}"


def _told_of_rank(rows: Sequence[BoardRow], suites: Sequence[str]) -> str:
    """Which suites count, and which do not."""
    if len(suites) == 1:
        return "rank: by the worst case"
    of_all = [suite for suite in suites if all(suite in row.counted for row in rows)]
    of_some = [suite for suite in suites if any(suite in row.counted for row in rows) and suite not in of_all]
    of_none = [suite for suite in suites if suite not in of_all + of_some]
    told = f"rank: by the lowest worst case over {listed(of_all)}"
    if of_some:
        told += f", and {listed(of_some)} where a defense is made of what asks for it"
    if of_none:
        told += f"; {listed(of_none)}, which too few rows met, only where a note says so (+)"
    return told
