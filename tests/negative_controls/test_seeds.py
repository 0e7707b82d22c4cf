"""The zoo over several seeds: its command, what it keeps, what it counts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from zoo import judge
from zoo.animals import CONTROLS
from zoo.judge import Judged, spec_of
from zoo.seeds import over, seeds_of
from zoo.table import counts, matrix, table

ROOT = Path(__file__).parents[2]
HONEST, BROKEN = CONTROLS[0], next(control for control in CONTROLS if control.name == "too_short")


def test_the_command_runs_ours_though_a_package_of_that_name_is_installed(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "__init__.py").touch()
    asked = "import importlib.util as u; print(u.find_spec('tests.negative_controls.__main__').origin)"
    told = subprocess.run(
        [sys.executable, "-c", asked],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(told.stdout.strip()) == Path(__file__).with_name("__main__.py")


@pytest.mark.parametrize("text", ["0", "5:5", "-1:3", "ten", "", "1:2:3"])
def test_what_names_no_seeds_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="names no seeds, expected how many"):
        seeds_of(text)


def test_the_seed_names_the_training_and_the_run() -> None:
    specs = [spec_of(HONEST, seed) for seed in (0, 1)]
    assert specs[0].training.id != specs[1].training.id and specs[0].id != specs[1].id


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What was judged, in order; the verdict is that A8 is broken, without a look."""
    calls: list[tuple[str, int]] = []

    def look(control, store, seed=0):
        calls.append((control.name, seed))
        return Judged(control, seed, {"not-converged": "it would go on"})

    monkeypatch.setattr(judge, "judge", look)
    return calls


def test_a_second_call_goes_on_where_the_first_was_stopped(judged, tmp_path: Path, capsys) -> None:
    found = over([HONEST, BROKEN], range(2), tmp_path)
    stopped = [next(found) for _ in range(3)]
    found = [*over([HONEST, BROKEN], range(2), tmp_path)]
    assert judged == [("standard", 0), ("too_short", 0), ("standard", 1), ("too_short", 1)]
    assert found[:3] == stopped
    told = capsys.readouterr()
    assert told.out == "" and "seed 1, 2 of 2: too_short: as it should be" in told.err
    assert "standard: FALSE not-converged (it would go on)" in told.err


def test_what_other_code_found_is_judged_anew(judged, tmp_path: Path, monkeypatch) -> None:
    [*over([BROKEN], range(1), tmp_path)]
    monkeypatch.setattr("zoo.seeds.source_digests", lambda modules: {"bench.runner.run": "another"})
    [*over([BROKEN], range(1), tmp_path)]
    assert judged == [("too_short", 0)] * 2


def test_the_table_counts_both_mistakes_by_what_chose_and_what_shows() -> None:
    found = [Judged(HONEST, seed, {"left-budget": "it"} if seed == 6 else {}) for seed in range(7)]
    found += [Judged(BROKEN, seed, {} if seed == 1 else {"not-converged": "it"}) for seed in range(7)]
    assert table(found) == (
        "| control | named, seeds 0 to 4 | false alarm, seeds 0 to 4 | named, seeds 5 to 6 | "
        "false alarm, seeds 5 to 6 |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| standard | – | 0 of 5 | – | 1 of 2 |\n"
        "| too_short | 4 of 5 | 0 of 5 | 2 of 2 | 0 of 2 |\n\n"
        "2 controls, 1 of them honest, from seeds 0 to 6: 1 faults missed, 1 false alarms.\n\n"
        "- `too_short`: `not-converged` is missed from 1 of the seeds.\n"
        "- `standard`: `left-budget` is raised from 1 of the seeds.\n"
    )
    assert "| standard | FALSE |  |" in matrix(found) and "| too_short |  | MISSED |" in matrix(found)
    assert counts(found[:1]).startswith("1 controls, 1 of them honest, from seed 0: 0 faults missed")
