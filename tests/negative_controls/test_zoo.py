"""Every broken control raises the finding that names its fault; honest ones raise none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from zoo.animals import CONTROLS, UNSEEN, Control
from zoo.judge import Judged, judge
from zoo.table import catalogue, matrix, unseen

from bench.records.rules import RULE_OF

PAGE = Path(__file__).parents[2] / "docs" / "controls.md"

QUICK = (
    *(
        "standard",
        "linear",
        "rounded_images",
        "one_hot",
        "probabilities",
        "normalised_outside",
        "turned_round",
        "one_answer",
    ),
    *("noise_off_the_grid", "remembers", "sees_derivatives", "last_iterate", "leaves_ball", "not_a_number"),
    *("adapts_to_batch", "wrong_way"),
)
"""A moment each; the others are slow together."""

SEEDS = r"named, seeds (\d+) to (\d+)"
"""A group of seeds in the head of the page's table."""

Verdict = Callable[[Control], Judged]


@pytest.fixture(scope="session")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Verdict]:
    """Control -> what was found about it; networks are trained once, and `-s` prints the table."""
    store, found = tmp_path_factory.mktemp("zoo"), {}

    def look(control: Control) -> Judged:
        if control.name not in found:
            found[control.name] = judge(control, store)
        return found[control.name]

    yield look
    if found:
        print("\n" + matrix(list(found.values())))


@pytest.mark.parametrize(
    "control",
    [
        pytest.param(control, id=control.name, marks=() if control.name in QUICK else pytest.mark.slow)
        for control in CONTROLS
    ],
)
def test_its_fault_is_named_and_nothing_else_is(verdict: Verdict, control: Control) -> None:
    found = verdict(control)
    assert not found.missed, f"nobody saw that {control.fault}"
    assert not found.false_alarms, [found.told[code] for code in found.false_alarms]


@pytest.mark.slow
@pytest.mark.parametrize("control", UNSEEN, ids=lambda control: control.name)
def test_what_no_check_sees_is_told_as_soon_as_one_does(verdict: Verdict, control: Control) -> None:
    assert not verdict(control).false_alarms, "a check sees it now: it belongs among the others"


def test_every_expected_finding_is_in_the_catalogue_of_rules() -> None:
    expected = {code for control in CONTROLS for code in (*control.codes, *control.also)}
    assert expected <= {*RULE_OF}


def test_no_two_controls_have_one_name() -> None:
    names = [control.name for control in (*CONTROLS, *UNSEEN)]
    assert len(names) == len({*names}) >= 30


def test_the_page_lists_these_controls_and_no_mistake() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert catalogue(CONTROLS) in page and unseen() in page, (
        "python -m tests.negative_controls --seeds 10 --page > docs/controls.md"
    )
    assert re.search(
        r"\d+ controls, \d+ of them honest, from seeds 0 to 9: 0 faults missed, 0 false alarms", page
    )


def test_the_page_shows_every_control_from_all_its_seeds() -> None:
    """Five seeds chose thresholds, others show them: each control is named from all, and nothing else is."""
    page = PAGE.read_text(encoding="utf-8").partition("## From ten seeds")[2].partition("## Who is who")[0]
    groups = [int(last) + 1 - int(first) for first, last in re.findall(SEEDS, page)]
    assert groups == [5, 5]
    for control in CONTROLS:
        cells = [f"{'–' if control.is_honest else f'{n} of {n}'} | 0 of {n}" for n in groups]
        assert f"| {control.name} | {' | '.join(cells)} |\n" in page
