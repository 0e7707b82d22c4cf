"""Names for content: the same content, the same name."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from bench.core.names import as_published


def canonical(data: object) -> str:
    """JSON with one spelling: sorted keys, no spaces, no NaN, names of classes as they were first published.

    >>> canonical({"b": 1, "a": [True, None]}), canonical({"is": "budget"})
    ('{"a":[true,null],"b":1}', '{"is":"bench.core.threat:Budget"}')
    """
    data = as_published(data)
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def content_id(data: object) -> str:
    """Twelve hexadecimal digits that name JSON data.

    >>> content_id({"a": 1, "b": 2}) == content_id({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(canonical(data).encode()).hexdigest()[:12]


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_digest(source: str) -> str:
    """Name Python code by what it does: comments, layout and docstrings do not count, nor Python's version.

    >>> source_digest("x = 1  # one") == source_digest("x=1")
    True
    >>> source_digest("x = 1") == source_digest("x = 2")
    False
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(node, body[0]):
            body.pop(0)
    return hashlib.sha256(_dump(tree).encode()).hexdigest()[:12]


def _dump(node: object) -> str:
    """What `ast.dump` of Python 3.11 gives.

    Newer ones tell of type parameters and not of empty lists, and 3.12.1 ends format specifications with "".
    """
    if isinstance(node, list):
        return f"[{', '.join(map(_dump, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    return f"{type(node).__name__}({', '.join(f'{name}={_dump(value)}' for name, value in _fields(node))})"


def _fields(node: ast.AST) -> Iterator[tuple[str, object]]:
    for name, value in ast.iter_fields(node):
        optional = value is None and getattr(type(node), name, ...) is None
        if optional or (name == "type_params" and not value):
            continue
        if isinstance(node, ast.JoinedStr):
            yield name, [one for one in value if getattr(one, "value", None) != ""]
        else:
            yield name, value


def _is_docstring(owner: ast.AST, first: ast.stmt) -> bool:
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return (
        isinstance(owner, owners)
        and isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )


def source_digests(
    modules: Iterable[str], packages: tuple[str, ...] = ("bench", "defenses")
) -> dict[str, str]:
    """The digests of these modules and of all that they import from our packages, by name.

    A result depends on the code that made it and on nothing else, so a new attack leaves old records fresh.
    Imports are read from the source and nothing is run.

    >>> sorted(source_digests(["bench.core.seeds"]))
    ['bench.core', 'bench.core.seeds']
    """
    digests: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in digests or name in packages:  # a package's own page holds the version only
            continue
        path = _source_path(name)
        if path is None:
            continue
        digests[name], imported = _digest_and_imports(path, packages)
        parent = name.rpartition(".")[0]
        waiting.extend([*imported, *([parent] if "." in parent else [])])
    return dict(sorted(digests.items()))


@cache
def _digest_and_imports(path: Path, packages: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    source = path.read_text(encoding="utf-8")
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    ours = tuple(sorted({name for name in found if name.partition(".")[0] in packages}))
    return source_digest(source), ours


@cache
def _source_path(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, AttributeError, ValueError):  # a class imported from a module, not a module
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None
