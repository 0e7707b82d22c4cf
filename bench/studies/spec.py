"""All that decides one result of a study, as far as it is the same for every study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.core.digest import content_id
from bench.plan import RunSpec


@dataclass(frozen=True)
class Part:
    """Cells that are kept together, because the same spec and the same code make them.

    Another result that has this part begins with its cells.
    """

    id: str
    encoded: Mapping[str, Any]
    modules: tuple[str, ...]  # whose code makes them, besides the study's own


class StudySpec:
    """The base of every study's spec, a frozen dataclass."""

    name: ClassVar[str]  # of the study
    run: RunSpec  # of the one network; a study of several says its `runs`

    @property
    def runs(self) -> tuple[RunSpec, ...]:
        """One for each network; they differ in nothing else."""
        return (self.run,)

    def encoded(self) -> dict[str, Any]:
        """As JSON."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """What is measured, as progress says it."""
        raise NotImplementedError

    @property
    def id(self) -> str:
        """The name of the result."""
        return content_id(self.encoded())

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules whose code, with all that they import, makes the result."""
        return (*(module for run in self.runs for module in run.modules), self.measured_by)

    @property
    def measured_by(self) -> str:
        """The module of the study that measures."""
        return f"bench.studies.{self.name}.measure"

    @property
    def parts(self) -> tuple[Part, ...]:
        """Whose cells there are; one part, which nothing shares, unless the study says otherwise."""
        return (Part(self.id, self.encoded(), self.modules),)
