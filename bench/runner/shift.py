"""Shifts: every corruption at every severity, and the grid of poses, cell by cell, without a gradient."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.api import Suite
from bench.attacks.streams import seeded
from bench.core.digest import content_id
from bench.core.encoding import encode
from bench.core.outcomes import NEVER, REFUSED, Outcomes, concatenate
from bench.core.seeds import seed_for
from bench.errors import StaleRecord, UnknownName
from bench.evaluate.corruptions import CORRUPTIONS, GROUPS, NAMES, SEVERITIES, Corruption
from bench.evaluate.engine import Arena, Chunk
from bench.evaluate.spatial import Grid, first_wrong, in_random_pose, in_surest_pose, in_worst_pose
from bench.plan import Request, RunSpec
from bench.records import documents
from bench.records.shift import FOLDER, SCHEMA, Corrupted, Mean, Posed, Shift
from bench.records.store import RunFolder, StoredCell
from bench.runner.deployed import Measured, measured, plan_each
from bench.runner.options import Options
from bench.runner.stale import listed, study_changes, study_sources
from bench.runner.summary import interval_of

POSES = "poses"
"""The word for the grid of rotations and translations."""

_OWN = ("bench.runner.shift",)


@dataclass(frozen=True)
class ShiftSpec:
    """All that decides one shift; the images depend on seed and example, not on the defense."""

    run: RunSpec  # its suite has no trials
    corruptions: tuple[Corruption, ...]
    grid: Grid | None

    def encoded(self) -> dict[str, Any]:
        """As JSON."""
        held = {c.name: encode(c.constants) for c in self.corruptions}
        return {"run": self.run.encoded(), "corruptions": held, "grid": self.grid and encode(self.grid)}

    @property
    def id(self) -> str:
        """The name of the record."""
        return content_id(self.encoded())

    @property
    def modules(self) -> list[str]:
        """The modules whose code, with all that they import, made the record."""
        return [*self.run.modules, *_OWN]


def plan_shifts(names: Sequence[str], request: Request, only: Sequence[str] = ()) -> list[ShiftSpec]:
    """A shift for each network; `only` are corruptions, groups of them, or poses; none: everything.

    Raises:
        UnknownName, BadValue: a name leads nowhere, or a value cannot be.
    """
    for word in only:
        if word not in (*NAMES, *GROUPS, POSES):
            groups, held = ", ".join([*GROUPS, POSES]), ", ".join(NAMES)
            raise UnknownName(f"--only is {word!r}, expected one of {groups}, {held}", f"--only {GROUPS[0]}")
    chosen = tuple(c for c in CORRUPTIONS if not only or c.name in only or c.group in only)
    grid = Grid() if not only or POSES in only else None
    return [ShiftSpec(run, chosen, grid) for run in plan_each(names, request, Suite("shift", 1, ()))]


def shift(spec: ShiftSpec, options: Options) -> Shift:
    """A shift: from the store where it is complete, else computed from where it stopped.

    Cells belong to the network: what another choice of corruptions has computed is not computed again.

    Raises:
        BenchError: data, weights or store are not as they must be, or the code of what is stored has changed.
    """
    options.store.prepare()
    folder = options.store.root / FOLDER / spec.run.id
    path = folder / f"shift-{spec.id}.json"
    sources = study_sources(spec.modules)
    found = _stored(path, sources, options)
    if found is not None:
        options.progress.say(f"the shift {spec.id} of {found.network.defense} is there: nothing was computed")
        return found
    found = _Computation(spec, options, folder, sources).shift()
    documents.write(path, found)
    return found


def _stored(path: Path, sources: Mapping[str, str], options: Options) -> Shift | None:
    if options.stale == "rerun":
        return None
    found = documents.read(path, Shift, SCHEMA, "bench shift with --rerun")
    changed = study_changes(found.provenance.sources, sources) if found is not None else []
    if found is not None and changed and options.stale == "refuse":
        raise StaleRecord(
            f"the shift {found.id} was made by other code ({listed(changed)} changed since)",
            "--rerun to compute it again, or --accept-stale to see it as it is",
        )
    return found


@dataclass
class _Computation:
    """The state of one shift while it is computed."""

    spec: ShiftSpec
    options: Options
    path: Path
    sources: Mapping[str, str]
    seconds: float = 0.0
    clean: dict[int, Tensor] = field(default_factory=dict)  # chunk -> classes [n] of the images as they are

    def shift(self) -> Shift:
        """Train or load, corrupt and turn, count."""
        spec, self.folder = self.spec, RunFolder(self.path)
        if self.options.stale == "rerun":
            self.folder.forget()
        network = measured(spec.run, self.options)
        thrown = self.folder.begin(spec.run.encoded(), self.sources)
        if thrown:
            self.options.progress.say(f"{thrown} cells were computed by other code: computing them again")
        channels = network.data.image_shape[0]
        chosen = [c for c in spec.corruptions if c.fits(channels)]
        cells = len(chosen) * len(SEVERITIES) + (spec.grid.draws + 1 if spec.grid else 0)
        progress = self.options.progress
        title = f"{spec.run.training.named.label} under corruptions and poses"
        progress.start(title, cells * network.examples, "examples")
        arena = network.arena(spec.run.budget)
        corrupted = {(c, s): self._corrupted(network, arena, c, s) for c in chosen for s in SEVERITIES}
        posed = self._posed(network, arena, spec.grid) if spec.grid else None
        progress.finish()
        clean = np.concatenate([self._clean(arena, chunk).cpu().numpy() for chunk in network.chunks()])
        labels = np.concatenate([chunk.y.cpu().numpy() for chunk in network.chunks()])
        right = [_right(outcomes) for outcomes in corrupted.values()]
        return Shift(
            schema=SCHEMA,
            id=spec.id,
            network=network.network(interval_of(clean == labels)),
            data=network.data.name,
            data_digest=network.data.digest,
            seed=spec.run.training.seed,
            examples=network.examples,
            corrupted=tuple(_told(c, severity, held) for (c, severity), held in corrupted.items()),
            mean=_mean(np.stack(right)) if right else None,
            posed=posed,
            left_out=tuple(c.name for c in spec.corruptions if not c.fits(channels)),
            seconds=round(self.seconds, 3),
            spec=spec.encoded(),
            provenance=network.provenance(self.sources, self.options),
        )

    def _corrupted(self, network: Measured, arena: Arena, corruption: Corruption, severity: int) -> Outcomes:
        seed, parts = self.spec.run.training.seed, []
        for chunk in network.chunks():
            name = f"{corruption.name}_{severity}"

            def judged(chunk: Chunk = chunk) -> Outcomes:
                x = corruption(chunk.x, severity, seed, chunk.ids.tolist())
                distance = (x - chunk.x).flatten(1).norm(dim=1)
                return self._outcomes(arena, chunk, arena.verdicts(chunk, x), distance)

            parts.append(self._cell(name, chunk, judged))
        return concatenate(parts)

    def _posed(self, network: Measured, arena: Arena, grid: Grid) -> Posed:
        seed, draws = self.spec.run.training.seed, range(grid.draws)
        drawn: list[list[Outcomes]] = [[] for _ in draws]
        worst: list[Outcomes] = []
        for chunk in network.chunks():
            ids = chunk.ids.tolist()
            for draw in draws:

                def turned(chunk: Chunk = chunk, ids: list[int] = ids, draw: int = draw) -> Outcomes:
                    images = in_random_pose(grid, chunk.x, ids, seed, draw)
                    return self._outcomes(arena, chunk, arena.verdicts(chunk, images))

                drawn[draw].append(self._cell(f"pose_{draw}", chunk, turned))

            def searched(chunk: Chunk = chunk) -> Outcomes:
                known = [torch.as_tensor(parts[-1].attacked).to(chunk.y.device) for parts in drawn]
                known.insert(0, self._clean(arena, chunk))
                if arena.deployed.randomized:
                    images, shown = in_surest_pose(arena.referee, grid, chunk.x, chunk.y, known)
                    classes = first_wrong([*known, arena.verdicts(chunk, images)], chunk.y)
                else:
                    classes, shown = in_worst_pose(arena.referee, grid, chunk.x, chunk.y, known)
                return self._outcomes(arena, chunk, classes, shown=shown)

            worst.append(self._cell("pose_worst", chunk, searched))
        poses, found = [concatenate(parts) for parts in drawn], concatenate(worst)
        side = min(network.data.image_shape[1:])
        return Posed(
            poses=len(grid.poses(side)),
            degrees=grid.degrees,
            pixels=grid.farthest(side),
            draws=grid.draws,
            random=_mean(np.stack([_right(held) for held in poses])),
            worst_of_draws=interval_of(np.logical_and.reduce([_held(held) for held in poses])),
            worst=interval_of(_held(found)),
            shown=round(float(found.forwards.mean()), 3),
        )

    def _cell(self, name: str, chunk: Chunk, judge: Any) -> Outcomes:
        """A stored cell, or what it is when it is computed now."""
        cell = self.folder.cell(name, chunk.number)
        if cell is None:
            started = time.perf_counter()
            with seeded(seed_for(self.spec.run.id, name, chunk.number), chunk.x.device):
                outcomes = judge()
            cell = StoredCell(outcomes, time.perf_counter() - started, 0)
            self.folder.keep_cell(name, chunk.number, cell)
        self.seconds += cell.seconds
        self.options.progress.advance(len(chunk.y))
        return cell.outcomes

    def _clean(self, arena: Arena, chunk: Chunk) -> Tensor:
        if chunk.number not in self.clean:
            self.clean[chunk.number] = arena.verdicts(chunk, chunk.x)
        return self.clean[chunk.number]

    def _outcomes(
        self,
        arena: Arena,
        chunk: Chunk,
        classes: Tensor,
        distance: Tensor | None = None,
        shown: Tensor | None = None,
    ) -> Outcomes:
        n = len(chunk.y)
        never, no = np.full(n, NEVER, dtype=np.int64), np.zeros(n, dtype=bool)
        return Outcomes(
            ids=chunk.ids.cpu().numpy(),
            labels=chunk.y.cpu().numpy(),
            clean=self._clean(arena, chunk).cpu().numpy(),
            attacked=classes.cpu().numpy(),
            distance=np.zeros(n) if distance is None else distance.double().cpu().numpy(),
            forwards=np.ones(n, dtype=np.int64) if shown is None else shown.cpu().numpy(),
            backwards=np.zeros(n, dtype=np.int64),
            first_success=never,
            moved=no,
            lost=no,
            invalid=no,
        )


def _right(outcomes: Outcomes) -> NDArray[np.bool_]:
    """The true class was answered; nobody attacked, so a refusal is no success."""
    right: NDArray[np.bool_] = outcomes.attacked == outcomes.labels
    return right


def _held(outcomes: Outcomes) -> NDArray[np.bool_]:
    """Not fooled: right or refused."""
    held: NDArray[np.bool_] = _right(outcomes) | (outcomes.attacked == REFUSED)
    return held


def _told(corruption: Corruption, severity: int, held: Outcomes) -> Corrupted:
    return Corrupted(
        name=corruption.name,
        group=corruption.group,
        severity=severity,
        accuracy=interval_of(_right(held)),
        refused=int((held.attacked == REFUSED).sum()),
        distance=round(float(held.distance.mean()), 4),
    )


def _mean(right: NDArray[np.bool_]) -> Mean:
    """Of [k, n] answers: examples are independent of each other, the k answers to one are not."""
    each = right.mean(axis=0)
    value, n = float(each.mean()), len(each)
    error = 1.96 * float(each.std(ddof=1)) / n**0.5 if n > 1 else 1.0
    return Mean(round(value, 6), round(max(0.0, value - error), 6), round(min(1.0, value + error), 6), n)
