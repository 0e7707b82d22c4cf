"""How a study measures: subjects are opened, cells computed one by one, and summed up in figures."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from bench.data.dataset import Dataset
from bench.nn.tf32 import tf32
from bench.records.heading import Network
from bench.records.record import Interval
from bench.records.store import Arrays
from bench.runner.options import Options
from bench.runner.subject import Subject, open_subject
from bench.runner.summary import recipe_of
from bench.runner.weights import load_data
from bench.studies.cells import Cells, CellTask, Done
from bench.studies.spec import StudySpec
from bench.train.foreign import Foreign

Spec = TypeVar("Spec", bound=StudySpec)


@dataclass(frozen=True)
class Figures:
    """What a study established, besides its heading."""

    clean: tuple[Interval, ...]  # accuracy of each network before any attack
    fields: Mapping[str, Any]  # of the study's record
    files: Mapping[str, bytes] = field(default_factory=dict)  # what lies beside the record, by name


class Measuring(ABC, Generic[Spec]):
    """A study of one spec with its networks ready, here or in the process of a worker."""

    def __init__(self, spec: Spec, options: Options) -> None:
        self.spec, self.options = spec, options
        data = load_data(spec.runs[0].training, options)
        self.check(data)
        first = open_subject(spec.runs[0], options, data)
        rest = [open_subject(run, options, first.data) for run in spec.runs[1:]]
        self.subjects: tuple[Subject, ...] = (first, *rest)

    def check(self, data: Dataset) -> None:
        """Refuse data that the study can do nothing with, before anything is trained."""

    @property
    def subject(self) -> Subject:
        """The first, and of most studies the only one."""
        return self.subjects[0]

    @property
    @abstractmethod
    def columns(self) -> int:
        """How many columns there are at most."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many examples each chunk has."""
        return self.subject.sizes

    @abstractmethod
    def cell(self, task: CellTask) -> Arrays:
        """Compute one cell; nothing that it draws depends on the cells before it."""

    @abstractmethod
    def figures(self, cells: Cells) -> Figures:
        """Have all cells made, and sum them up."""

    def play(self, task: CellTask) -> Iterator[Done]:
        """The cell of a task, with what it took."""
        started = time.perf_counter()
        with tf32(False):
            arrays = self.cell(task)
        yield Done(task.part, task.column, task.number, arrays, time.perf_counter() - started)


def network_of(subject: Subject, clean: Interval) -> Network:
    """How records name a network whose clean accuracy is known."""
    training = subject.spec.training
    defense = training.named.defense
    made_by = defense.made_by if isinstance(defense, Foreign) else None
    return Network(
        defense=training.named.label,
        paper=defense.paper,
        reconstruction=defense.reconstruction,
        architecture=made_by or training.architecture,
        recipe=recipe_of(subject.spec, subject.trained, subject.net),
        training_id=training.id,
        sha256=subject.trained.sha256,
        checkpoint=subject.spec.checkpoint,
        clean=clean,
    )
