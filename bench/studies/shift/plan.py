"""What `bench shift` will do: a network, corruptions, a grid of poses, and the one id of all that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from bench.api import Suite
from bench.core.encoding import encode
from bench.errors import UnknownName
from bench.plan import Request, RunSpec, plan_each
from bench.studies.shift.corruptions import CORRUPTIONS, GROUPS, NAMES, Corruption
from bench.studies.shift.files import CorruptedFiles, find, require_no_poses
from bench.studies.shift.spatial import Grid
from bench.studies.spec import Part, StudySpec

POSES = "poses"
"""The word for the grid of rotations and translations."""


@dataclass(frozen=True)
class ShiftSpec(StudySpec):
    """All that decides one shift; the images depend on seed and example, not on the defense."""

    name: ClassVar[str] = "shift"

    run: RunSpec  # its suite has no trials
    corruptions: tuple[Corruption, ...]
    grid: Grid | None
    files: CorruptedFiles | None = None  # images of others in the place of ours

    def encoded(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "run": self.run.encoded(),
            "corruptions": {held.name: encode(held.constants) for held in self.corruptions},
            "grid": self.grid and encode(self.grid),
            **({"files": self.files.encoded()} if self.files is not None else {}),
        }

    @property
    def title(self) -> str:
        """What is measured, as progress says it."""
        if self.files is not None:
            return f"{self.run.training.named.label} on corrupted images of {self.files.path.name}"
        return f"{self.run.training.named.label} under corruptions and poses"

    @property
    def parts(self) -> tuple[Part, ...]:
        """Cells belong to the network: another choice of corruptions has those that it shares."""
        return (Part(self.run.id, self.run.encoded(), tuple(self.run.modules)),)


def plan(
    names: Sequence[str], request: Request, only: Sequence[str] = (), files: Path | None = None
) -> list[ShiftSpec]:
    """A shift for each network; `only` are corruptions, groups of them, or poses; none: everything.

    `files`: a folder of corrupted images, which are shown in the place of ours, and no poses.

    Raises:
        UnknownName, BadValue: a name leads nowhere, or a value cannot be.
    """
    if files is not None:
        require_no_poses(only, POSES)
        found = find(files, only)
        return [ShiftSpec(run, (), None, found) for run in plan_each(names, request, Suite("shift", 1, ()))]
    for word in only:
        if word not in (*NAMES, *GROUPS, POSES):
            groups, held = ", ".join([*GROUPS, POSES]), ", ".join(NAMES)
            raise UnknownName(f"--only is {word!r}, expected one of {groups}, {held}", f"--only {GROUPS[0]}")
    chosen = tuple(c for c in CORRUPTIONS if not only or c.name in only or c.group in only)
    grid = Grid() if not only or POSES in only else None
    return [ShiftSpec(run, chosen, grid) for run in plan_each(names, request, Suite("shift", 1, ()))]
