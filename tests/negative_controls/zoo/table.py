"""The confusion table: controls down, findings across, what is missed and what is a false alarm counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from zoo.animals import CONTROLS, UNSEEN, Control
from zoo.judge import EXAMPLES, Judged
from zoo.seeds import CHOSE

from bench.records.rules import RULE_OF

NAMED, BESIDES, MISSED, FALSE = "●", "○", "MISSED", "FALSE"
"""The fault's own finding; a true consequence; and the two mistakes."""


def page(judged: Sequence[Judged]) -> str:
    """`docs/controls.md`."""
    seen, who = f"{SEEDS}\n\n{table(judged).rstrip()}", f"## Who is who\n\n{catalogue(CONTROLS)}"
    return "\n\n".join([HEAD, matrix(judged), counts(judged), seen, who, unseen()]) + "\n"


def matrix(judged: Sequence[Judged]) -> str:
    """One row for each control, one column for each finding that any of them raises or should."""
    codes = columns(judged)
    head = ["control", *map(str, range(1, len(codes) + 1))]
    rows = [[name, *(mark(found, code) for code in codes)] for name, found in _by_control(judged).items()]
    legend = ", ".join(f"{n} `{code}` ({RULE_OF.get(code, '-')})" for n, code in enumerate(codes, 1))
    return f"{_table(head, rows)}\n\nFindings, with the rule that each breaks: {legend}."


def mark(found: Sequence[Judged], code: str) -> str:
    """What one finding is for one control: a mistake if it is one from any seed."""
    if any(code in one.missed for one in found):
        return MISSED
    if any(code in one.false_alarms for one in found):
        return FALSE
    if not any(code in one.raised for one in found):
        return ""
    return NAMED if code in found[0].control.codes else BESIDES


def columns(judged: Iterable[Judged]) -> list[str]:
    """Every finding that is expected or raised, in the catalogue's order."""
    seen = {code for found in judged for code in (*found.raised, *found.control.codes)}
    return [code for code in RULE_OF if code in seen] + sorted(seen - {*RULE_OF})


def counts(judged: Sequence[Judged]) -> str:
    """The two mistakes, counted over all seeds."""
    honest = sum(found[0].control.is_honest for found in _by_control(judged).values())
    missed, false = (
        sum(map(len, part)) for part in zip(*((f.missed, f.false_alarms) for f in judged), strict=True)
    )
    return (
        f"{len(_by_control(judged))} controls, {honest} of them honest, from {_seeds(judged)}: "
        f"{missed} faults missed, {false} false alarms."
    )


def table(judged: Sequence[Judged]) -> str:
    """How often each control was named, and how often something else was raised.

    The seeds that chose thresholds stand apart from those that only show them.
    """
    chose = [found for found in judged if found.seed < CHOSE]
    groups = [group for group in (chose, [found for found in judged if found.seed >= CHOSE]) if group]
    head = ["control", *(f"{what}, {_seeds(group)}" for group in groups for what in ("named", "false alarm"))]
    rows = [
        [name, *(cell for group in groups for cell in _counted(_by_control(group).get(name, [])))]
        for name in _by_control(judged)
    ]
    wrong = Counter((f.control.name, code, "missed") for f in judged for code in f.missed)
    wrong += Counter((f.control.name, code, "raised") for f in judged for code in f.false_alarms)
    told = [
        f"- `{name}`: `{code}` is {what} from {n} of the seeds." for (name, code, what), n in wrong.items()
    ]
    return "\n\n".join([_table(head, rows), counts(judged), *(["\n".join(told)] if told else [])]) + "\n"


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


def _counted(found: Sequence[Judged]) -> tuple[str, str]:
    """In how many of these seeds a control was named, and in how many it met a false alarm."""

    def share(holds: Callable[[Judged], object]) -> str:
        return f"{sum(bool(holds(one)) for one in found)} of {len(found)}"

    honest = not found or not found[0].control.codes
    return "–" if honest else share(lambda one: not one.missed), share(lambda one: one.false_alarms)


def _by_control(judged: Iterable[Judged]) -> dict[str, list[Judged]]:
    names: dict[str, list[Judged]] = {}
    for found in judged:
        names.setdefault(found.control.name, []).append(found)
    return names


def _seeds(judged: Iterable[Judged]) -> str:
    """Seed 0; seeds 5 to 9."""
    seeds = sorted({found.seed for found in judged})
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


HEAD = f"""# Negative controls

A check that never fires proves nothing, and one that fires at honest work is ignored. So there is a zoo of
defenses and attacks that are broken in a known way, and of honest ones: each is run and audited as a user
would, on {EXAMPLES} digits, and the finding that names its fault must be raised. It lives in
`tests/negative_controls`; `python -m tests.negative_controls --seeds 10 --page` prints this page anew, and a
test runs all of it from one seed.

{NAMED} names the fault, from every seed; {BESIDES} is a true consequence of it, from some; {MISSED} and
{FALSE} (alarm) would be our mistakes, from any. Rules for which an audit attacks are applied to the honest,
and to those whose fault they name."""

SEEDS = f"""## From ten seeds

A training rounds otherwise on another processor, so what is found about a control is a random variable: each
is trained, attacked and audited from several seeds. Thresholds of the checks were chosen by what seeds 0 to
{CHOSE - 1} showed; the others only show what came of it."""
