"""Notes of where files lay: those of before still count, and nobody else's do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.records.origin import FILE, Origin, note_origin, origin_of


@pytest.fixture(autouse=True)
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account of this test's own, which signs."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_a_note_from_before_there_were_extra_images_still_counts(tmp_path: Path) -> None:
    known = Origin(data="npz:/data/d.npz", code=("/code/net.py",))
    note_origin(tmp_path, known)
    held = json.loads((tmp_path / FILE).read_text())
    del held["extra"]
    (tmp_path / FILE).write_text(json.dumps(held))
    assert origin_of(tmp_path) == known
    note_origin(tmp_path, Origin(extra="npz:/data/made.npz"))
    assert origin_of(tmp_path) == Origin("npz:/data/d.npz", None, "npz:/data/made.npz", ("/code/net.py",))


@pytest.mark.parametrize("field", ["data", "checkpoint", "extra"])
def test_a_note_that_somebody_else_wrote_names_nothing(tmp_path: Path, field: str) -> None:
    note_origin(tmp_path, Origin("npz:d.npz", "weights.pt", "npz:made.npz"))
    held = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({**held, field: "npz:theirs.npz"}))
    assert origin_of(tmp_path) == Origin()
