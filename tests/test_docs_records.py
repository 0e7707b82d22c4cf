"""The figures that documents print are those of the records beside them."""

import json
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


def table(page, head):
    """Rows [cells] of the table whose head begins so, its head first."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {head}"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
    return [rows[0], *rows[2:]]


def records(pattern):
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((DOCS / "records").glob(pattern))]


DETECTIONS = {held["networks"][0]["defense"]: held for held in records("detection/*/detection.json")}
CURVES = {held["networks"][0]["defense"]: held for held in records("curves/*/curve.json")}
SHIFTS = {held["networks"][0]["defense"]: held for held in records("shift/*/shift.json")}


def percent(share):
    return f"{100 * share:.1f}"


@pytest.mark.parametrize("number", range(1, 5))
def test_detectors_find_what_the_page_says(number):
    head, *rows = table("detection.md", "AUROC %, task")
    held = {
        one["detector"]: one
        for one in DETECTIONS[head[number]]["separations"]
        if one["task"] == "wrong" and one["attack"] == "pgd_20" and one["images"] == "all"
    }
    told = {row[0]: row[number] for row in rows}
    assert set(held) <= set(told)
    for detector, one in held.items():
        found = one["auroc"]
        bounds = f"{percent(found['value'])} [{percent(found['low'])}, {percent(found['high'])}]"
        assert told[detector] == bounds, detector
    wrong = next(cell for name, cell in told.items() if name.startswith("wrong of"))
    assert {one["positives"] for one in held.values()} == {int(wrong)}


@pytest.mark.parametrize("name", sorted(DETECTIONS))
def test_joint_accuracy_is_what_the_page_says(name):
    head, *rows = table("detection.md", "5 % false positives")
    first = next(number for number, cell in enumerate(head) if cell.replace("`", "") == f"{name} clean")
    told = {row[0]: row[first : first + 3] for row in rows}
    for guard in DETECTIONS[name]["guards"]:
        shares = (guard["clean"], guard["robust"]["pgd_20"], guard["aware"])
        assert told[guard["detector"]] == [percent(share["value"]) for share in shares]


@pytest.mark.parametrize("number", range(1, 4))
def test_what_was_measured_beyond_the_budget_is_what_the_page_says(number):
    head, *rows = table("beyond.md", "| pgd_at")
    name = head[number]
    told = {row[0]: row[number] for row in rows}
    at = {point["at"]: percent(point["robust"]["value"]) for point in CURVES[name]["points"]}
    assert told.pop("clean") == at[0.0]
    for row in [row for row in told if row.startswith("eps ")]:
        radius = float(re.match(r"eps ([\d.]+)", row)[1])
        assert told.pop(row) == at.get(radius, "-"), row
    shift = SHIFTS[name]
    of = {}
    for one in shift["corrupted"]:
        of.setdefault(one["name"], []).append(one["accuracy"]["value"])
    of = {corruption: sum(shares) / len(shares) for corruption, shares in of.items()}
    assert sum(of.values()) / len(of) == pytest.approx(shift["mean"]["value"], abs=1e-6)
    assert told.pop(f"mean of {len(of)} corruptions") == percent(shift["mean"]["value"])
    assert float(told.pop("random pose")) == pytest.approx(
        100 * shift["posed"]["random"]["value"], abs=0.0501
    )
    assert told.pop("worst of 775 poses") == percent(shift["posed"]["worst"]["value"])
    for corruption, cell in told.items():
        assert cell == percent(of[corruption]), corruption
