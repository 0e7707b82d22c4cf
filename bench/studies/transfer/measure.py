"""Transfer: images made on each network, white-box to the last step, are the cells; here all judge them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from bench.attacks.geometry import project
from bench.core.encoding import describe
from bench.core.outcomes import REFUSED
from bench.core.seeds import seed_for
from bench.errors import AccessDenied, BadData, BadValue
from bench.evaluate.engine import Chunk
from bench.evaluate.unstopped import adversarial_images
from bench.records.store import Arrays
from bench.runner.options import Options
from bench.runner.subject import Subject
from bench.runner.summary import interval_of
from bench.studies.cells import Cells, CellTask
from bench.studies.measuring import Figures, Measuring
from bench.studies.transfer.plan import TransferSpec

IMAGES = "images"
"""The one column of each network."""


class Measure(Measuring[TransferSpec]):
    """Every network, ready to be attacked and to judge."""

    def __init__(self, spec: TransferSpec, options: Options) -> None:
        super().__init__(spec, options)
        self._players = {subject.spec.id: subject for subject in self.subjects}  # who is named twice: once
        for player in self._players.values():
            player.arena.access(spec.trial.knowledge)  # lays weights out now: verdicts do not depend on when

    @property
    def columns(self) -> int:
        """One for each network."""
        return len(self._players)

    def cell(self, task: CellTask) -> Arrays:
        """The images [m, C, H, W] that the attack makes of a chunk on the network of a part."""
        player, trial = self._players[task.part], self.spec.trial
        chunk = player.chunk(task.number)
        seed = seed_for(task.part, trial.column, task.number)
        try:
            made = adversarial_images(player.arena, trial.attack, trial.knowledge, chunk.x, chunk.y, seed).x
        except (AccessDenied, RuntimeError, ValueError, TypeError, ArithmeticError, LookupError) as error:
            raise BadValue(
                f"the attack {trial.column} failed on {_label(player)} ({type(error).__name__}: {error})",
                "--attack with another name",
            ) from error
        return {"ids": chunk.ids.cpu().numpy(), "images": made.cpu().numpy()}

    def figures(self, cells: Cells) -> Figures:
        """The images of all, then what each network makes of them."""
        cells.make([IMAGES], parts=list(self._players))
        clean = {ident: _clean(player) for ident, player in self._players.items()}
        robust = {
            (source, target): interval_of(clean[target] & held)
            for source in self._players
            for target, held in self._held(cells, source).items()
        }
        order = [run.id for run in self.spec.runs]
        return Figures(
            clean=tuple(interval_of(clean[ident]) for ident in order),
            fields={
                "attack": describe(self.spec.trial.attack),
                "knowledge": self.spec.trial.knowledge.label,
                "robust": tuple(tuple(robust[source, target] for target in order) for source in order),
            },
        )

    def _held(self, cells: Cells, source: str) -> dict[str, NDArray[np.bool_]]:
        """Target -> which images [n] of a source it classifies right or refuses."""
        parts: dict[str, list[NDArray[np.bool_]]] = {ident: [] for ident in self._players}
        for chunk, held in zip(self.subject.chunks(), cells.read(IMAGES, source), strict=True):
            if not np.array_equal(held["ids"], chunk.ids.cpu().numpy()):
                raise BadData(
                    f"the stored images of {_label(self._players[source])} are of other examples than those "
                    f"of chunk {chunk.number}, expected the same",
                    "--rerun to make them again",
                )
            for ident, player in self._players.items():
                parts[ident].append(_holds(player, chunk, held["images"]))
        return {ident: np.concatenate(found) for ident, found in parts.items()}


def _clean(player: Subject) -> NDArray[np.bool_]:
    """Which examples [n] a network gets right before any attack."""
    right = [player.arena.verdicts(chunk, chunk.x) == chunk.y for chunk in player.chunks()]
    return torch.cat(right).cpu().numpy()


def _holds(player: Subject, chunk: Chunk, images: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which images [m] a network classifies right or refuses, once they are within the budget."""
    shown = project(torch.from_numpy(images).to(chunk.x.device), chunk.x, player.spec.budget)
    classes = player.arena.verdicts(chunk, shown)
    held: NDArray[np.bool_] = ((classes == chunk.y) | (classes == REFUSED)).cpu().numpy()
    return held


def _label(player: Subject) -> str:
    training = player.spec.training
    return f"{training.named.label}@{training.architecture}"
