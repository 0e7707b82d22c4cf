"""The engine: one trial on one chunk of examples is one cell, the unit that is computed, stored, resumed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.api import Deployed, Trial
from bench.attacks.norms import require_norm
from bench.attacks.streams import seeded
from bench.core.errors_of_others import in_one_line
from bench.core.outcomes import NEVER, Outcomes
from bench.core.seeds import seed_for
from bench.core.threat import Budget, Knowledge, Source
from bench.errors import AccessDenied, BenchError, QueriesSpent
from bench.evaluate.access import Access, NoDerivative
from bench.evaluate.batches import Batches
from bench.evaluate.ledger import Ledger
from bench.evaluate.nearest import Nearest
from bench.evaluate.numerics import Numerics
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import TOLERANCE, Referee, Verdict, fools
from bench.nn.adapt import Adapted
from bench.nn.tf32 import tf32


@dataclass(frozen=True)
class Chunk:
    """Examples that share a random stream."""

    number: int
    x: Tensor  # [n, C, H, W] on the device
    y: Tensor  # [n]
    ids: Tensor  # [n] positions in the test set


@dataclass(frozen=True)
class Broken:
    """The judged images of what a trial broke."""

    ids: NDArray[np.int64]  # [m] positions in the test set
    images: NDArray[np.float32]  # [m, C, H, W], inside budget and box


@dataclass(frozen=True)
class Cell:
    """What one trial did to one chunk."""

    outcomes: Outcomes | None  # None: the attack failed, and how below
    seconds: float
    flat_gradients: int = 0  # examples whose every gradient was exactly zero
    shared: int = 0  # examples whose images lent networks could not tell from others'
    error: str | None = None
    broken: Broken | None = None  # the judged images of what this trial broke; None: the attack failed


class Arena:
    """A deployed defense, ready to be attacked: everything that cells of one run share.

    `others` holds the networks that are not the victim, by what an attacker calls them. `seed` is what the
    verdicts on a randomized defense are drawn from. On the first of `images` [n, C, H, W] it is decided how
    gradients are computed: the first test images of a run, so that whoever goes on with it decides the same;
    without them, the first images that anybody asks about.
    """

    def __init__(
        self,
        deployed: Deployed,
        budget: Budget,
        num_classes: int,
        others: Mapping[Source, nn.Module],
        numerics: Numerics,
        batches: Batches,
        compiled: bool = False,
        *,
        seed: int,
        images: Tensor | None = None,
    ) -> None:
        self.deployed, self.budget, self.num_classes = deployed, budget, num_classes
        self._seed = seed
        self._compiled, self._images = compiled, images
        self.batches = batches
        self.referee = Referee(deployed, budget, batches)
        self.others, self._numerics = others, numerics
        self._open: dict[Knowledge, Access] = {}

    def access(self, knowledge: Knowledge) -> Access:
        """What this knowledge opens; networks are prepared once for all cells."""
        if knowledge not in self._open:
            self._open[knowledge] = Access(
                self.deployed, knowledge, self.others, self._numerics, self._compiled, self._images
            )
        return self._open[knowledge]

    def notes(self) -> tuple[str, ...]:
        """What was done for the network to answer as ours do, and which shortcuts were not taken, and why."""
        modules = self.referee.deployed.predict.modules()
        said = [f"network: {line}" for part in modules if isinstance(part, Adapted) for line in part.said]
        refused = {access.refused for access in self._open.values()} - {None}
        return (*said, *sorted(f"BatchNorm is not folded for gradients: {reason}" for reason in refused))

    def verdicts(self, chunk: Chunk, x: Tensor) -> Tensor:
        """The classes [n] of images [n, C, H, W], one for each example of a chunk; no attack sees the draws.

        A randomized defense draws the same for the clean images and for those of every column, so columns
        differ by their images and not by luck, and the worst case over them does not choose among draws.
        """
        with seeded(seed_for(self._seed, "verdict", chunk.number), chunk.x.device):
            return self.referee.classify(x)


@tf32(False)
def play(arena: Arena, trial: Trial, chunk: Chunk, seed: int, before: Outcomes | None = None) -> Cell:
    """Attack the examples of a chunk that are right when clean, and judge the result.

    For a sequel, `before` is what the column before it did to this chunk: only what that left is attacked.
    Everything random comes from `seed`, so a cell is the same wherever and whenever it is computed.
    An attack that raises is a failed cell with its message, never a robust example.
    """
    started = time.perf_counter()
    generator = torch.Generator(chunk.x.device).manual_seed(seed)
    require_norm(trial.attack, arena.budget, trial.column)
    referee = arena.referee
    clean = arena.verdicts(chunk, chunk.x)
    apart = seed_for("defense", seed) if arena.deployed.randomized else seed  # from what the attack draws
    with seeded(apart, chunk.x.device):
        standing = clean == chunk.y
        if before is not None:
            standing &= torch.as_tensor(before.robust, device=standing.device)
        rows = standing.nonzero().squeeze(1)
        x, y = chunk.x[rows], chunk.y[rows]
        ledger = Ledger(x, y, arena.num_classes, nearest=isinstance(trial, Nearest))
        try:
            oracle = MeteredOracle(arena.access(trial.knowledge), referee, ledger, arena.batches)
            candidate = _propose(trial, oracle, ledger, arena.budget, generator)
        except BenchError:  # a mistake of the user, such as a package that is not installed
            raise
        except Exception as error:  # whatever an attack does wrong is this column's failure alone
            _require_card(error)
            message = _message(error)
            return Cell(None, time.perf_counter() - started, error=message)
        outcomes, broken = _settle(arena, ledger, candidate, chunk, clean, rows, before)
    flat, shared = int(ledger.flat.sum()), int(ledger.shared.sum())
    return Cell(outcomes, time.perf_counter() - started, flat, shared, broken=broken)


LOST = ("device-side assert", "illegal memory access", "misaligned address", "unspecified launch failure")
"""What CUDA says when a process can compute nothing more on its card."""


class CardLost(BenchError):
    """A fault on a GPU after which this process gets nothing but the same error from it."""


def _require_card(error: Exception) -> None:
    """Raise CardLost where whatever comes after would fail in the same way, through no fault of its own."""
    if any(sign in str(error) for sign in LOST):
        raise CardLost(
            f"the GPU stopped ({in_one_line(error)}), expected labels and indices within their ranges; "
            "what was done is kept",
            "CUDA_LAUNCH_BLOCKING=1 before the same command, which says where",
        ) from error


def _message(error: Exception) -> str:
    """Why a cell failed: a sentence of ours, else what was raised and where."""
    if isinstance(error, NoDerivative):
        return str(error)
    return f"AccessDenied: {error}" if isinstance(error, AccessDenied) else in_one_line(error)


def _propose(
    trial: Trial, oracle: MeteredOracle, ledger: Ledger, budget: Budget, generator: torch.Generator
) -> Tensor:
    if len(ledger.y) == 0:
        return ledger.x
    try:
        # copies: an attack may write into what it is given, and the referee measures by the ledger's images
        candidate = trial.attack(oracle, ledger.x.clone(), ledger.y.clone(), budget, generator)
    except QueriesSpent:  # the harness enforces the limit; what was found until then counts
        candidate = ledger.witness
    ledger.told = ledger.found.clone()
    oracle.broken()  # what was asked last is looked at, too
    if not isinstance(candidate, Tensor):
        raise TypeError(f"the attack returned {type(candidate).__name__}, expected images")
    if candidate.shape != ledger.x.shape:
        expected, got = tuple(ledger.x.shape), tuple(candidate.shape)
        raise ValueError(f"the attack returned images of shape {got}, expected {expected}")
    return candidate


def _settle(
    arena: Arena,
    ledger: Ledger,
    candidate: Tensor,
    chunk: Chunk,
    clean: Tensor,
    rows: Tensor,
    before: Outcomes | None,
) -> tuple[Outcomes, Broken]:
    """What became of every example of the chunk, and the images of what this trial broke.

    Examples that were not attacked are as they were: before, or when clean.
    """
    referee = arena.referee
    verdict = referee.judge(candidate, ledger.x)
    fooled = fools(verdict.classes, ledger.y)
    judged, classes, fell = _last_word(arena, ledger, verdict, chunk, rows)
    first = torch.where(ledger.first_success == NEVER, ledger.forwards, ledger.first_success)
    first = torch.where(fell, first, NEVER)
    steady = not (ledger.nearest or arena.deployed.randomized)
    n, device = len(chunk.y), chunk.y.device
    attacked: Tensor = clean if before is None else torch.as_tensor(before.attacked, device=device)
    moved_by = 0.0 if before is None else torch.as_tensor(before.distance, device=device)

    def spread(values: Tensor, default: Tensor | int | bool | float, dtype: torch.dtype) -> Tensor:
        whole = (
            torch.full((n,), default, dtype=dtype, device=device)
            if not isinstance(default, Tensor)
            else default
        )
        return whole.index_copy(0, rows, values.to(dtype))

    integer, boolean, real = torch.int64, torch.bool, torch.float64
    outcomes = Outcomes(
        ids=chunk.ids.cpu().numpy(),
        labels=chunk.y.cpu().numpy(),
        clean=clean.cpu().numpy(),
        attacked=spread(classes, attacked, integer).cpu().numpy(),
        distance=spread(referee.distance(judged, ledger.x), moved_by, real).cpu().numpy(),
        forwards=spread(ledger.forwards, 0, integer).cpu().numpy(),
        backwards=spread(ledger.backwards, 0, integer).cpu().numpy(),
        first_success=spread(first, NEVER, integer).cpu().numpy(),
        # where the nearest is sought, a mistake beyond the radius is an answer, and all are looked at
        moved=spread(verdict.moved & ~_nearest_beyond(ledger, candidate), False, boolean).cpu().numpy(),
        # where the nearest is sought, the way is no answer; a randomized defense may answer otherwise now;
        # to those whom a lent network answered as before, whatever they asked, it told no failure; and what
        # is seen only after the attack has returned, as on a GPU, it could not return
        lost=spread(ledger.told & ~fooled & ~ledger.misled & steady, False, boolean).cpu().numpy(),
        invalid=spread(verdict.invalid, False, boolean).cpu().numpy(),
    )
    images = judged[fell].to(torch.float32).contiguous().cpu().numpy()
    return outcomes, Broken(chunk.ids[rows[fell].to(chunk.ids.device)].cpu().numpy(), images)


def _last_word(
    arena: Arena, ledger: Ledger, verdict: Verdict, chunk: Chunk, rows: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The image that counts for each example, its class, and whether it fooled the defense.

    The kept success where there is one, else what the attack returned. Of a randomized defense votes choose
    one of the two, and what was chosen is judged by draws of its own: whoever asks often wins votes by luck.
    """
    fooled, kept = fools(verdict.classes, ledger.y), ledger.found
    if ledger.nearest:  # what it returns may be nearer than all that it asked about
        kept = kept & ~(fooled & (arena.referee.distance(verdict.x, ledger.x) < ledger.length))
    elif arena.deployed.randomized:
        kept = kept & ~(fooled & (verdict.agreed > ledger.agreed))
    judged = torch.where(kept[:, None, None, None], ledger.witness, verdict.x)
    if arena.deployed.randomized:
        classes = arena.verdicts(chunk, chunk.x.index_copy(0, rows, judged))[rows]
    else:
        classes = torch.where(kept, ledger.witness_class, verdict.classes)
    return judged, classes, fools(classes, ledger.y)


def _nearest_beyond(ledger: Ledger, candidate: Tensor) -> Tensor:
    """[m] bool: candidates in the box, of a search for the nearest mistake at whatever distance."""
    flat = candidate.flatten(1)
    in_box = (flat.amin(1) >= -TOLERANCE) & (flat.amax(1) <= 1 + TOLERANCE)
    return in_box & ledger.nearest


def part_of(outcomes: Outcomes, start: int, length: int) -> Outcomes:
    """Some of the examples, in their order: what a column did to one chunk."""
    part: dict[str, Any] = {name: held[start : start + length] for name, held in outcomes.arrays().items()}
    return Outcomes(**part)
