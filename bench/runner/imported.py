"""Images that others made against a stored network, judged by the referee on exactly the run's examples."""

from __future__ import annotations

import dataclasses
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.attacks.geometry import project
from bench.attacks.streams import seeded
from bench.core.bitmap import packed
from bench.core.digest import file_sha256, source_digests
from bench.core.files import why
from bench.core.outcomes import REFUSED, worst_case
from bench.core.seeds import seed_for
from bench.core.succession import changed_modules
from bench.core.text import one_line
from bench.core.threat import Budget
from bench.errors import BadData, BadValue
from bench.evaluate.referee import TOLERANCE
from bench.records.arrays import Unreadable, opened
from bench.records.evidence import write
from bench.records.files import sweep
from bench.records.record import Imported, Record, to_json
from bench.records.store import RunFolder, write_atomically
from bench.records.verdicts import best_known_of, worst_case_of
from bench.runner.options import Options
from bench.runner.spec_of_record import spec_of
from bench.runner.stale import require_fresh
from bench.runner.subject import Subject, open_subject
from bench.runner.summary import interval_of

Held = NDArray[np.bool_]


@dataclass(frozen=True)
class Judged:
    """What a file of images came to, example by example."""

    ids: NDArray[np.int64]  # [n]
    robust: Held  # [n] right when clean, and right or refused when shown the image of the file
    outside: int  # images beyond the budget: their clean ones were judged
    covered: int  # of the n examples, those that the file has an image of
    broken: NDArray[np.int64]  # [m] positions of those right when clean that the images broke
    images: NDArray[np.float32]  # [m, C, H, W] that did it


def import_images(
    record: Record,
    file: Path,
    options: Options,
    note: str | None = None,
    data: str | None = None,
    code: tuple[str, ...] = (),
) -> tuple[Record, Judged]:
    """Judge a file of images and note it in the record, whose best known number it can only lower.

    The same file is noted once. What broke something is kept beside the record.

    Raises:
        BadData: the file is no array of images as they must be.
        StaleRecord: other code made the run, and that was not accepted.
        BenchError: the run, its weights, or its data are not at hand.
    """
    spec = spec_of(record, options.store, data, code)
    changed = changed_modules(
        record.provenance.sources, source_digests(spec.modules), randomized=record.draws > 1
    )
    hint = "--accept-stale to judge with the code of now"
    require_fresh(f"run {record.run_id} was made", changed, options, hint)
    held = _array(file)
    subject = open_subject(spec, options)
    images = _images(held, file, subject)
    judged = _judged(subject, images)
    if not judged.covered:
        raise BadData(
            f"{file} has the first {len(images):,} images of the test set, and the run attacked none of "
            "them, expected images of the whole test set"
        )
    folder = options.store.run(record.run_id)
    with options.store.lock("run", record.run_id, options.progress.say) as since:
        sweep(folder.path, since)
        now = folder.record()  # others may have imported something meanwhile
        if now is None or dataclasses.replace(now, imported=record.imported, audit=record.audit) != record:
            raise BadData(
                f"run {record.run_id} was computed again meanwhile, expected it as it was",
                f"bench import {record.run_id} again",
            )
        return _noted(now, folder, file, note, judged), judged


def _array(file: Path) -> NDArray[Any]:
    """What is in the file, as it is, and not read into memory before it is needed."""
    expected, again = "expected a NumPy array of images (.npy)", "np.save('adv.npy', images)"
    try:
        found = opened(file)
    except OSError as error:
        raise BadData(f"{file} cannot be read ({why(error)}), {expected}", again) from None
    except Unreadable as error:
        if zipfile.is_zipfile(file):
            raise BadData(f"{file} holds several arrays, expected one", again) from None
        raise BadData(f"{file} is no array, or one of Python objects ({error}), {expected}", again) from None
    if not np.issubdtype(found.dtype, np.floating):
        raise BadData(
            f"{file} holds {found.dtype}, expected floating point pixels in [0, 1]",
            "np.save('adv.npy', images.astype('float32') / 255)",
        )
    return found


def _images(held: NDArray[Any], file: Path, subject: Subject) -> NDArray[Any]:
    """The array as [m, C, H, W], in the order of the test set."""
    (c, h, w), tests = subject.data.image_shape, len(subject.data.test)
    layouts = {(c, h, w): (0, 1, 2, 3), (h, w, c): (0, 3, 1, 2)}
    given, shape = list(held.shape), held.shape[1:]
    if c == 1 and shape in ((h, w), (h * w,)):
        held, shape = held.reshape(-1, 1, h, w), (c, h, w)
    if shape not in layouts or not 0 < len(held) <= tests:
        flat = f", or flat [n, {h * w}]" if c == 1 else ""
        raise BadData(
            f"{file} has shape {given}, expected [n, {c}, {h}, {w}] or [n, {h}, {w}, {c}]{flat}, "
            f"with n at most {tests:,}: the test set of {subject.data.name}, or its first n, in their order"
        )
    found = held.transpose(layouts[shape])
    for start in range(0, len(found), 1000):
        _check_pixels(found[start : start + 1000], start, file)
    return found


def _check_pixels(part: NDArray[Any], start: int, file: Path) -> None:
    flat = part.reshape(len(part), -1)
    wrong = ~np.isfinite(flat).all(axis=1)
    if wrong.any():
        raise BadData(
            f"{file} holds values that are no numbers, first in image {start + wrong.argmax()}, expected "
            "pixels in [0, 1]"
        )
    low, high = flat.min(), flat.max()
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        scale = "np.save('adv.npy', images / 255)" if high > 2 else "np.save('adv.npy', images.clip(0, 1))"
        row = int(((flat < -TOLERANCE) | (flat > 1 + TOLERANCE)).any(axis=1).argmax())
        raise BadData(
            f"{file} holds pixels from {low:g} to {high:g}, first in image {start + row}, expected [0, 1]",
            scale,
        )


def _judged(subject: Subject, images: NDArray[Any]) -> Judged:
    """Chunk by chunk, so that memory holds one chunk of the file and what broke something."""
    parts = [_part(subject, number, images) for number in range(len(subject.rows))]
    return Judged(
        ids=np.concatenate([part.ids for part in parts]),
        robust=np.concatenate([part.robust for part in parts]),
        outside=sum(part.outside for part in parts),
        covered=sum(part.covered for part in parts),
        broken=np.concatenate([part.broken for part in parts]),
        images=np.concatenate([part.images for part in parts]),
    )


def _part(subject: Subject, number: int, images: NDArray[Any]) -> Judged:
    chunk, referee = subject.chunk(number), subject.arena.referee
    x, y, ids = chunk.x, chunk.y, chunk.ids.cpu().numpy()
    there = ids < len(images)
    given = np.ascontiguousarray(images[ids[there]], dtype=np.float32)
    candidate = x.clone()
    candidate[torch.from_numpy(there).to(x.device)] = torch.from_numpy(given).to(x.device)
    far = beyond(candidate, x, subject.spec.budget)
    candidate = torch.where(far[:, None, None, None], x, candidate)
    with seeded(seed_for(subject.spec.id, "imported", number), x.device):
        correct = referee.classify(x) == y
        verdict = referee.judge(candidate, x)
    stands = (verdict.classes == y) | (verdict.classes == REFUSED)
    broken = correct & ~stands
    return Judged(
        ids=ids,
        robust=(correct & stands).cpu().numpy(),
        outside=int(far.sum()),
        covered=int(there.sum()),
        broken=ids[broken.cpu().numpy()],
        images=verdict.x[broken].cpu().numpy(),
    )


def beyond(candidate: Tensor, x: Tensor, budget: Budget) -> Tensor:
    """[n] bool: images that the way back into budget and box would change by more than rounding.

    Pixel by pixel, as the referee has it: in a distance thousands of roundings add up.
    """
    moved = project(candidate, x, budget) - candidate
    return moved.flatten(1).abs().amax(1) > TOLERANCE


def _noted(record: Record, folder: RunFolder, file: Path, note: str | None, judged: Judged) -> Record:
    """The record with what was imported, on disk too; of a run whose lock is held."""
    sha256 = file_sha256(file)
    if any(found.sha256 == sha256 for found in record.imported):
        return record
    before = best_known_of(record)
    if (
        worst_case_of(record) is None
    ):  # a record from before it held single examples: the run's own table does
        outcomes = folder.examples()
        kept = worst_case(list(outcomes.values()))
        before = kept if before is None else before & kept
    if before is None:
        raise BadValue(f"run {record.run_id} has no worst case, expected a complete run", "bench list runs")
    imported = Imported(
        file=one_line(file.name),
        sha256=sha256,
        note=None if note is None else one_line(note),
        outside=judged.outside,
        alone=interval_of(judged.robust),
        best_known=interval_of(before & judged.robust),
        robust=packed(judged.robust),
    )
    told = {"run": record.run_id, "file": file.name, "note": note or ""}
    kept_in = folder.path / f"imported-{sha256[:12]}.safetensors"
    write(kept_in, {"ids": judged.broken}, told, [judged.images], judged.images.shape)
    found = dataclasses.replace(record, imported=(*record.imported, imported))
    write_atomically(folder.path / "record.json", to_json(found).encode())
    return found
