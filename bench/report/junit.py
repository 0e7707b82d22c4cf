"""A run as JUnit XML, which forges show beside a change: a test case for each column and the worst case."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from bench.core.text import listed
from bench.records.record import Column, Finding, Record
from bench.report.render import percent
from bench.report.suites import lacking, over_suites
from bench.report.table import WORST


def junit(record: Record, missed: str | None = None) -> str:
    """The document; `missed` says what the worst case is below.

    A column that failed is an error, one that was skipped is skipped. What blocks the record from boards and
    what was missed are failures of the worst case.
    """
    return _as_text(_suite(record, missed))


def junit_of_suites(records: Sequence[Record], missed: str | None = None) -> str:
    """The same of several suites, one after the other, and of the worst case over all of them."""
    row = over_suites(records)
    named = f"{records[0].defense} under {listed([record.suite for record in records])}"
    found = ET.Element("testsuites", {"name": _plain(named)})
    found.extend(_suite(record, None) for record in records)
    why = lacking(row)
    counts = {"tests": "1", "failures": str(int(missed is not None)), "errors": str(int(why is not None))}
    whole = ET.SubElement(found, "testsuite", {"name": _plain(named), **counts, "skipped": "0"})
    case = ET.SubElement(whole, "testcase", {"classname": _plain(records[0].data), "name": WORST})
    if why is not None:
        ET.SubElement(case, "error", {"message": _plain(why), "type": "attack"})
    elif missed is not None:
        ET.SubElement(case, "failure", {"message": _plain(missed), "type": "robustness"})
    elif row.in_all is not None:
        ET.SubElement(case, "system-out").text = f"robust accuracy {percent(row.in_all)} %"
    return _as_text(found)


def _suite(record: Record, missed: str | None) -> ET.Element:
    blocks = [finding for finding in record.findings if finding.severity == "block"]
    suite = ET.Element("testsuite", _counts(record, bool(blocks or missed)))
    facts = ET.SubElement(suite, "properties")
    for name, value in _facts(record):
        ET.SubElement(facts, "property", {"name": name, "value": _plain(value)})
    for column in record.columns:
        _add_column(suite, record, column)
    _add_worst_case(suite, record, blocks, missed)
    return suite


def _as_text(found: ET.Element) -> str:
    ET.indent(found)
    return ET.tostring(found, encoding="unicode", xml_declaration=True) + "\n"


def _counts(record: Record, failed: bool) -> dict[str, str]:
    return {
        "name": _plain(f"{record.defense} under {record.suite}"),
        "tests": str(len(record.columns) + 1),
        "failures": str(int(failed)),
        "errors": str(sum(column.error is not None for column in record.columns)),
        "skipped": str(sum(column.skipped is not None for column in record.columns)),
        "time": f"{record.provenance.seconds:.3f}",
        "timestamp": record.provenance.started,
    }


def _facts(record: Record) -> list[tuple[str, str]]:
    found = [("run", record.run_id), ("data", record.data), ("examples", str(record.examples))]
    found += [("budget", record.budget), ("seed", str(record.seed))]
    if record.worst_case is not None:
        found.append(("worst case", percent(record.worst_case)))
    return found


def _add_column(suite: ET.Element, record: Record, column: Column) -> None:
    case = _case(suite, record, column.name, column.seconds)
    if column.error is not None:
        ET.SubElement(case, "error", {"message": _plain(column.error), "type": "attack"})
    elif column.skipped is not None:
        ET.SubElement(case, "skipped", {"message": _plain(column.skipped)})
    elif column.robust is not None:
        ET.SubElement(case, "system-out").text = f"robust accuracy {percent(column.robust)} %"


def _add_worst_case(suite: ET.Element, record: Record, blocks: list[Finding], missed: str | None) -> None:
    case = _case(suite, record, WORST, 0.0)
    told = [f"{finding.code}: {finding.detail}" for finding in blocks] + ([missed] if missed else [])
    if told:
        failure = ET.SubElement(case, "failure", {"message": _plain("; ".join(told)), "type": "robustness"})
        failure.text = _plain("\n".join(told))
    elif record.worst_case is not None:
        ET.SubElement(case, "system-out").text = f"robust accuracy {percent(record.worst_case)} %"


def _case(suite: ET.Element, record: Record, name: str, seconds: float) -> ET.Element:
    place = f"{record.data}.{record.suite}"
    return ET.SubElement(
        suite, "testcase", {"classname": _plain(place), "name": _plain(name), "time": f"{seconds:.3f}"}
    )


def _plain(text: str) -> str:
    """The text without what XML 1.0 has no sign for, such as the colours of a terminal."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)
