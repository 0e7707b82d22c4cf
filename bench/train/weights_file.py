"""Weights in the files of others: read without running code, found wherever they lie, fitted to a network."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from bench.core.files import open_regular, require_room, why
from bench.errors import BadCheckpoint, BadValue, unknown
from bench.nn.adapt import bare
from bench.train.checkpoints import Weights, weights_of
from bench.train.lookalike import Lookalike, read_pickle

DEPTH = 5
"""How many tables deep a table of weights is looked for."""

COUNTED = ("num_batches_tracked", "total_ops", "total_params", "n_averaged")
"""Names of counters, which no network reads in eval mode: BatchNorm's, thop's, those of averages."""

SCALING = ("mean", "std", "mu", "sigma")
"""Names of the numbers of a normalisation."""

_ROOT = "the file itself"
_MADE = "bench-weights-"


def load_foreign(path: Path, net: nn.Module, key: str = "") -> tuple[str, ...]:
    """Load the weights in a file of anybody's into a network; gives what a user should know of it.

    The file is safetensors, an npz of arrays, or a pickle, of which no code is run. Its table of weights may
    lie within other tables (`key` names one: "ema.state_dict"), its names may have one prefix more or less
    than the network's, and counters that evaluation does not read may be more or fewer.

    Raises:
        BadCheckpoint: the file is no table of weights, or none that fits, name by name and shape by shape.
        BadValue: several different tables fit, or `key` names none.
    """
    net, contents = bare(net), _contents(path)
    if contents.found == {} and not net.state_dict():
        return contents.said
    tables = dict(_tables(contents.found))
    if not tables:
        what = _described(contents.found)
        raise BadCheckpoint(f"{path} holds no table of tensors, but {what}", "the state_dict of a network")
    if key and key not in tables:
        raise unknown("table of weights", key, tables, owner=str(path))
    chosen = {key: _Table(tables[key].weights)} if key else tables  # who names it knows what lies beside
    tried = {place: _fit(place, table, net) for place, table in chosen.items()}
    fitting = {place: fit for place, fit in tried.items() if not fit.fault}
    if not fitting:
        nearest = max(tried.values(), key=lambda fit: fit.common)
        raise BadCheckpoint(f"{path} does not fit the network: {nearest.fault}", nearest.remedy)
    place, fit = _only(path, fitting)
    for name, tensor in fit.weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise BadCheckpoint(
                f"{path} holds numbers that are not finite in {name}, expected trained weights"
            )
    net.load_state_dict(fit.weights, strict=False)
    beside = (
        []
        if key or len(tables) == 1 or place == _ROOT
        else [f"{path.name}: the weights under {place} are taken"]
    )
    return (*contents.said, *beside, *(f"{path.name}: {sentence}" for sentence in fit.said))


def table_in(path: Path) -> Weights:
    """The outermost table of weights in a file of anybody's, by their own names.

    Raises:
        BadCheckpoint: it holds none.
    """
    tables = dict(_tables(_contents(path).found))
    if not tables:
        raise BadCheckpoint(f"{path} holds no table of tensors", "the state_dict of a network")
    return next(iter(tables.values())).weights


def own_weights(net: nn.Module) -> Path:
    """The weights that a network was made with, in a file that is there as long as this process."""
    folder = Path(tempfile.mkdtemp(prefix=_MADE))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "network.safetensors"
    safetensors.torch.save_file(weights_of(net), path)
    return path


def is_made_here(path: Path) -> bool:
    """Whether it is a file of `own_weights`, which is gone with the process."""
    return path.parent.name.startswith(_MADE)


@dataclass(frozen=True)
class _Contents:
    """What a file holds, and what is to be said of how it was read."""

    found: object
    said: tuple[str, ...] = ()


def _contents(path: Path) -> _Contents:
    try:
        with open_regular(path) as file:
            start = file.read(64)
    except OSError as error:
        raise BadCheckpoint(f"{path} cannot be read ({why(error)})", "the path of a weights file") from None
    try:
        _refuse_what_is_no_table(path, start)
        require_room(path)
        if path.suffix == ".safetensors" or start[8:9] == b"{":
            return _Contents(safetensors.torch.load_file(path))
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return _Contents({name: torch.from_numpy(arrays[name]) for name in arrays.files})
        return _unpickled(path)
    except BadCheckpoint:
        raise
    except Exception as error:  # whatever a foreign file makes the readers raise
        raise BadCheckpoint(
            f"{path} is not a safetensors file or a pickle of plain tensors ({_reason(error)})",
            "saving it again as safetensors",
        ) from None


def _refuse_what_is_no_table(path: Path, start: bytes) -> None:
    """Say what a file is that is something else, and what to type for it."""
    text = start.lstrip()
    if text.startswith((b"<", b"version https://git-lfs")):
        what = "a web page" if text.startswith(b"<") else "a pointer to a large file"
        raise BadCheckpoint(f"{path} is {what}, not weights", "downloading the file itself")
    if path.suffix == ".onnx" or (start[:1] == b"\x08" and b"pytorch" in start):
        raise BadCheckpoint(
            f"{path} is a network in ONNX, of which torch knows no gradients, expected a network of torch",
            "--factory FILE.py:CALLABLE, where the callable returns one, by onnx2torch.convert, say",
        )
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any(name.endswith("constants.pkl") for name in names):
            raise BadCheckpoint(
                f"{path} is a TorchScript program, which brings its own code, expected a table of weights",
                "--factory FILE.py:make without --checkpoint, where make returns "
                f"torch.jit.load({str(path)!r})",
            )


def _unpickled(path: Path) -> _Contents:
    """A pickle, in which classes are replaced by lookalikes that hold what is stored and run nothing."""
    found = read_pickle(path)
    if isinstance(found, Lookalike) and found.is_network:
        told = f"{path.name} is a pickle of a whole network ({found.kind})"
        return _Contents(_weights_within(found), (f"{told}: its weights are taken, its code is not run",))
    return _Contents(found)


def _weights_within(network: Lookalike, prefix: str = "") -> Weights:
    """What `state_dict` of a pickled network would give."""
    state = network.state
    passing: Any = state.get("_non_persistent_buffers_set", ())
    held = {**state.get("_parameters", {}), **state.get("_buffers", {})}
    found = {
        f"{prefix}{n}": t.detach() for n, t in held.items() if isinstance(t, Tensor) and n not in passing
    }
    for name, child in state.get("_modules", {}).items():
        if isinstance(child, Lookalike):
            found.update(_weights_within(child, f"{prefix}{name}."))
    return found


@dataclass(frozen=True)
class _Table:
    """Weights by their names in a file, and what lies beside them in the same table."""

    weights: Weights
    beside: Mapping[str, Tensor] = field(default_factory=dict)


def _tables(found: object, place: str = "", depth: int = DEPTH) -> Iterator[tuple[str, _Table]]:
    """Every mapping of names to tensors within others, and within lists, by the keys that lead to it.

    A flat table whose names begin with different words (`model.`, `ema.`) also counts by each of them.
    """
    if isinstance(found, Lookalike) and found.is_network:
        yield place, _Table(_weights_within(found))
        return
    if isinstance(found, (list, tuple)):
        found = {str(number): item for number, item in enumerate(found) if not isinstance(item, Tensor)}
    if not isinstance(found, Mapping) or depth == 0:
        return
    table = {name: _as_tensor(item) for name, item in found.items() if isinstance(name, str)}
    weights = {name: tensor for name, tensor in table.items() if tensor is not None}
    if weights:
        yield place or _ROOT, _Table(weights)
        parts = list(dict.fromkeys(name.partition(".")[0] for name in weights if "." in name))
        for part in parts if len(parts) > 1 else ():
            inner = {name: t for name, t in weights.items() if name.startswith(f"{part}.")}
            beside = {name: t for name, t in weights.items() if name not in inner}
            yield f"{place}.{part}" if place else part, _Table(inner, beside)
    for name, item in found.items():
        if isinstance(name, str):
            yield from _tables(item, f"{place}.{name}" if place else name, depth - 1)


def _as_tensor(item: object) -> Tensor | None:
    if isinstance(item, np.ndarray) and item.dtype.kind in "fiub":
        return torch.from_numpy(np.array(item))
    return item.detach() if isinstance(item, Tensor) else None


@dataclass(frozen=True)
class _Fit:
    """A table of weights under a network's own names; `fault`: why it does not fit."""

    weights: Weights
    said: tuple[str, ...] = ()
    fault: str = ""
    remedy: str = "the defense, data set and architecture it was trained with"
    common: int = 0


def _fit(place: str, table: _Table, net: nn.Module) -> _Fit:
    """A table under the network's names, by the pair of prefixes that makes most names agree.

    What lies beside it may be left out, unless it is a normalisation that the network would lack.
    """
    found, wanted, must = table.weights, net.state_dict(), _required(net)
    theirs, ours = _prefixes(found), _prefixes(must)
    tried = {(a, b): _renamed(found, a, b) for a in theirs for b in ours}
    (a, b), named = max(tried.items(), key=lambda pair: (len(must.keys() & pair[1].keys()), -len(pair[0][0])))
    dropped = [name for name in named if name not in wanted and _last(name) in COUNTED]
    named = {name: tensor for name, tensor in named.items() if name not in dropped}
    missing = [name for name in must if name not in named]
    more = [name for name in named if name not in wanted]
    common = len(must) - len(missing)
    if missing or more:
        faults = [*_listed("misses", missing), *_listed("has unexpected", more)]
        return _Fit({}, fault=f"it {' and '.join(faults)}", common=common)
    scaling = {_last(name): tensor for name, tensor in table.beside.items() if _last(name) in SCALING}
    if scaling:
        fault = f"beside its weights it has {' and '.join(scaling)} of a normalisation, which nothing applies"
        return _Fit({}, fault=fault, remedy=_normalizing(scaling, place), common=common)
    for name, tensor in named.items():
        if tensor.shape != wanted[name].shape:
            fault = f"{name} is {_size(tensor)}, expected {_size(wanted[name])}"
            return _Fit({}, fault=fault, common=common)
    said = (
        [f"names begin with {a or 'nothing'} in the file and with {b or 'nothing'} in the network"]
        if a != b
        else []
    )
    lacking = [name for name in wanted if name not in named]
    for names, what in (
        ([*dropped, *table.beside], "left out"),
        (lacking, "not in it, so as the network was made"),
    ):
        if names:
            said.append(f"{_some(sorted({_last(name) for name in names}))} {what}")
    return _Fit(named, tuple(said), common=common)


def _renamed(found: Weights, theirs: str, ours: str) -> Weights:
    return {f"{ours}{name.removeprefix(theirs)}": tensor for name, tensor in found.items()}


def _required(net: nn.Module) -> Weights:
    """What a table must hold: all parameters, and the statistics of BatchNorms.

    Other buffers are constants that the network's own code computes.
    """
    state = net.state_dict()
    trained = {name for name, _ in net.named_parameters(remove_duplicate=False)}
    return {
        name: tensor
        for name, tensor in state.items()
        if name in trained or _last(name) in ("running_mean", "running_var")
    }


def _prefixes(names: Mapping[str, Tensor]) -> list[str]:
    """What all names begin with, from nothing to all that they share.

    >>> _prefixes({"model.net.a.weight": None, "model.net.b": None})
    ['', 'model.', 'model.net.']
    """
    parts = [name.split(".")[:-1] for name in names]
    found = [""]
    for place, part in enumerate(parts[0] if parts else ()):
        if any(len(other) <= place or other[place] != part for other in parts):
            break
        found.append(f"{found[-1]}{part}.")
    return found


def _only(path: Path, fitting: Mapping[str, _Fit]) -> tuple[str, _Fit]:
    """The one table that fits, or the first of several that hold the same numbers."""
    (place, first), *others = fitting.items()
    differing = [other for other, fit in others if not _same(fit.weights, first.weights)]
    if differing:
        raise BadValue(
            f"{path} holds {1 + len(differing)} tables that fit the network, "
            f"{', '.join([place, *differing])}, expected to be told which",
            f"--set defense.key={place}",
        )
    return place, first


def _same(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _normalizing(scaling: Mapping[str, Tensor], place: str) -> str:
    """What to type for a normalisation that a file has and the network has not."""
    texts = [",".join(f"{value:.6g}" for value in tensor.flatten().tolist()) for tensor in scaling.values()]
    return f"--normalize {'/'.join(texts[:2])} --set defense.key={place}"


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _listed(verb: str, names: Sequence[str]) -> list[str]:
    return [f"{verb} {_some(names)}"] if names else []


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _size(tensor: Tensor) -> str:
    return "x".join(str(length) for length in tensor.shape) or "a single number"


def _described(value: object) -> str:
    if isinstance(value, Lookalike):
        return f"an object of {value.kind}"
    if isinstance(value, Mapping):
        kinds = sorted({type(item).__name__ for item in value.values()})
        return f"a table of {', '.join(kinds)}" if kinds else "an empty table"
    return f"the type {type(value).__name__}"


def _reason(error: Exception) -> str:
    """Why a file cannot be read, in one sentence: of torch's page of advice, the line that says it."""
    text = " ".join((str(error).strip() or type(error).__name__).split())
    named = re.search(r"GLOBAL (\S+)", text)
    if named:
        return f"it would run {named[1]}"
    found = re.search(r"WeightsUnpickler error: (.*?)( Check the documentation|$)", text)
    return (found[1] if found else text.split(". ")[0])[:200].rstrip(". ")
