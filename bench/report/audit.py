"""An audit as a table, the worst verdict first; and the catalogue of its rules as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from bench.records.record import Check, Record
from bench.records.rules import INDICATORS, RULE_OF, RULES, Rule
from bench.report.render import Cell, Table, TableColumn, escape

VERDICTS = ("block", "warn", "open", "info", "pass")
"""The worst first."""

MEANS: Mapping[str, str] = {
    "block": "the row is kept off boards",
    "warn": "the row is marked",
    "open": "not known yet; the command would tell",
    "info": "good to know; it decides nothing",
    "pass": "nothing was found",
}

COLUMNS = (
    TableColumn("verdict", "verdict"),
    TableColumn("rule", "rule"),
    TableColumn("what must hold: what was found", "found"),
    TableColumn("look closer", "command", only_csv=True),
    TableColumn("run", "run", only_csv=True),
    TableColumn("defense", "defense", only_csv=True),
    TableColumn("suite", "suite", only_csv=True),
    TableColumn("source", "source", only_csv=True),
    TableColumn("indicator of attack failure", "indicator", only_csv=True),
)


def audit_table(record: Record) -> Table:
    """Every rule that was applied to a run; read from its record alone."""
    ordered = sorted(record.audit, key=lambda check: VERDICTS.index(check.verdict))  # stable: catalogue order
    facts = (
        ("run", record.run_id),
        ("data", f"{record.data}, {record.examples} examples"),
        ("budget", record.budget),
        *(
            (f"{verdict}", MEANS[verdict])
            for verdict in VERDICTS
            if any(c.verdict == verdict for c in ordered)
        ),
    )
    return Table(
        f"audit of {record.defense} under {record.suite}",
        COLUMNS,
        tuple(_row(record, check) for check in ordered),
        facts,
        commands=tuple((check.rule, check.command) for check in ordered if check.command),
    )


def tally(checks: Iterable[Check]) -> str:
    """How many rules came to what.

    >>> tally([Check("A1", "pass", ""), Check("A5", "warn", ""), Check("A12", "open", "")])
    '1 warn, 0 block, 1 open of 3'
    """
    held = list(checks)
    count = Counter(check.verdict for check in held)
    return f"{count['warn']} warn, {count['block']} block, {count['open']} open of {len(held)}"


def signs(record: Record) -> set[str]:
    """What marks a record's row: codes of findings, and rules that its audit found broken beyond those."""
    codes = {found.code for found in record.findings}
    told = {RULE_OF.get(code) for code in codes}
    broken = {check.rule for check in record.audit if check.verdict in ("warn", "block")}
    return codes | {f"rule {rule}" for rule in broken - told}


def catalogue() -> str:
    """The rules as a markdown table, as docs/audit.md holds it."""
    head = ("Id", "What must hold", "What is computed, on how many examples", "If not", "Source")
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    for rule in RULES.values():
        cells = (rule.id, rule.title, rule.computed, rule.severity, rule.source)
        lines.append("| " + " | ".join(escape(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def indicators() -> str:
    """The Indicators of Attack Failure and the rules that show them, as docs/audit.md holds them."""
    shown: dict[int, list[Rule]] = {number: [] for number in INDICATORS}
    for rule in RULES.values():
        if rule.indicator is not None:
            shown[rule.indicator].append(rule)
    lines = [
        f"{number}. {title}: {', '.join(rule.id for rule in shown[number])}"
        for number, title in INDICATORS.items()
    ]
    return "\n".join(lines) + "\n"


def _row(record: Record, check: Check) -> tuple[Cell, ...]:
    rule = RULES.get(check.rule)
    indicator = None if rule is None or rule.indicator is None else INDICATORS[rule.indicator]
    return (
        check.verdict,
        check.rule,
        check.detail if rule is None else f"{rule.short}: {check.detail}",
        check.command,
        record.run_id,
        record.defense,
        record.suite,
        None if rule is None else rule.source,
        indicator,
    )
