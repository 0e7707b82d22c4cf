"""Networks held against each other on the same examples: sentences, tables, and what they do not show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from heapq import nsmallest
from itertools import islice
from typing import Any

from bench.core.paired import holm, mcnemar, paired_difference
from bench.report.networks import ComparedNetwork, Contest, Method, asked, contests
from bench.report.render import Cell, ColumnKind, Marked, Table, TableColumn, percent, points
from bench.report.setting import setting
from bench.report.significance import LEVEL, Pair

METHODS = (
    "a p value of two networks speaks of these weights, not of the methods that made them: give three seeds "
    "of each (Dietterich, Neural Computation 1998; Bouthillier et al., MLSys 2021)"
)
"""What a reader must know where a method has one seed."""

READ = 100
"""How many networks a matrix shows, and pairs a list or sentences tell: JSON has all of them."""


def sentence(pair: Pair, n_pairs: int) -> str:
    """Two networks in a sentence, with the counts that the test rests on.

    >>> from bench.core.paired import Difference
    >>> sentence(Pair("a", "b", Difference(12, 5, 500, -0.002, 0.03), 0.14, 0.14), 1)
    'a keeps 12 of 500 examples that b loses, and loses 5 that it keeps: +1.4 points [-0.2, +3.0], exact \
McNemar p = 0.14: no significant difference'
    """
    d = pair.difference
    told = f"{pair.one} keeps {d.won:,} of {d.n:,} examples that {pair.other} loses, and loses {d.lost:,} "
    told += f"that it keeps: {points(d).replace(' [', ' points [')}, exact McNemar {shown(pair.p)}"
    if n_pairs > 1:
        told += f", {shown(pair.adjusted).removeprefix('p = ')} by Holm over {n_pairs} pairs"
    if not pair.significant:
        return f"{told}: no significant difference"
    return f"{told}: {pair.one if d.value > 0 else pair.other} is better"


def untested(one: ComparedNetwork, other: ComparedNetwork) -> str:
    """Two networks of which one is not known by example: what their intervals say, and what is missing."""
    lacking = [network for network in (one, other) if network.held is None]
    missing = " and ".join(f"{network.name} ({network.record.run_id})" for network in lacking)
    a, b = one.record.worst_case, other.record.worst_case
    if a is None or b is None:
        return f"{one.name} and {other.name} cannot be compared: one of them has no worst case"
    apart = a.low > b.high or b.low > a.high
    verdict = "they lie apart, so it is more than chance" if apart else "they overlap, so nothing is shown"
    return (
        f"{one.name} keeps {percent(a)} %, {other.name} {percent(b)} %: no pairs can be tested, because the "
        f"verdicts of single examples are missing for {missing}, only the 95 % intervals: {verdict}; "
        "bench run keeps them with every new record"
    )


def over_seeds(contest: Contest, count: int) -> str:
    """Two methods in a sentence."""
    told = f"over seeds, {contest.one.name} has {contest.one.told} and {contest.other.name} "
    told += f"{contest.other.told}: {100 * contest.difference:+.1f} points"
    if contest.p is None or contest.adjusted is None:
        return f"{told}; no seed differs from another, so nothing can be tested"
    told += f", Welch's t {shown(contest.p)}"
    if count > 1:
        told += f", {shown(contest.adjusted).removeprefix('p = ')} by Holm over {count} pairs of methods"
    if contest.adjusted >= LEVEL:
        return f"{told}: no significant difference"
    return f"{told}: {(contest.one if contest.difference > 0 else contest.other).name} is better"


def shown(p: float) -> str:
    """A p value as papers print it.

    >>> shown(0.1435), shown(0.00004), shown(1.0)
    ('p = 0.14', 'p < 0.0001', 'p = 1')
    """
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}"


def column_table(one: ComparedNetwork, other: ComparedNetwork) -> Table:
    """Two networks column by column, with Holm over the columns; the worst case is a question of its own."""
    names = [name for name in one.columns if name in other.columns]
    held = [(name, one.columns[name], other.columns[name]) for name in names]
    tests = [paired_difference(ours, theirs) for _, ours, theirs in held]
    adjusted = holm([mcnemar(test.won, test.lost) for test in tests])
    rows: list[tuple[Cell, ...]] = []
    for (name, ours, theirs), test, p in zip(held, tests, adjusted, strict=True):
        shares = float(ours.mean()), float(theirs.mean())
        rows.append((name, *shares, test.won, test.lost, test, mcnemar(test.won, test.lost), _mark(p)))
    if one.held is not None and other.held is not None:
        test = paired_difference(one.held, other.held)
        p = mcnemar(test.won, test.lost)
        shares = float(one.held.mean()), float(other.held.mean())
        rows.append(("worst case", *shares, test.won, test.lost, test, p, _mark(p)))
    columns = (
        TableColumn("column", "column"),
        TableColumn(f"{one.name} %", "one", ColumnKind.SHARE),
        TableColumn(f"{other.name} %", "other", ColumnKind.SHARE),
        TableColumn(f"only {one.name} keeps", "won", ColumnKind.COUNT, dispensable=2),
        TableColumn(f"only {other.name} keeps", "lost", ColumnKind.COUNT, dispensable=2),
        TableColumn("difference in points", "difference", ColumnKind.DIFFERENCE),
        TableColumn("p", "p", dispensable=1),
        TableColumn("p by Holm", "p_holm"),
    )
    plain = tuple((*row[:6], f"{row[6]:.2g}", row[7]) for row in rows)
    over = f"; by Holm over the {len(names)} columns, the worst case by itself" if names else ""
    notes = (f"p: exact McNemar{over}; *: under {LEVEL}",)
    return Table(f"{one.name} against {other.name}", columns, plain, _facts([one, other]), notes)


def pair_table(groups: Sequence[Method], found: Sequence[Pair]) -> Table:
    """The pairs, the surest difference first; of many the surest hundred."""
    columns = (
        TableColumn("one", "one"),
        TableColumn("other", "other"),
        TableColumn("only one keeps", "won", ColumnKind.COUNT, dispensable=2),
        TableColumn("only other keeps", "lost", ColumnKind.COUNT, dispensable=2),
        TableColumn("difference in points", "difference", ColumnKind.DIFFERENCE),
        TableColumn("p", "p", dispensable=1),
        TableColumn("p by Holm", "p_holm"),
    )
    ordered = surest(found)
    rows = tuple(
        (p.one, p.other, p.difference.won, p.difference.lost, p.difference, f"{p.p:.2g}", _mark(p.adjusted))
        for p in ordered
    )
    networks = [network for group in groups for network in group.networks]
    notes = [f"p: exact McNemar on the same examples; by Holm over {len(found):,} pairs; *: under {LEVEL}"]
    if len(found) > READ:
        sure = sum(pair.significant for pair in found)
        notes.append(f"the surest {READ} of {len(found):,} pairs, of which {sure:,} have a *; --json has all")
    title = (
        "all pairs in the worst case" if len(found) <= READ else f"the surest {READ} pairs in the worst case"
    )
    return Table(title, columns, rows, _facts(networks), tuple(notes))


def surest(found: Sequence[Pair]) -> list[Pair]:
    """The pairs of the least p values, at most a hundred; of equal ones the larger difference first."""
    return nsmallest(READ, found, lambda pair: (pair.p, -abs(pair.difference.value), pair.one, pair.other))


def matrix_table(groups: Sequence[Method], found: Sequence[Pair]) -> Table:
    """What each row keeps more than each column, in points; a star where it is more than chance."""
    networks = [network for group in groups for network in group.networks]
    cells: dict[tuple[str, str], Cell] = {}
    for pair in found:
        mark = "*" if pair.significant else " "
        value = 100 * pair.difference.value
        cells[pair.one, pair.other] = Marked(f"{value:+.1f}", mark)
        cells[pair.other, pair.one] = Marked(f"{-value + 0.0:+.1f}", mark)
    columns = (
        TableColumn("", "place", ColumnKind.COUNT),
        TableColumn("network", "network"),
        TableColumn("worst case %", "worst_case", ColumnKind.INTERVAL),
        *(
            TableColumn(str(place), network.name, ColumnKind.SHARE)
            for place, network in enumerate(networks, start=1)
        ),
    )
    rows = tuple(
        (place, one.name, one.record.worst_case, *(cells.get((one.name, other.name)) for other in networks))
        for place, one in enumerate(networks, start=1)
    )
    notes = (
        "a cell: what the row keeps more than the network of that number, in points, between methods; "
        f"*: exact McNemar, by Holm over {len(found)} pairs, under {LEVEL}",
    )
    return Table("differences in the worst case", columns, rows, _facts(networks), notes)


def told(groups: Sequence[Method], found: Sequence[Pair]) -> list[str]:
    """The sentences that the tables rest on, and what they leave open; of many pairs the surest hundred."""
    lines = [sentence(pair, len(found)) for pair in (found if len(found) <= READ else surest(found))]
    if len(found) > READ:
        lines.append(f"the surest {READ} of {len(found):,} pairs are told")
    networks = {network.name: network for group in groups for network in group.networks}
    unknown = {name for name, network in networks.items() if network.held is None}
    open_pairs = ((a, b) for a, b in asked(groups) if a in unknown or b in unknown) if unknown else ()
    lines += [untested(networks[a], networks[b]) for a, b in islice(open_pairs, READ)]
    return lines + told_of_methods(groups)


def told_of_methods(groups: Sequence[Method]) -> list[str]:
    """Sentences on methods of several seeds, of many pairs the surest hundred; and what one seed is worth."""
    several = contests(groups)
    clear = nsmallest(READ, several, lambda contest: 2.0 if contest.p is None else contest.p)
    lines = [over_seeds(contest, len(several)) for contest in (several if len(several) <= READ else clear)]
    if len(several) > READ:
        lines.append(f"the surest {READ} of {len(several):,} pairs of methods are told; --json has all")
    if any(len(group.networks) == 1 for group in groups) and len(groups) > 1:
        lines.append(METHODS)
    return lines


def comparison_json(groups: Sequence[Method], found: Sequence[Pair]) -> dict[str, Any]:
    """The same as plain data; shares are fractions."""
    first = groups[0].networks[0].record
    return {
        "data": first.data,
        "norm": first.norm,
        "eps": first.eps,
        "examples": first.examples,
        "suite": first.suite,
        "methods": [
            {
                "name": group.name,
                "runs": [network.record.run_id for network in group.networks],
                "seeds": [network.record.seed for network in group.networks],
                "worst_case": [network.accuracy / 100 for network in group.networks],
            }
            for group in groups
        ],
        "pairs": [
            {
                "one": pair.one,
                "other": pair.other,
                **asdict(pair.difference),
                "difference": pair.difference.value,
                "p": pair.p,
                "p_holm": pair.adjusted,
                "significant": pair.significant,
            }
            for pair in found
        ],
        "over_seeds": [_plain(contest) for contest in contests(groups)],
        "told": told(groups, found),
    }


def _plain(contest: Contest) -> dict[str, Any]:
    names = {"one": contest.one.name, "other": contest.other.name}
    return {**names, "difference": contest.difference, "p": contest.p, "p_holm": contest.adjusted}


def _facts(networks: Sequence[ComparedNetwork]) -> tuple[tuple[str, str], ...]:
    first = networks[0].record
    recipes = {network.record.recipe for network in networks}
    runs = [network.record.run_id for network in networks]
    return (
        ("data", f"{first.data}, {first.examples:,} examples, the same for all"),
        ("budget", setting(first).label.split(", ")[1]),
        ("suite", first.suite + (" (custom)" if first.custom else "")),
        ("architecture", ", ".join(sorted({network.record.architecture for network in networks}))),
        ("recipe", ", ".join(sorted(recipes))),
        ("runs", ", ".join(runs) if len(runs) <= READ else f"{len(runs):,}, in --json"),
    )


def _mark(p: float) -> Marked:
    return Marked(f"{p:.2g}", "*" if p < LEVEL else "")
