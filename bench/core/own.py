"""The user's own modules behind a defense, an attack or a factory, as far as imports lead to them."""

from __future__ import annotations

import ast
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

OURS = ("bench", "defenses")
"""Packages whose imports are followed by `source_digests` itself."""


def with_own_imports(modules: Iterable[str]) -> list[str]:
    """These modules, and those of the user's own that they import, one after the other.

    Not those of ours, of Python, or of installed packages, whose versions a record holds. Imports are read
    from the source and nothing is run.
    """
    found: list[str] = []
    waiting = list(modules)
    while waiting:
        name = waiting.pop(0)
        if name in found:
            continue
        found.append(name)
        path = None if name.partition(".")[0] in OURS else own_source(name)
        if path is not None:
            named = [name.rpartition(".")[0], *_imported(name, path)]  # its package is run before it
            waiting += [other for other in named if own_source(other) is not None]
    return found


def _imported(name: str, path: Path) -> Iterator[str]:
    """Every name that is imported, a module's or that of something in it."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parent, *([node.module] if node.module else [])])
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


def own_source(name: str) -> Path | None:
    """The file of a module, if it is the user's own; None: it is ours, installed, or no module."""
    if not name or name.partition(".")[0] in OURS:
        return None
    try:
        spec = getattr(sys.modules.get(name), "__spec__", None) or importlib.util.find_spec(name)
    except (ImportError, AttributeError, ValueError):  # something in a module, not a module
        return None
    if spec is None or not (spec.origin or "").endswith(".py"):
        return None
    path = Path(str(spec.origin)).resolve()
    installed = [Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "purelib", "platlib")]
    return None if any(folder in path.parents for folder in installed) else path
