"""What a study is to the harness: its row in the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One kind of figure that `bench plot` draws of results."""

    shows: str  # in a line
    draw: str  # "report:function", of the study's modules
    together: bool = True  # whether one figure compares several results; else each has its own


@dataclass(frozen=True)
class Study:
    """What the harness knows of a study before any of it is imported."""

    name: str  # of its command and of its folder
    does: str  # in a line of `bench --help`
    result: str  # what one result is called, and its file: "curve"
    results: str  # several of them, as a heading: "curves"
    folder: str  # where results lie below a store
    writes: str  # what --out writes, in words
    example: str  # a command that makes one
    budgeted: bool = True  # whether a norm and a radius are asked for
    examples: int = 1000  # how many test images, where a user says nothing
    figures: Mapping[str, Figure] = field(default_factory=dict)  # by kind
    former: str | None = None  # what the files of older schemas are called, as a pattern

    @property
    def file(self) -> str:
        """What the file of a result is called."""
        return f"{self.result}.json"

    @property
    def again(self) -> str:
        """What to type where a stored result is damaged, or was made by other code."""
        return f"bench {self.name} with --rerun"

    def where(self, store: Path, ident: str) -> Path:
        """The file of one result."""
        return store / self.folder / ident / self.file

    def files(self, store: Path) -> list[Path]:
        """The files of all results in a store, by their ids; of a result in two schemas the newer alone."""
        found = {path.parent: path for path in (store / self.folder).glob(f"*/{self.file}")}
        older = (store / self.folder).glob(f"*/{self.former}") if self.former else ()
        return sorted([*found.values(), *(path for path in older if path.parent not in found)])

    def module(self, part: str) -> Any:
        """One of its modules: command, plan, measure, record or report."""
        return import_module(f"bench.studies.{self.name}.{part}")

    def read(self, path: Path) -> Any:
        """The result in a file; None: there is none.

        Raises:
            BadData: it is unreadable, of a newer bench, contradicts itself, is not what the study's record
                says, or lies in the folder of another.
        """
        from bench.records import documents

        record = self.module("record")
        found = documents.read(
            path, record.RECORD, record.SCHEMA, self.again, record.UPGRADES, record.contradictions
        )
        if found is not None:
            documents.require_own(found.id, path, self.again)
        return found

    def whole(self, found: Any, store: Path) -> Any:
        """A result together with what lies beside its file, as reports take it."""
        return self.module("record").whole(found, self.where(store, found.id).parent)
