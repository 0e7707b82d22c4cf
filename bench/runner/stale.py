"""Which code made what lies in the store, and what to do where it has changed since."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.core.behind import FIGURES, LEFT_OUT
from bench.core.digest import content_id, source_digests
from bench.core.strict_json import parsed
from bench.core.succession import changed_modules
from bench.data.dataset import Dataset
from bench.errors import BadCheckpoint, BadData, StaleRecord
from bench.plan import RunSpec, TrainSpec
from bench.records.record import Record
from bench.records.store import RunFolder, Store, write_atomically
from bench.runner.options import Options

NAMING = LEFT_OUT
"""Modules that find, name and keep what is computed: another defense or attack makes no old study stale."""


def study_sources(modules: Iterable[str]) -> dict[str, str]:
    """The digests of the code behind a study: these modules and all that they import, but what only names."""
    return source_digests(modules, ("bench", "defenses", *NAMING))


def study_changes(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The modules behind a stored study whose code is another now.

    It does not say whether its defense is randomized, so what changed the results of such counts for all.
    """
    return changed_modules(then, now, randomized=True)


def require_fresh(
    what: str,
    changed: list[str],
    options: Options,
    hint: str = "--rerun to compute it again, or --accept-stale to see it as it is",
) -> None:
    """Refuse what other code made: "run 0123 was made"; `changed` names the modules that differ since.

    Raises:
        StaleRecord: there are such, and nobody said that it may be used as it is.
    """
    if changed and options.stale == "refuse":
        raise StaleRecord(f"{what} by other code ({listed(changed)} changed since)", hint)


def figures_digest(sources: Mapping[str, str]) -> str:
    """The version of what makes a record of cells: of the code that is not behind the cells themselves."""
    return content_id(sorted({*source_digests(FIGURES).values()} - {*sources.values()}))


def has_old_figures(record: Record, folder: RunFolder, sources: Mapping[str, str]) -> bool:
    """Whether the figures of a complete record can and should be made anew: its cells are there and fresh."""
    if record.provenance.figures == figures_digest(sources):
        return False
    changed = changed_modules(record.provenance.sources, sources, randomized=record.draws > 1)
    computed = [column.name for column in record.columns if column.robust is not None]
    chunks = -(-record.examples // int(record.spec["suite"]["chunk"]))
    return not changed and folder.holds(computed, chunks, sources)


def stored_record(folder: RunFolder, sources: Mapping[str, str], options: Options) -> Record | None:
    """The record of a complete run, unless it is to be computed again.

    Raises:
        StaleRecord: other code made it.
    """
    if options.stale == "rerun":
        folder.forget()
        return None
    record = folder.record()
    if record is None:
        return None
    changed = changed_modules(record.provenance.sources, sources, randomized=record.draws > 1)
    require_fresh(f"run {record.run_id} was made", changed, options)
    return record


def check_training(spec: TrainSpec, folder: Path, sources: Mapping[str, str], options: Options) -> bool:
    """Refuse weights that other code trained; gives whether there are such, and they were asked for."""
    held = _trained_by(folder)
    changed = changed_modules(held, sources) if held is not None else []
    told = f"the weights {spec.id} of {spec.named.label} were trained"
    require_fresh(told, changed, options, "--rerun to train again, or --accept-stale to use them as they are")
    return bool(changed)


def check_data(spec: TrainSpec, folder: Path, data: Dataset, options: Options) -> bool:
    """Refuse weights of other images under the same name; gives whether there are such, and go by --rerun.

    Data of one's own are in the name of a training by their content, published ones by their name alone.
    """
    held = _note(folder, "data_digest")
    changed = held is not None and held != data.digest
    if changed and options.stale != "rerun":
        raise BadData(
            f"the weights {spec.id} of {spec.named.label} were trained on other images than those that are "
            f"{data.name} here (digest {held} then, {data.digest} now), expected the same",
            "--data-root with the folder of then, or --store with another one",
        )
    return changed


def open_training(
    spec: TrainSpec, folder: Path, sources: Mapping[str, str], data: Dataset, anew: bool
) -> None:
    """Note which code trains these weights on which images, before any; `anew` drops what there is."""
    path = folder / "spec.json"
    if path.is_file() and not anew:
        return
    for old in folder.iterdir() if anew else ():
        if old != path:  # replaced last: after a kill, what is left still counts as other code's
            old.unlink()
    note = {"spec": spec.encoded(), "sources": dict(sources), "data_digest": data.digest}
    content = json.dumps(note, indent=1, sort_keys=True)
    write_atomically(path, content.encode())


def sources_behind(spec: RunSpec, store: Store, sources: Mapping[str, str]) -> dict[str, str]:
    """The code behind a record; where stale weights were accepted, the code that trained them."""
    made = dict(sources)
    waiting = [spec.training, *(other for _, other in spec.others)]
    while waiting:
        training = waiting.pop()
        held = _trained_by(store.model(training.id)) or {}
        changed = changed_modules(held, source_digests(training.modules))
        made.update({name: held[name] for name in changed if name in held})
        waiting += [parent for _, parent in training.parents]
    return dict(sorted(made.items()))


def _trained_by(folder: Path) -> dict[str, str] | None:
    """The digests of the code that trained the weights in a folder; None: nothing was trained there."""
    held = _note(folder, "sources")
    return None if held is None else dict(held)


def _note(folder: Path, key: str) -> Any:
    """What was noted of the weights in a folder when they were trained; None: nothing."""
    path = folder / "spec.json"
    if not path.is_file():
        return None
    try:
        held = parsed(path.read_text(encoding="utf-8"))
        dict(held["sources"])
        return held.get(key)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadCheckpoint(f"{path} is damaged", f"rm -r {folder} and train again") from None


def listed(names: list[str]) -> str:
    """The first three, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
