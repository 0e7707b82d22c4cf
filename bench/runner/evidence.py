"""The images of the worst case: gathered from the cells into one file, and scored again from that file."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.attacks.streams import seeded
from bench.core.digest import file_sha256
from bench.core.outcomes import REFUSED, Outcomes, worst_case
from bench.core.progress import Progress
from bench.core.seeds import seed_for
from bench.errors import BadData
from bench.evaluate.batches import Batches
from bench.evaluate.referee import TOLERANCE, Referee
from bench.records.evidence import FILE, EvidenceImages, cell_images, images, is_whole, write
from bench.records.record import Evidence, Finding
from bench.records.store import RunFolder
from bench.runner.subject import Subject
from bench.runner.summary import interval_of

Held = NDArray[np.bool_]


@dataclass(frozen=True)
class EvidenceScore:
    """What n examples come to, where the broken ones are shown by their stored images."""

    again: Held  # [n] right when clean, and held against the stored image
    rounded: Held  # [n] the same with images rounded to 8 bits, as a file of pictures holds them
    left: int  # images that rounding carried out of the budget


def keep(
    subject: Subject, folder: RunFolder, outcomes: Mapping[str, Outcomes], progress: Progress
) -> tuple[Evidence | None, list[Finding]]:
    """The images of a run whose columns are all there, what they come to, and what is wrong with that.

    The images of its cells stay where they are until the record is stored; `drop_cell_images` is for then.
    """
    worst = Fallen.of(subject, folder, outcomes)
    path = folder.path / FILE
    if not _is_of(path, worst) and not gather(subject, folder, worst, progress):
        return None, []
    scored = score(subject, path)
    evidence = evidence_of(path, scored)
    progress.say(f"{evidence.images} adversarial images ({_size(path)}) are kept in {path}")
    return evidence, disagreements(subject, scored, outcomes)


@dataclass(frozen=True)
class Fallen:
    """Which examples the columns broke, each by the first that did, and what their file says of itself."""

    columns: tuple[str, ...]
    broken: Held  # [n]
    first: NDArray[np.int64]  # [n] the column
    chunk: NDArray[np.int64]  # [n] that the example is in
    ids: NDArray[np.int64]  # [n]
    labels: NDArray[np.int64]  # [n]
    told: Mapping[str, str]  # whose it is

    @classmethod
    def of(cls, subject: Subject, folder: RunFolder, outcomes: Mapping[str, Outcomes]) -> Fallen:
        """The worst case of a run whose columns are all there."""
        columns = list(outcomes)
        fell = np.stack([held.correct & ~held.robust for held in outcomes.values()])
        known = next(iter(outcomes.values()))
        told = {"run": subject.spec.id, "data": subject.data.name, "columns": json.dumps(columns)}
        return cls(
            columns=tuple(columns),
            broken=np.asarray(fell.any(axis=0)),
            first=fell.argmax(axis=0),
            chunk=np.repeat(np.arange(len(subject.rows)), [len(rows) for rows in subject.rows]),
            ids=known.ids,
            labels=known.labels,
            told={**told, "spec": folder.owner("", 0)["spec"]},
        )

    @property
    def arrays(self) -> dict[str, NDArray[np.int64]]:
        """What lies beside the images in their file."""
        return {name: getattr(self, name)[self.broken] for name in ("ids", "labels")} | {
            "columns": self.first[self.broken]
        }


def _is_of(path: Path, worst: Fallen) -> bool:
    """Whether a file of images is there, whole, and of this run: the cells' own may be gone by now."""
    if not path.is_file():
        return False
    try:
        with images(path) as found:
            if any(found.metadata.get(name, told) != told for name, told in worst.told.items()):
                return False
            if "run" not in found.metadata:
                return False
            same = all(np.array_equal(found.array(name), held) for name, held in worst.arrays.items())
        return same and is_whole(path)
    except BadData:
        return False


def gather(subject: Subject, folder: RunFolder, worst: Fallen, progress: Progress) -> bool:
    """Write the images of the worst case, each by the first column that broke it.

    False, and told, where a stored cell was computed without keeping its images.
    """
    broken, first = worst.broken, worst.first
    needed = sorted({*zip(worst.chunk[broken].tolist(), first[broken].tolist(), strict=True)})
    sources = {(chunk, column): cell_images(folder, worst.columns[column], chunk) for chunk, column in needed}
    lacking = [path for path in sources.values() if not path.is_file()]
    if lacking:
        progress.say(
            f"the adversarial images are not kept: {len(lacking)} of the stored cells were computed without "
            "them (--rerun computes all again)"
        )
        return False

    def parts() -> Iterator[NDArray[np.float32]]:
        shape = subject.data.image_shape
        for chunk in range(len(subject.rows)):
            here = broken & (worst.chunk == chunk)
            part = np.empty((int(here.sum()), *shape), dtype=np.float32)
            for column in np.unique(first[here]):
                with images(sources[chunk, int(column)]) as found:
                    part[first[here] == column] = found.of(worst.ids[here & (first == column)])
            yield part

    shape = (int(broken.sum()), *subject.data.image_shape)
    write(folder.path / FILE, worst.arrays, worst.told, parts(), shape)
    return True


def evidence_of(path: Path, scored: EvidenceScore) -> Evidence:
    """What a record says of a file of images."""
    with images(path) as found:
        count = len(found)
    return Evidence(
        file=path.name,
        sha256=file_sha256(path),
        images=count,
        again=interval_of(scored.again),
        rounded=interval_of(scored.rounded),
        left=scored.left,
    )


def score(subject: Subject, path: Path) -> EvidenceScore:
    """Judge the stored images, in batches of another size than the attacks'.

    Raises:
        BadData: the file is damaged, or holds images of examples that are not the run's.
    """
    again, rounded, left = [], [], 0
    with images(path) as found:
        for number in range(len(subject.rows)):
            one, other, out = _scored(subject, number, found)
            again.append(one)
            rounded.append(other)
            left += out
        strange = np.setdiff1d(found.ids, np.concatenate([_ids(subject, rows) for rows in subject.rows]))
    if len(strange):
        raise BadData(
            f"{path} holds an image of example {strange[0]}, which the run did not attack",
            "bench run --rerun",
        )
    return EvidenceScore(np.concatenate(again), np.concatenate(rounded), left)


def disagreements(subject: Subject, scored: EvidenceScore, outcomes: Mapping[str, Outcomes]) -> list[Finding]:
    """Where the stored images say something else than the run; a randomized defense may answer either way."""
    different = int((scored.again != worst_case(list(outcomes.values()))).sum())
    if not different or subject.deployed.randomized:
        return []
    detail = (
        f"{different} of {len(scored.again)} examples have another verdict when their stored images are "
        "shown again in batches of another size"
    )
    return [Finding("evidence-disagrees", "block", detail)]


def _size(path: Path) -> str:
    size = path.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def _ids(subject: Subject, rows: Tensor) -> NDArray[np.int64]:
    ids: NDArray[np.int64] = subject.data.test.ids[rows.to(subject.data.test.ids.device)].cpu().numpy()
    return ids


def _scored(subject: Subject, number: int, found: EvidenceImages) -> tuple[Held, Held, int]:
    """One chunk: what held, what held after rounding, and how many images left the budget by it."""
    chunk = subject.chunk(number)
    x, y, ids = chunk.x, chunk.y, chunk.ids.cpu().numpy()
    place = {int(example): row for row, example in enumerate(found.ids)}
    rows = np.array([row for row, example in enumerate(ids) if int(example) in place], dtype=np.int64)
    referee = _another(subject.arena.referee, len(rows))
    with seeded(seed_for(subject.spec.id, "evidence", number), x.device):
        again = _another(subject.arena.referee, len(x)).classify(x) == y
        rounded = again.clone()
        if len(rows) == 0:
            return again.cpu().numpy(), again.cpu().numpy(), 0
        shown = torch.from_numpy(found.of(ids[rows])).to(x.device)
        at = torch.from_numpy(rows).to(x.device)
        eight = (shown * 255).round() / 255
        again[at] &= _held(referee, shown, y[at])
        rounded[at] &= _held(referee, eight, y[at])
        left = int((referee.distance(eight, x[at]) > referee.budget.radius + TOLERANCE).sum())
    return again.cpu().numpy(), rounded.cpu().numpy(), left


def _held(referee: Referee, x: Tensor, y: Tensor) -> Tensor:
    classes = referee.classify(x)
    return (classes == y) | (classes == REFUSED)


def _another(referee: Referee, count: int) -> Referee:
    """The same referee with batches of another size than any attack on a whole chunk has."""
    another = copy.copy(referee)
    another.batches = Batches(max(1, min(referee.batches.size, count) // 2 - 1))
    return another
