"""Modules by name or by file: whatever is asked for as `package.module` or as `PATH.py`."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import itertools
import stat
import sys
import traceback
from collections.abc import Iterator
from contextvars import ContextVar
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from bench.core.files import resolved
from bench.errors import BadValue, UnknownName

FROM_FILE = "_from_path"
"""What a module that was run from a file is told of it."""

CODE = "names code"
"""In the metadata of a field that holds "module:attribute", which will be imported and called."""

ROOT = (
    *(".git", "pyproject.toml", "setup.py", "setup.cfg", "requirements.txt"),
    *("README.md", "README.rst", "README", "LICENSE"),
)
"""What lies at the root of a project."""

_GIVEN: set[str] = {"bench.train.memory"}
"""Modules that a user named or whose files a user gave; what is in memory was given to this process."""


_RUN: ContextVar[dict[str, Path] | None] = ContextVar("files run", default=None)
"""Module -> the file that stands for it; None: whoever comes last does."""


@contextlib.contextmanager
def one_file_each() -> Iterator[None]:
    """Inside, no file stands in for another of the same name: each network is built by its own code."""
    token = _RUN.set({})
    try:
        yield
    finally:
        _RUN.reset(token)


def is_given(module: str) -> bool:
    """Whether a user named this module, or gave its file, in this process.

    >>> module_at("math", "a module") is not None and is_given("math"), is_given("os")
    (True, False)
    """
    return module in _GIVEN


def has_run(path: Path) -> bool:
    """Whether the file was run as a module in this process."""
    place = resolved(path)
    return any(getattr(module, "__dict__", {}).get(FROM_FILE) == place for module in [*sys.modules.values()])


def module_at(place: str, expected: str) -> ModuleType:
    """The module `package.module`, or that in the file `PATH.py`, run once: who asks again gets the same.

    A file's module is known by the file's name, wherever the file lies.

    Raises:
        UnknownName: there is no such file; `expected` says what there should be.
        BadValue: the file cannot be run, or has the name of another module.
        ImportError: there is no such module.

    >>> module_at("math", "a module").pi > 3
    True
    """
    if not place.endswith(".py"):
        with as_if_run():
            found = importlib.import_module(place)
        _GIVEN.add(place)
        return found
    path = resolved(place)
    if not path.is_file():
        raise UnknownName(f"there is no file {place!r}, expected {expected}")
    found = _module_of_file(path)
    _GIVEN.add(found.__name__)
    return found


@contextlib.contextmanager
def as_if_run(file: Path | None = None) -> Iterator[None]:
    """Inside, modules of others find what they expect: folders to import from, of a file also its project's.

    The command line is empty, and what they print goes to stderr.
    """
    wanted = [] if file is None else [str(folder) for folder in imports_from(file)]
    ordered = dict.fromkeys([*wanted[:1], str(Path.cwd()), *wanted[1:]])
    places = [place for place in ordered if place not in sys.path]
    arguments = sys.argv
    sys.path[:0] = places
    sys.argv = arguments[:1]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.argv = arguments
        for place in places:
            sys.path.remove(place)


def file_of(module: ModuleType) -> Path | None:
    """The file of a module that was run from a file; None: it was imported by its name."""
    path: Path | None = vars(module).get(FROM_FILE)
    return path


def imports_from(file: Path) -> tuple[Path, ...]:
    """The folders from which a file expects to import: its own, its package's, and the roots of its project.

    Folders of another account, and those that everybody may write to, are nobody's project, nor is what lies
    above them.
    """
    roots = [folder for folder in _above(file) if any((folder / name).exists() for name in ROOT)]
    return tuple(dict.fromkeys([file.parent, *_around_package(file), *roots]))


def _above(file: Path) -> list[Path]:
    """The folders above that of a file which belong to the same account."""
    owner = file.parent.stat().st_uid

    def is_theirs(folder: Path) -> bool:
        held = folder.stat()
        return held.st_uid == owner and not held.st_mode & stat.S_IWOTH

    return [*itertools.takewhile(is_theirs, file.parent.parents)]


def _around_package(file: Path) -> list[Path]:
    """The folder in which the outermost package around a file lies, if it lies in one."""
    inside = [*itertools.takewhile(lambda folder: (folder / "__init__.py").is_file(), file.parents)]
    return [inside[-1].parent] if inside and inside[-1].parent in _above(file) else []


def _package_of(file: Path) -> str:
    """The package by which a file's relative imports count; empty: it lies in none."""
    _, *outside = imports_from(file)
    parts = file.parent.relative_to(outside[0]).parts if outside else ()
    return ".".join(parts) if all(part.isidentifier() for part in parts) else ""


def _module_of_file(path: Path) -> ModuleType:
    """The module in a file, run once: whoever asks again gets the same classes."""
    name = path.stem
    if (files := _RUN.get()) is not None and (other := files.setdefault(name, path)) != path:
        raise BadValue(
            f"{str(other)!r} and {str(path)!r} are both module {name!r}, expected a name of its own for each",
            f"renaming one of them, such as my_{name}.py",
        )
    held = sys.modules.get(name)
    if held is not None and held.__dict__.get(FROM_FILE) == path:
        return held
    if held is None or FROM_FILE not in held.__dict__:
        _check_name_is_free(name, path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UnknownName(f"{str(path)!r} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    module.__dict__[FROM_FILE] = path
    module.__package__ = _package_of(path)
    if module.__package__:  # of the two, newer Pythons ask the specification
        module.__spec__ = ModuleSpec(f"{module.__package__}.{name}", spec.loader, origin=str(path))
    sys.modules[name] = module  # dataclasses look up their module while it is being run
    try:
        with as_if_run(path):
            spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, SystemExit):
            raise BadValue(
                f"{str(path)!r} ends the program when it is imported (exit code {error.code}"
                f"{_line_in(path, error)}), expected a file that only defines what is in it",
                "if __name__ == '__main__': before what it does",
            ) from None
        if not isinstance(error, Exception):
            raise
        reason = f"{type(error).__name__}: {error}".replace("\n", " ")
        line = _line_in(path, error)
        raise BadValue(
            f"{str(path)!r} cannot be imported ({reason}{line}), expected Python that runs"
        ) from error
    return module


def _check_name_is_free(name: str, path: Path) -> None:
    """A file must not stand in for a module that other code imports."""
    if not name.isidentifier():
        raise BadValue(
            f"the file {str(path)!r} is named {name!r}, which is no name of a module, expected letters, "
            f"digits and _"
        )
    other = sys.modules[name].__spec__ if name in sys.modules else importlib.util.find_spec(name)
    origin = other.origin if other is not None else None
    if other is not None and (origin is None or Path(origin).resolve() != path):
        raise BadValue(
            f"the file {str(path)!r} has the name of another module, {name!r}, expected a name of its own",
            f"renaming it, such as my_{name}.py",
        )


def _line_in(path: Path, error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return ""  # its text names the line
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    return f", line {lines[-1]}" if lines else ""
