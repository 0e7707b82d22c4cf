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
from bench.records.evidence import FILE, EvidenceImages, cell_images, drop_cell_images, images, write
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
    """The images of a run whose columns are all there, what they come to, and what is wrong with that."""
    path = gather(subject, folder, outcomes, progress)
    if path is None:
        return None, []
    scored = score(subject, path)
    drop_cell_images(folder)
    evidence = evidence_of(path, scored)
    progress.say(f"{evidence.images} adversarial images ({_size(path)}) are kept in {path}")
    return evidence, disagreements(subject, scored, outcomes)


def gather(
    subject: Subject, folder: RunFolder, outcomes: Mapping[str, Outcomes], progress: Progress
) -> Path | None:
    """Write the images of the worst case, each by the first column that broke it.

    None, and told, where a stored cell was computed without keeping its images.
    """
    columns = list(outcomes)
    fell = np.stack([held.correct & ~held.robust for held in outcomes.values()])
    broken, first = fell.any(axis=0), fell.argmax(axis=0)
    known = next(iter(outcomes.values()))
    of_chunk = np.repeat(np.arange(len(subject.rows)), [len(rows) for rows in subject.rows])
    sources = {
        (int(chunk), int(column)): cell_images(folder, columns[column], int(chunk))
        for chunk, column in zip(of_chunk[broken], first[broken], strict=True)
    }
    lacking = [path for path in sources.values() if not path.is_file()]
    if lacking:
        progress.say(
            f"the adversarial images are not kept: {len(lacking)} of the stored cells were computed without "
            "them (--rerun computes all again)"
        )
        return None

    def parts() -> Iterator[NDArray[np.float32]]:
        shape = subject.data.image_shape
        for chunk in range(len(subject.rows)):
            here = broken & (of_chunk == chunk)
            part = np.empty((int(here.sum()), *shape), dtype=np.float32)
            for column in np.unique(first[here]):
                with images(sources[chunk, int(column)]) as found:
                    part[first[here] == column] = found.of(known.ids[here & (first == column)])
            yield part

    path = folder.path / FILE
    arrays = {"ids": known.ids[broken], "labels": known.labels[broken], "columns": first[broken]}
    told = {"run": subject.spec.id, "data": subject.data.name, "columns": json.dumps(columns)}
    write(path, arrays, told, parts(), (int(broken.sum()), *subject.data.image_shape))
    return path


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
        again = referee.classify(x) == y
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
