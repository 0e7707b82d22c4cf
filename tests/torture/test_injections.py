"""A few faults at file operations of each kind of command; `make torture` injects them everywhere."""

from __future__ import annotations

import shutil
import sys

import pytest
from harness.faults import KINDS, Fault
from harness.scenarios import SCENARIOS

linux = pytest.mark.skipif(sys.platform != "linux", reason="the harness reads /proc and forks")


@linux
@pytest.mark.slow
def test_what_a_fault_hits_ends_as_if_nothing_had_been(torture):
    """Records, evidence, weights and files are equal to those of an uninterrupted command."""
    done = torture("--short", *(word for name in SCENARIOS for word in ("--scenario", name)))
    assert {found["scenario"] for found in done} == set(SCENARIOS)
    assert {found["kind"] for found in done} == set(KINDS)
    wrong = [f"{f['scenario']} {f['kind']} at {f['operation']}: {f['faults']}" for f in done if f["faults"]]
    assert not wrong, "\n".join(wrong)


@linux
def test_the_harness_sees_what_is_lost(tmp_path):
    """What a careless writer loses by a kill, a power cut, half a write and an error that nobody answers."""
    from harness.children import act_in, start
    from harness.snapshot import differences, snapshot

    def careless():
        (folder / "half").write_text("whole")
        (folder / "half").rename(folder / "whole")
        (folder / "end").mkdir()
        return 0

    def left(kind, at):
        shutil.rmtree(folder)
        folder.mkdir()
        end = start(folder, careless, Fault(kind, at)).end()
        return end, differences(expected, snapshot(folder))

    folder = tmp_path / "work"
    folder.mkdir()
    assert act_in(folder, careless).code == 0
    expected = snapshot(folder)
    create, write, rename, mkdir = range(4)
    assert left("kill", create)[1] == ["end is lacking", "whole is lacking"]
    assert left("kill", rename)[1] == ["end is lacking", "whole is lacking", "half is left behind"]
    assert left("kill", mkdir)[1] == ["end is lacking"], "renamed, and so the system keeps it"
    assert left("power", mkdir)[1] == ["end is lacking", "whole is lacking", "half is left behind"]
    assert (folder / "half").read_bytes() == b"", "nothing was synced"
    assert left("half", 0)[1] == ["end is lacking", "whole is lacking", "half is left behind"]
    assert (folder / "half").read_text() == "wh"
    end, _ = left("EIO", write)
    assert (end.code, end.raised) == (70, True)
