"""Files of the user's own behind a network: noted when it comes into a store, found again afterwards."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from bench.core.digest import content_id, source_digest
from bench.core.files import read_text, resolved
from bench.core.imports import file_of, is_given, module_at
from bench.core.json_file import read_json
from bench.core.own import OURS
from bench.core.text import is_id
from bench.data.catalog import PREFIXES, absolute
from bench.data.identity import identity
from bench.errors import BadValue, BenchError
from bench.plan import RunSpec, TrainSpec
from bench.records.origin import Origin, module_of, note_origin, origin_of
from bench.records.record import Record
from bench.records.store import Store
from bench.train.foreign import Foreign
from bench.train.weights_file import is_made_here


def note_files(spec: RunSpec, store: Store) -> None:
    """Note where the files of the user's own lie that the networks of a run were made of."""
    waiting = [spec.training, *(other for _, other in spec.others)]
    while waiting:
        training = waiting.pop()
        note_training(training, store.model(training.id))
        waiting += [parent for _, parent in training.parents]


def note_training(spec: TrainSpec, folder: Path) -> None:
    """The same of one network; one that is not in the store has no place for a note."""
    prefix = spec.data.partition(":")[0]
    origin = Origin(
        data=absolute(spec.data) if prefix in PREFIXES else None,
        checkpoint=_weights(spec),
        extra=absolute(spec.extra.source) if spec.extra is not None and spec.extra.source else None,
        code=tuple(dict.fromkeys(map(_place, spec.given_code))),
    )
    if origin != Origin() and folder.is_dir():
        note_origin(folder, origin)


def give(code: Iterable[str]) -> None:
    """Run the Python files that a user named with --code, each by itself or with one of its classes.

    Raises:
        BenchError: one of them is no Python file, or cannot be run.
    """
    for place in code:
        module = module_at(_file_of(place), "the Python file of the run's own classes")
        _TYPED.add(module.__name__)


def give_code_of(record: Record, store: Store) -> None:
    """Run the user's own code that a run is of, where it lay and is what it was then; nothing else is run.

    Raises:
        BadValue: it is not there any more, or nobody knows where it was.
    """
    made = record.provenance.sources
    places = [place for folder in _folders(record, store) for place in origin_of(folder).code]
    for place in places:
        if not _is_at_hand(module_of(place), made) and _is_as_it_was(place, made):
            module_at(place, "the file that it was made with")
    lacking = [name for name in made if name.partition(".")[0] not in OURS and not _is_there(name)]
    if lacking:
        told = next((f"is not at {place} any more" for place in places if module_of(place) in lacking), None)
        raise BadValue(
            f"run {record.run_id} is of code of your own, {lacking[0]}, which {told or 'is not at hand'}, "
            "expected its file",
            f"--code {lacking[0].rpartition('.')[2]}.py",
        )


def data_of(folder: Path, content: str | None) -> str | None:
    """Where a training's own data lay, as --data takes it, if they are still there; None: they are not."""
    found = origin_of(folder).data
    try:
        return found if found is not None and content in (None, identity(found)) else None
    except BenchError:  # moved, or no data any more
        return None


def _weights(spec: TrainSpec) -> str | None:
    defense = spec.named.defense
    if spec.init is None or not spec.init.path.is_file() or is_made_here(spec.init.path):
        return None
    is_own = not isinstance(defense, Foreign) or defense.source == "file"  # not one that was downloaded
    return str(resolved(spec.init.path)) if is_own else None


def _place(name: str) -> str:
    """The file of a module, or the name by which it is imported out of its package."""
    file = Path(sys.modules[name].__file__ or "")
    return str(file.resolve()) if file.name == f"{name}.py" else name


def _file_of(place: str) -> str:
    """The Python file that is named, by itself or with one of its classes.

    >>> _file_of("mine.py"), _file_of("mine.py:Mine")
    ('mine.py', 'mine.py')
    """
    file, of_a_class, _ = place.rpartition(".py:")
    if not of_a_class and not place.endswith(".py"):
        raise BadValue(f"--code is {place!r}, expected a Python file", "--code FILE.py")
    return f"{file}.py" if of_a_class else place


def _folders(record: Record, store: Store) -> Iterator[Path]:
    """Of the trainings behind a run, parents and attackers' networks too, as far as they are in the store."""
    spec = record.spec
    waiting = [spec["training"]["id"], *spec.get("others", {}).values()]
    while waiting:
        folder = store.model(waiting.pop())
        yield folder
        waiting += _parents(folder)


def _parents(folder: Path) -> list[str]:
    """The trainings behind one, by what it was asked for; none where that is not what has this name."""
    try:
        spec = read_json(folder / "spec.json")["spec"]
        if content_id(spec) != folder.name:
            return []
        return [name for name in spec["parents"].values() if is_id(name)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # who needs it says what is wrong
        return []


_TYPED: set[str] = set()
"""Modules whose files a user named with --code: where those changed, it is told and not undone."""


def _is_at_hand(module: str, made: Mapping[str, str]) -> bool:
    """Whether a module was given: by name, by --code, or by a file that still is the code that made a run."""
    if not is_given(module):
        return False
    file = file_of(sys.modules[module]) if module in sys.modules else None
    return module in _TYPED or file is None or _is_as_it_was(str(file), made)


def _is_as_it_was(place: str, made: Mapping[str, str]) -> bool:
    """Whether a file still is the code that made a run; a module in a package is looked at afterwards."""
    if not place.endswith(".py"):
        return _is_there(place)
    try:
        return source_digest(read_text(Path(place))) == made.get(module_of(place))
    except (OSError, ValueError, SyntaxError):
        return False


def _is_there(name: str) -> bool:
    """Whether a module could be imported; nothing is, for somebody else's record may have named it."""
    if name in sys.modules:
        return True
    top, *inside = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
        for place in range(len(inside)):
            where = None if spec is None else spec.submodule_search_locations
            parts = ".".join([top, *inside[: place + 1]])
            spec = None if where is None else importlib.machinery.PathFinder.find_spec(parts, [*where])
    except (ImportError, ValueError):
        return False
    return spec is not None
