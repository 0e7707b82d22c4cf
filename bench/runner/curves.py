"""Curves: accuracy over the radius, the steps, the restarts and the queries of an attack, point by point."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.api import Suite, Trial
from bench.attacks.apgd import APGD
from bench.attacks.pgd import PGD
from bench.attacks.square import Square
from bench.core.digest import content_id
from bench.core.encoding import describe, encode
from bench.core.outcomes import Outcomes, concatenate
from bench.core.survival import survival
from bench.core.threat import SCORES, WHITE_BOX, Norm, format_eps
from bench.data.catalog import source
from bench.errors import BadValue, StaleRecord
from bench.evaluate.curves import (
    BROKEN,
    STEPS,
    STRONG,
    Point,
    measure,
    over_radii,
    over_restarts,
    over_steps,
    signs,
    whole_box,
)
from bench.evaluate.engine import Arena, Chunk
from bench.plan import Request, RunSpec
from bench.records import documents
from bench.records.curves import CURVE, FOLDER, SCHEMA, Axis, Curve, CurvePoint
from bench.records.record import Interval
from bench.records.store import RunFolder, StoredCell
from bench.registry import ATTACKS
from bench.runner.deployed import Measured, measured, plan_each
from bench.runner.options import Options
from bench.runner.stale import listed, study_changes, study_sources
from bench.runner.summary import interval_of

USUAL: Mapping[str, tuple[Trial, ...]] = {
    "eps": STRONG,
    "steps": (Trial("apgd", APGD(), WHITE_BOX),),
    "restarts": (Trial("pgd", PGD(steps=50, step_size=Fraction(1, 10)), WHITE_BOX),),
    "queries": (Trial("square", Square(), SCORES),),
}
"""Axis -> the attacks of whoever names none, each on what those before it left."""

_OWN = ("bench.runner.curves",)
_AGAIN = "bench curve with --rerun"


@dataclass(frozen=True)
class CurveSpec:
    """All that decides one curve."""

    run: RunSpec  # its suite holds the attacks as they were chosen
    axis: Axis
    at: tuple[Fraction, ...] | None  # None: the usual values; radii then end where nothing is left

    def encoded(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "run": self.run.encoded(),
            "axis": self.axis,
            "at": None if self.at is None else encode(self.at),
        }

    @property
    def id(self) -> str:
        """The name of the curve."""
        return content_id(self.encoded())

    @property
    def modules(self) -> list[str]:
        """The modules whose code, with all that they import, made the curve."""
        return [*self.run.modules, *_OWN]

    def points(self, image_shape: tuple[int, int, int]) -> tuple[Point, ...]:
        """What is measured; of queries the one attack behind all points."""
        trials, budget = self.run.suite.trials, self.run.budget
        whole = [int(value) for value in self.at or ()]
        if self.axis == "eps":
            return over_radii(budget, image_shape, trials, self.at)
        if self.axis == "steps":
            return over_steps(budget, trials[0], whole or STEPS)
        if self.axis == "restarts":
            return over_restarts(budget, trials[0], *whole)
        return (Point(Fraction(0), budget, trials),)


def plan_curves(
    names: Sequence[str],
    request: Request,
    axis: Axis,
    at: tuple[Fraction, ...] | None = None,
    attack: str | None = None,
) -> list[CurveSpec]:
    """A curve for each network; names are NAME or NAME@ARCH, the rest is common to all.

    Raises:
        UnknownName, BadValue: a name leads nowhere, or a value cannot be.
    """
    budget = request.budget or source(request.data).budget
    trials = USUAL[axis] if attack is None else (_trial(attack, axis),)
    if budget.norm not in (Norm.LINF, Norm.L2) and attack is None:
        raise BadValue(
            f"the usual attack of --over {axis} knows Linf and L2, but --norm is {budget.norm.value}, "
            "expected an attack for it",
            "--attack NAME",
        )
    if not budget.eps and (axis != "eps" or at is None):
        raise BadValue("--eps is 0, which leaves nothing to do, expected a radius above 0", "--eps 8/255")
    _check_values(axis, at, budget.norm)
    runs = plan_each(names, request, Suite("curve", 1, trials))
    return [CurveSpec(run, axis, at) for run in runs]


def curve(spec: CurveSpec, options: Options) -> Curve:
    """A curve: from the store where it is complete, else computed from where it stopped.

    Raises:
        BenchError: data, weights or store are not as they must be, the attack fails, or the code of what is
            stored has changed.
    """
    options.store.prepare()
    folder = options.store.root / FOLDER / spec.id
    sources = study_sources(spec.modules)
    found = _stored(folder, sources, options)
    if found is not None:
        options.progress.say(f"the curve {spec.id} of {found.network.defense} is there: nothing was computed")
        return found
    found = _Computation(spec, options, folder, sources).curve()
    documents.write(folder / CURVE, found)
    return found


def _trial(attack: str, axis: Axis) -> Trial:
    """An attack that the user named; what it must have depends on the axis."""
    chosen: Any = ATTACKS.get(attack)  # a file of the user's own may hold anything
    if not dataclasses.is_dataclass(chosen) or not callable(chosen):
        raise BadValue(
            f"the attack {attack!r} is no frozen dataclass that can be called, expected one",
            f"bench check {attack}",
        )
    if axis == "steps" and "steps" not in {item.name for item in dataclasses.fields(chosen)}:
        raise BadValue(f"the attack {attack!r} has no steps, expected one that has", "--attack pgd")
    column = attack.rpartition(":")[2]
    return Trial(column, chosen, SCORES if axis == "queries" else WHITE_BOX)  # type: ignore[arg-type]


def _check_values(axis: Axis, at: tuple[Fraction, ...] | None, norm: Norm) -> None:
    if at is None:
        return
    if axis == "queries":
        raise BadValue("--at means nothing over queries, all of which are measured at once, expected no --at")
    if axis == "restarts" and len(at) > 1:
        raise BadValue("--at names several numbers of restarts, expected the largest alone", "--at 10")
    for value in at:
        if value <= 0 or (axis != "eps" and value.denominator != 1):
            wanted = "radii above 0" if axis == "eps" else "whole numbers of at least 1"
            raise BadValue(
                f"--at holds {value}, expected {wanted}", "--at 4/255,8/255" if axis == "eps" else "--at 20"
            )
        if axis == "eps" and norm is Norm.LINF and value > 1:
            raise BadValue(
                f"--at holds {value}, expected at most 1 under Linf, because pixels go from 0 to 1"
            )
    if list(at) != sorted(set(at)):
        raise BadValue(
            "--at holds values that do not rise, expected each above the one before it", "--at 10,20"
        )


def _stored(folder: Path, sources: Mapping[str, str], options: Options) -> Curve | None:
    if options.stale == "rerun":
        return None
    found = documents.read(folder / CURVE, Curve, SCHEMA, _AGAIN)
    changed = study_changes(found.provenance.sources, sources) if found is not None else []
    if found is not None and changed and options.stale == "refuse":
        raise StaleRecord(
            f"the curve {found.id} was made by other code ({listed(changed)} changed since)",
            "--rerun to compute it again, or --accept-stale to see it as it is",
        )
    return found


class _Computation:
    """The state of one curve while it is computed."""

    def __init__(self, spec: CurveSpec, options: Options, folder: Path, sources: Mapping[str, str]) -> None:
        self.spec, self.options, self.sources = spec, options, sources
        self.folder = RunFolder(folder)
        self.seconds = 0.0

    def curve(self) -> Curve:
        """Train or load, measure each point, stop where nothing is left."""
        spec, network = self.spec, measured(self.spec.run, self.options)
        self._begin()
        points = spec.points(network.data.image_shape)
        found = self._outcomes(network, points)
        clean = interval_of(found[0].correct)
        box = whole_box(spec.run.budget.norm, network.data.image_shape)
        robust = [outcomes.robust for outcomes in found]
        trials = spec.run.suite.trials
        if network.deployed.adaptive_loss is None:
            trials = tuple(trial for trial in trials if getattr(trial.attack, "loss", None) != "adaptive")
        return Curve(
            schema=SCHEMA,
            id=spec.id,
            axis=spec.axis,
            network=network.network(clean),
            data=network.data.name,
            data_digest=network.data.digest,
            norm=spec.run.budget.norm.value,
            eps=format_eps(spec.run.budget.eps),
            seed=spec.run.training.seed,
            examples=network.examples,
            attacks=tuple(describe(trial.attack) for trial in trials),
            knowledge=trials[0].knowledge.label,
            points=tuple(_of_queries(found[0]) if spec.axis == "queries" else self._points(points, found)),
            findings=tuple(signs(spec.axis, points[: len(found)], robust, box)),
            whole_box=float(box) if spec.axis == "eps" else None,
            seconds=round(self.seconds, 3),
            spec=spec.encoded(),
            provenance=network.provenance(self.sources, self.options),
        )

    def _begin(self) -> None:
        if self.options.stale == "rerun":
            self.folder.forget()
        thrown = self.folder.begin(self.spec.encoded(), self.sources)
        if thrown:
            self.options.progress.say(f"{thrown} cells were computed by other code: computing them again")

    def _outcomes(self, network: Measured, points: Sequence[Point]) -> list[Outcomes]:
        """What each point did to every example; radii end where at most 1 % stand, unless they were named."""
        progress, found = self.options.progress, list[Outcomes]()
        chunks = list(network.chunks())
        title = f"{self.spec.run.training.named.label} over {self.spec.axis}"
        progress.start(title, len(points) * network.examples, "examples")
        self.took: list[float] = []
        for place, point in enumerate(points):
            arena = network.arena(point.budget)
            parts = []
            for number, chunk in enumerate(chunks):
                before = self._cell(place - 1, number) if point.goes_on else None
                parts.append(self._cell(place, number) or self._played(arena, point, place, chunk, before))
                progress.advance(len(chunk.y))
            found.append(concatenate([part.outcomes for part in parts]))
            self.took.append(sum(part.seconds for part in parts))
            if self.spec.axis == "eps" and self.spec.at is None and found[-1].robust.mean() <= BROKEN:
                break
        progress.finish()
        self.seconds = sum(self.took)
        return found

    def _cell(self, place: int, number: int) -> StoredCell | None:
        return self.folder.cell(f"{place:02d}", number)

    def _played(
        self, arena: Arena, point: Point, place: int, chunk: Chunk, before: StoredCell | None
    ) -> StoredCell:
        cell = measure(arena, point, chunk, self.spec.run.id, None if before is None else before.outcomes)
        if cell.outcomes is None:
            label = self.spec.run.training.named.label
            raise BadValue(f"an attack failed on {label} ({cell.error})", "--attack with another name")
        stored = StoredCell(cell.outcomes, cell.seconds, cell.flat_gradients, cell.shared)
        self.folder.keep_cell(f"{place:02d}", chunk.number, stored)
        return stored

    def _points(self, points: Sequence[Point], found: Sequence[Outcomes]) -> list[CurvePoint]:
        unbroken = found[0].correct
        clean = interval_of(unbroken)
        told = [CurvePoint("0", 0.0, clean, clean, 0.0, 0.0, 0.0)]
        for point, outcomes, seconds in zip(points, found, self.took, strict=False):
            unbroken = unbroken & outcomes.robust
            told.append(
                CurvePoint(
                    value=format_eps(point.value),
                    at=float(point.value),
                    robust=interval_of(outcomes.robust),
                    unbroken=interval_of(unbroken),
                    forwards=round(float(outcomes.forwards.mean()), 3),
                    backwards=round(float(outcomes.backwards.mean()), 3),
                    seconds=round(seconds, 3),
                )
            )
        return told


def _of_queries(outcomes: Outcomes) -> list[CurvePoint]:
    """Every number of queries at which an example fell, from one attack."""
    held = survival(outcomes)
    return [
        CurvePoint(str(spent), float(spent), _share(left, held.n), _share(left, held.n), None, None, None)
        for spent, left in zip(held.queries.tolist(), held.robust.tolist(), strict=True)
    ]


def _share(count: int, n: int) -> Interval:
    some: NDArray[np.bool_] = np.arange(n) < count
    return interval_of(some)
