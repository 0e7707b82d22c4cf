"""One training of a store: what trains, its weights, and its state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.core.digest import file_sha256
from bench.errors import BadData
from bench.fsck.files import archive_wrong, json_object, spec_wrong, weights_wrong
from bench.fsck.flaw import NOTHING, Flaw
from bench.records.files import is_plain
from bench.records.seal import check

AGAIN = "the same command again, which trains anew"
"""What replaces weights."""


def flaws_of_training(folder: Path) -> Iterator[Flaw]:
    """Whatever is wrong in the folder of a training."""
    result = _result(folder)
    finished = (folder / "training.json").exists()
    whole = (folder / "training.json",) if finished else ()
    wrong = spec_wrong(folder)
    state = tuple(folder.glob("state.ckpt"))
    spec, kept = folder / "spec.json", (*whole, *state, *_weights(folder))
    if wrong is not None and (spec.exists() or kept):
        yield Flaw(spec, wrong, "move", AGAIN, kept)
    if finished and isinstance(result, str):
        yield Flaw(folder / "training.json", result, "move", AGAIN, _weights(folder))
    if isinstance(result, Mapping):
        yield from _flaws_of_weights(folder, result, {"spec.json"} if wrong else set())
    else:
        for path in _weights(folder):
            if (unreadable := weights_wrong(path)) is not None:
                yield Flaw(path, unreadable, "move", AGAIN, whole)
    yield from _flaws_of_state(folder, finished)
    origin = folder / "origin.json"
    if origin.exists() and isinstance(told := json_object(origin), str):
        yield Flaw(origin, told, "remove", "nothing: it is a hint, and noted again")


def _result(folder: Path) -> Mapping[str, Any] | str:
    """What a finished training says, or what is wrong with it."""
    path = folder / "training.json"
    held = json_object(path)
    if isinstance(held, str):
        return held
    try:
        check(held, str(path), AGAIN)
    except BadData as error:
        return error.message.removeprefix(f"{path} ")
    identity = held.get("identity", folder.name)
    return held if identity == folder.name else f"is of the training {identity}, not of {folder.name}"


def _weights(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(folder.glob("*.safetensors")))


def _flaws_of_weights(folder: Path, result: Mapping[str, Any], told: set[str]) -> Iterator[Flaw]:
    """Weights, and what else lies beside them, that are not what `training.json` says; but what was told."""
    done = folder / "training.json"
    digests = {str(result.get("weights")): result.get("sha256"), **_others(result)}
    for name, expected in digests.items():
        path = folder / name
        if name in told:
            continue
        if not is_plain(name):
            what = f"names {name!r}, which is no file of its folder"
            yield Flaw(done, what, "move", AGAIN, _weights(folder))
        elif not path.is_file():
            yield Flaw(path, "is missing, though its training is complete", "move", AGAIN, (done,))
        elif file_sha256(path) != expected:
            # without their spec weights are nobody's
            along = () if path in _weights(folder) else _weights(folder)
            yield Flaw(path, "was changed after its training", "move", AGAIN, (done, *along))
    for path in _weights(folder):
        if path.name not in digests and (wrong := weights_wrong(path)) is not None:
            yield Flaw(path, wrong, "move", AGAIN, (done,))


def _others(result: Mapping[str, Any]) -> dict[str, Any]:
    """Name -> digest of the other files that a training states; of older making it states none."""
    held = result.get("files")
    return dict(held) if isinstance(held, Mapping) else {}


def _flaws_of_state(folder: Path, finished: bool) -> Iterator[Flaw]:
    path = folder / "state.ckpt"
    if not path.is_file():
        return
    if finished:
        yield Flaw(path, "is left over: the training is complete", "remove", NOTHING)
    elif (wrong := archive_wrong(path)) is not None:
        yield Flaw(path, wrong, "remove", "the same command again, which begins at the first epoch")
