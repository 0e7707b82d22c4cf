"""The confusion table: controls down, findings across, what is missed and what is a false alarm counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from zoo.animals import CONTROLS, UNSEEN, Control
from zoo.judge import EXAMPLES, Judged

from bench.core.rules import RULE_OF

NAMED, BESIDES, MISSED, FALSE = "●", "○", "MISSED", "FALSE"
"""The fault's own finding; a true consequence; and the two mistakes."""


def page(judged: Sequence[Judged]) -> str:
    """`docs/controls.md`."""
    return (
        "\n\n".join([HEAD, matrix(judged), counts(judged), "## Who is who", catalogue(CONTROLS), unseen()])
        + "\n"
    )


def matrix(judged: Sequence[Judged]) -> str:
    """One row for each control, one column for each finding that any of them raises or should."""
    codes = columns(judged)
    head = ["control", *map(str, range(1, len(codes) + 1))]
    rows = [[found.control.name, *(mark(found, code) for code in codes)] for found in judged]
    legend = ", ".join(f"{n} `{code}` ({RULE_OF.get(code, '-')})" for n, code in enumerate(codes, 1))
    return f"{_table(head, rows)}\n\nFindings, with the rule that each breaks: {legend}."


def mark(found: Judged, code: str) -> str:
    """What one finding is for one control."""
    if code in found.missed:
        return MISSED
    if code in found.false_alarms:
        return FALSE
    if code not in found.raised:
        return ""
    return NAMED if code in found.control.codes else BESIDES


def columns(judged: Iterable[Judged]) -> list[str]:
    """Every finding that is expected or raised, in the catalogue's order."""
    seen = {code for found in judged for code in (*found.raised, *found.control.codes)}
    return [code for code in RULE_OF if code in seen] + sorted(seen - {*RULE_OF})


def counts(judged: Sequence[Judged]) -> str:
    """The two mistakes, counted."""
    honest = sum(found.control.is_honest for found in judged)
    missed, false = (
        sum(map(len, part)) for part in zip(*((f.missed, f.false_alarms) for f in judged), strict=True)
    )
    return f"{len(judged)} controls, {honest} of them honest: {missed} faults missed, {false} false alarms."


def catalogue(controls: Iterable[Control]) -> str:
    """What each control is."""
    head = ["control", "its fault", "shown by", "named by"]
    rows = [
        [c.name, c.fault, c.shown_by, ", ".join(f"`{code}`" for code in c.codes) or "nothing"]
        for c in controls
    ]
    return _table(head, rows)


def unseen() -> str:
    """What no check sees yet."""
    told = "\n".join(f"- `{c.name}`: {c.fault}." for c in UNSEEN)
    return f"## What no check sees yet\n\n{told}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


HEAD = f"""# Negative controls

A check that never fires proves nothing, and one that fires at honest work is ignored. So there is a zoo of
defenses and attacks that are broken in a known way, and of honest ones: each is run and audited as a user
would, on {EXAMPLES} digits, and the finding that names its fault must be raised. It lives in
`tests/negative_controls`; `python tests/negative_controls` prints this page anew, and a test runs all of it.

{NAMED} names the fault; {BESIDES} is a true consequence of it; {MISSED} and {FALSE} (alarm) would be our
mistakes. Rules for which an audit attacks are applied to the honest, and to those whose fault they name."""
