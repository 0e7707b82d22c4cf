"""Certificates: the proof is columns of their own, and every attack is given them, so that both are compared.

Each radius is attacked on what the smaller ones left, trial by trial; whom an attack breaks and a proof
protects is looked at once more while the image is at hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.api import Smoothed, Trial
from bench.core.encoding import describe
from bench.core.outcomes import Outcomes, together
from bench.core.seeds import seed_for
from bench.core.smoothing import certified_radius, largest_share
from bench.core.threat import Budget
from bench.data.dataset import Dataset
from bench.errors import BadValue
from bench.evaluate.adaptive import why_skipped
from bench.evaluate.engine import Arena, Broken, Chunk, play
from bench.evaluate.follow_up import Scout, in_doubt, left_for
from bench.records.documents import sha256
from bench.records.store import Arrays
from bench.runner.options import Options
from bench.runner.summary import interval_of
from bench.studies.cells import Cells, CellTask
from bench.studies.certify.fields import told
from bench.studies.certify.plan import CertifySpec
from bench.studies.certify.proofs import (
    CannotProve,
    NotBounded,
    TooMany,
    bounded,
    margins,
    require_bounds,
    to_attack,
    votes,
)
from bench.studies.certify.record import ABSTAINED, EXAMPLES, Examples, pack
from bench.studies.measuring import Figures, Measuring
from bench.train.foreign import Foreign

SELECT = "select"
"""The column of the copies that choose each example's class."""

ROUND = 1000
"""Noisy copies of a cell: so that what is stopped has lost little."""


@dataclass(frozen=True)
class Proven:
    """What is proven of the examples of a chunk, or of all."""

    answers: NDArray[np.int64]  # [n], or ABSTAINED
    radius: NDArray[np.float64]  # [n]


class Measure(Measuring[CertifySpec]):
    """One network, its proof, and its attackers."""

    def __init__(self, spec: CertifySpec, options: Options) -> None:
        super().__init__(spec, options)
        with _told(spec):
            self.deployed = to_attack(spec, self.subject.deployed)
            self.deployed.predict.eval()
            self._steps = None if spec.sampling else bounded(self.deployed.predict)
            if self._steps is not None:
                require_bounds(
                    self._steps, self.subject.chunk(0).x[:1], spec.run.budget, spec.bounds == "crown"
                )
        self.arenas = [self.subject.under(budget, self.deployed) for budget in spec.budgets]
        trials = spec.run.suite.trials
        self.closed = {trial.column: why for trial in trials if (why := why_skipped(trial, self.arenas[0]))}
        self.trials = tuple(trial for trial in trials if trial.column not in self.closed)
        if not self.trials:
            raise BadValue(
                f"no attack of {spec.run.suite.id} can be made on {_label(spec)} "
                f"({next(iter(self.closed.values()))}), expected one that can",
                "--suite whitebox",
            )
        for trial in self.trials:
            self.arenas[0].access(trial.knowledge)  # lays weights out now: verdicts do not depend on when

    def check(self, data: Dataset) -> None:
        """A defense of which nothing can be proven is refused before it is trained."""
        training = self.spec.run.training
        if isinstance(training.named.defense, Foreign):
            return
        defense = training.named.defense
        with _told(self.spec):
            deployed = to_attack(self.spec, defense.deploy(defense.build(data.task(training.architecture))))
            if self.spec.sampling is None:
                require_bounds(
                    bounded(deployed.predict),
                    data.test.batch(torch.arange(1))[0],
                    self.spec.run.budget,
                    self.spec.bounds == "crown",
                )

    @property
    def columns(self) -> int:
        """Those of the proof, and an attack at each radius."""
        return len(self._proof_columns) + len(self.spec.radii)

    @property
    def _proof_columns(self) -> tuple[str, ...]:
        if self.spec.sampling is None:
            return tuple(f"bounds_{place:02d}" for place in range(len(self.spec.radii)))
        rounds = -(-self.spec.sampling.samples // ROUND)
        return (SELECT, *(f"votes_{place:04d}" for place in range(rounds)))

    def cell(self, task: CellTask) -> Arrays:
        """Counts of votes, margins, or what the attacks at a radius do to a chunk."""
        kind, _, place = task.column.partition("_")
        chunk = self.subject.chunk(task.number)
        if kind in (SELECT, "votes"):
            return {"counts": self._voted(task.column, chunk, int(place or 0))}
        if kind == "bounds":
            return {"margins": self._bounded(int(place), chunk, task.given)}
        proofs = len(self._proof_columns)
        before = Outcomes(**_without_more(task.given[proofs])) if task.given[proofs:] else None
        return self._attacked(int(place), chunk, self._proven(task.given[:proofs], chunk), before)

    def figures(self, cells: Cells) -> Figures:
        """The proof, then the attacks, each radius on what the smaller ones left."""
        proof = self._proof_columns
        for place, column in enumerate(proof):
            goes_on = self.spec.sampling is None and place > 0
            cells.make([column], after=[proof[place - 1]] if goes_on else ())
        attacks = [f"attack_{place:02d}" for place in range(len(self.spec.radii))]
        for place, column in enumerate(attacks):
            cells.make([column], after=[*proof, *attacks[max(0, place - 1) : place]])
        examples, clean = self._examples(cells, attacks)
        content = pack(examples)
        notes = [f"{column} was not played: {why}" for column, why in self.closed.items()]
        fields = {
            **told(self.spec, self.deployed.smoothed, examples, [*notes, *self.arenas[0].notes()]),
            "attacks": tuple(f"{describe(one.attack)}, {one.knowledge.label}" for one in self.trials),
            "proof_seconds": round(cells.seconds(*proof), 3),
            "examples_sha256": sha256(content),
        }
        return Figures((interval_of(clean == examples.labels),), fields, {EXAMPLES: content})

    @property
    def _smoothed(self) -> Smoothed:
        assert self.deployed.smoothed is not None
        return self.deployed.smoothed

    def _voted(self, column: str, chunk: Chunk, place: int) -> NDArray[np.int64]:
        sampling = self.spec.sampling
        assert sampling is not None
        left = sampling.selection if column == SELECT else sampling.samples - ROUND * place
        stream = ("smoothing", self.spec.run.training.seed, column)
        ids, batches = chunk.ids.tolist(), self.subject.batches
        return votes(self._smoothed, chunk.x, ids, min(ROUND, left), stream, batches)

    def _bounded(self, place: int, chunk: Chunk, given: Sequence[Arrays]) -> NDArray[np.float64]:
        """Margins [n]; -inf where a smaller radius was too large already, or the answer is wrong."""
        assert self._steps is not None
        found = np.full(len(chunk.y), -np.inf)
        right = self.arenas[place].verdicts(chunk, chunk.x) == chunk.y
        hopeful = right.cpu().numpy() & (given[0]["margins"] > 0 if given else True)
        rows = torch.as_tensor(np.flatnonzero(hopeful), device=chunk.x.device)
        if len(rows):
            budget, tight = self.spec.budgets[place], self.spec.bounds == "crown"
            with _told(self.spec):
                least = margins(self._steps, chunk.x[rows], chunk.y[rows], budget, tight)
            found[hopeful] = least.cpu().numpy()
        return found

    def _proven(self, columns: Sequence[Arrays], labels: Chunk | NDArray[np.int64]) -> Proven:
        """What the columns of the proof say of the examples with these labels."""
        known = labels.y.cpu().numpy() if isinstance(labels, Chunk) else labels
        sampling = self.spec.sampling
        if sampling is None:
            radii = [float(radius) for radius in self.spec.radii]
            held = np.stack([column["margins"] > 0 for column in columns], axis=1)  # [n, R], falling
            reached = np.concatenate([[0.0], radii])[held.cumprod(axis=1).sum(axis=1)]
            return Proven(known, reached)
        chosen = columns[0]["counts"].argmax(axis=1)
        counts = sum(column["counts"] for column in columns[1:])
        counted = np.take_along_axis(np.asarray(counts), chosen[:, None], axis=1)[:, 0]
        radius = certified_radius(counted, sampling.samples, float(sampling.alpha), self._smoothed.sigma)
        return Proven(np.where(radius > 0, chosen, ABSTAINED), radius)

    def _attacked(self, place: int, chunk: Chunk, proven: Proven, before: Outcomes | None) -> Arrays:
        """Outcomes of all trials in a row, and who is proven at this radius and certainly broken."""
        arena, budget = self.arenas[place], self.spec.budgets[place]
        at_risk = self._examples_of(chunk, proven).certified(
            float(budget.eps), self.spec.sampling is not None
        )
        contradicted = np.zeros(len(chunk.y), dtype=bool)
        held: dict[str, Outcomes] = {}
        for trial in self.trials:
            if _settled(trial, self.trials, held):
                continue
            goes_on = left_for(trial, self.trials, held) if isinstance(trial, Scout) else _all_of(held)
            held[trial.column], broken = self._played(
                arena, trial, chunk, budget, before if goes_on is None else goes_on
            )
            rows = np.flatnonzero(np.isin(chunk.ids.cpu().numpy(), broken.ids) & at_risk)
            if len(rows):
                contradicted[rows] = self._certainly(broken, chunk, rows, (place, trial.column))
        left = _all_of(held)
        assert left is not None
        return {**left.arrays(), "contradicted": contradicted}

    def _played(
        self, arena: Arena, trial: Trial, chunk: Chunk, budget: Budget, before: Outcomes | None
    ) -> tuple[Outcomes, Broken]:
        seed = seed_for(self.spec.id, trial.column, budget.label, chunk.number)
        cell = play(arena, trial, chunk, seed, before)
        if cell.outcomes is None or cell.broken is None:
            raise BadValue(
                f"the attack {trial.column} failed on {_label(self.spec)} ({cell.error})",
                "--suite or --attack with another name",
            )
        return cell.outcomes, cell.broken

    def _certainly(
        self, broken: Broken, chunk: Chunk, rows: NDArray[np.int64], what: tuple[int | str, ...]
    ) -> NDArray[np.bool_]:
        """[m]: whether broken examples that are proven are broken beyond the luck of finitely many votes."""
        sampling = self.spec.sampling
        if sampling is None:
            return np.ones(len(rows), dtype=bool)
        places = [int(np.flatnonzero(broken.ids == number)[0]) for number in chunk.ids[rows].tolist()]
        images = torch.as_tensor(broken.images[places], device=chunk.x.device)
        stream = ("smoothing", self.spec.run.training.seed, "again", *what)
        ids, copies = chunk.ids[rows].tolist(), sampling.samples
        counts = votes(self._smoothed, images, ids, copies, stream, self.subject.batches)
        of_label = np.take_along_axis(counts, chunk.y[rows].cpu().numpy()[:, None], axis=1)[:, 0]
        return largest_share(of_label, copies, float(sampling.alpha)) < 0.5

    def _examples(self, cells: Cells, attacks: Sequence[str]) -> tuple[Examples, NDArray[np.int64]]:
        """Every example, and its answer before any attack."""
        held = [_joined(cells.read(column)) for column in attacks]
        outcomes = [Outcomes(**_without_more(one)) for one in held]
        proof = [_joined(cells.read(column)) for column in self._proof_columns]
        proven = self._proven(proof, outcomes[0].labels)
        stands = np.stack([one.robust for one in outcomes], axis=1)
        found = Examples(
            ids=outcomes[0].ids,
            labels=outcomes[0].labels,
            answers=proven.answers,
            radius=proven.radius,
            stands=np.logical_and.accumulate(stands, axis=1),
            contradicted=np.stack([one["contradicted"] for one in held], axis=1),
        )
        return found, outcomes[0].clean

    @staticmethod
    def _examples_of(chunk: Chunk, proven: Proven) -> Examples:
        none = np.zeros((len(chunk.y), 0), dtype=bool)
        ids, labels = chunk.ids.cpu().numpy(), chunk.y.cpu().numpy()
        return Examples(ids, labels, proven.answers, proven.radius, none, none)


@contextmanager
def _told(spec: CertifySpec) -> Iterator[None]:
    """Tell why nothing can be proven of a spec's network, in one sentence."""
    try:
        yield
    except CannotProve as reason:
        raise BadValue(f"{_label(spec)} {reason}", reason.hint) from None
    except TooMany as reason:
        raise BadValue(f"{_label(spec)} {reason}", "--bounds ibp") from None
    except NotBounded as reason:
        raise BadValue(
            f"nothing can be proven of {_label(spec)} by bounds: {reason}, expected convolutions, linear "
            "layers, normalisation, pooling, ReLU and sums of them",
            "--sigma 0.25 --norm L2 --eps 0.5",
        ) from None


def _label(spec: CertifySpec) -> str:
    return spec.run.training.named.label


def _joined(parts: Iterator[Arrays]) -> dict[str, NDArray[Any]]:
    """A column of all chunks."""
    held = list(parts)
    return {name: np.concatenate([part[name] for part in held]) for name in held[0]}


def _all_of(held: Mapping[str, Outcomes]) -> Outcomes | None:
    """What columns in a row came to; None: there are none yet."""
    return together(list(held.values())) if held else None


def _settled(trial: Trial, trials: Sequence[Trial], held: Mapping[str, Outcomes]) -> bool:
    """Whether the sweep before a scout's left no doubt on these examples, so that it need not look again.

    They are one chunk of many, so not even one may have fallen to a single attacker.
    """
    if not isinstance(trial, Scout) or trial.sweep == 1:
        return False
    doubt = in_doubt(trials, held, trial.sweep - 1)
    return doubt is not None and doubt.alone == 0


def _without_more(held: Arrays) -> dict[str, Any]:
    """The outcomes of an attack, without what is kept besides."""
    return {name: array for name, array in held.items() if name != "contradicted"}
