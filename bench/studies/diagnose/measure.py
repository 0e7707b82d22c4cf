"""Diagnostics of a deployed defense: one cell holds every portrait, because they draw from one stream."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from bench.attacks.streams import seeded
from bench.core.encoding import describe
from bench.core.json_file import parse_json
from bench.core.seeds import seed_for
from bench.evaluate.look import Lacking
from bench.records.documents import sha256
from bench.records.store import Arrays
from bench.runner.options import Options
from bench.runner.summary import interval_of, training_of
from bench.studies.cells import Cells, CellTask
from bench.studies.diagnose.plan import ATTACK, ATTACKS, DiagnoseSpec
from bench.studies.diagnose.portraits import PORTRAITS, Sitter, answers
from bench.studies.diagnose.record import ARRAYS, Portraits, pack
from bench.studies.measuring import Figures, Measuring

COLUMN = "portraits"

_FIGURES = "figures"
"""The array of a cell that holds the figures of all portraits, as bytes of JSON."""


class Measure(Measuring[DiagnoseSpec]):
    """One network, looked into."""

    def __init__(self, spec: DiagnoseSpec, options: Options) -> None:
        super().__init__(spec, options)
        self.subject.net.eval().requires_grad_(False)

    @property
    def columns(self) -> int:
        """All portraits together."""
        return 1

    @property
    def sizes(self) -> tuple[int, ...]:
        """All examples at once: features are embedded together."""
        return (self.subject.examples,)

    def cell(self, task: CellTask) -> Arrays:
        """Every portrait, or why there is none; the same wherever and whenever it is made."""
        spec = self.spec
        examined = Sitter(self.subject, self.options, spec.run.id, spec.stage, spec.embedding)
        parts: dict[str, Any] = {}
        left_out: dict[str, str] = {}
        with seeded(seed_for(spec.run.id, "look"), self.subject.device):
            arrays = dict(answers(examined))
            for kind, portray in PORTRAITS.items():
                try:
                    part, more = portray(examined)
                except Lacking as reason:
                    parts[kind], left_out[kind] = None, str(reason)
                    continue
                if both := sorted(set(arrays) & set(more)):
                    raise RuntimeError(f"two portraits have an array {both[0]!r}")
                parts[kind] = asdict(part)
                arrays |= more
        told = json.dumps({**parts, "left_out": left_out}, allow_nan=False)
        return {_FIGURES: np.frombuffer(told.encode(), dtype=np.uint8), **arrays}

    def figures(self, cells: Cells) -> Figures:
        """The figures of the cell, and its arrays as a file."""
        cells.make([COLUMN])
        (held,) = cells.read(COLUMN)
        arrays = {name: array for name, array in held.items() if name != _FIGURES}
        portraits: Portraits = TypeAdapter(Portraits).validate_python(parse_json(held[_FIGURES].tobytes()))
        content = pack(arrays)
        labels, attacked = arrays["labels"], arrays["class_adversarial"]
        right = arrays["class_clean"] == labels
        subject, training = self.subject, self.spec.run.training
        return Figures(
            clean=(interval_of(right),),
            fields={
                **vars(portraits),
                "classes": subject.data.classes,
                "attack": describe(ATTACK),
                "knowledge": ATTACKS.trials[0].knowledge.label,
                "adversarial": interval_of(right & ((attacked == labels) | (attacked < 0))),
                "weights": training_of(self.spec.run, subject.trained, subject.net),
                "train_budget": training.budget.label,
                "arrays_sha256": sha256(content),
            },
            files={ARRAYS: content},
        )
