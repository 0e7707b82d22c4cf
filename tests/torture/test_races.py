"""Several processes in one store at once, and one of them or one of its workers killed."""

from __future__ import annotations

import sys

import pytest
from harness.races import RACES
from harness.workers import ENGINES, lacking

linux = pytest.mark.skipif(sys.platform != "linux", reason="the harness reads /proc and forks")


@linux
@pytest.mark.slow
def test_whoever_comes_first_or_is_killed_the_results_are_the_same(torture):
    done = torture("--short", *(word for name in RACES for word in ("--race", name)))
    assert {found["scenario"] for found in done} == set(RACES)
    wrong = [f"{f['scenario']}, {f['kind']} at {f['operation']}: {f['faults']}" for f in done if f["faults"]]
    assert not wrong, "\n".join(wrong)


@linux
@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_a_killed_worker_and_a_killed_driver_lose_nothing(torture, engine):
    package = lacking(engine)
    if package is not None:
        pytest.skip(f"{package} is not installed")
    done = torture("--short", "--workers", "--engine", engine)
    assert tuple(found["kind"] for found in done) == ENGINES[engine]
    assert not [found["faults"] for found in done if found["faults"]]
