"""Names for content: the same content, the same name."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from bench.core.behind import LEFT_OUT
from bench.core.files import open_regular
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
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_digest(source: str) -> str:
    """Name Python code by what it does, wherever it and what it imports lie.

    Comments, layout, docstrings and imports do not count, nor does Python's version.

    >>> source_digest("import os; x = 1  # one") == source_digest("x=1")
    True
    >>> source_digest("x = 1") == source_digest("x = 2")
    False
    """
    return _digest(_WithoutImports().visit(without_docstrings(source)))


def digest_with_imports(source: str) -> str:
    """The same with the import statements: what results were held to until docs/adr/0011.

    >>> digest_with_imports("import os; x = 1") == digest_with_imports("x = 1")
    False
    """
    return _digest(without_docstrings(source))


def without_docstrings(source: str) -> ast.Module:
    """The syntax tree of Python code, its docstrings dropped."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(node, body[0]):
            body.pop(0)
    return tree


class _WithoutImports(ast.NodeTransformer):
    """Drops import statements, at the top and inside of functions."""

    def visit_Import(self, node: ast.Import) -> None:
        return None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        return None


def _digest(tree: ast.Module) -> str:
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
    modules: Iterable[str], packages: tuple[str, ...] = ("bench", "defenses", *LEFT_OUT)
) -> dict[str, str]:
    """The digests of these modules and of all that they import from our packages, by name.

    A result depends on the code that made it and on nothing else, so a new attack leaves old records fresh.
    What is named in `packages` itself is left out. Imports are read from the source and nothing is run.

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
        digests[name], imported = _digest_and_imports(_source(path), packages)
        parent = name.rpartition(".")[0]
        waiting.extend([*imported, *([parent] if "." in parent else [])])
    return dict(sorted(digests.items()))


def found_again(then: Mapping[str, str], packages: tuple[str, ...] = ("bench", "defenses")) -> list[str]:
    """The modules behind a stored result as they are called now: by their names, or where their content went.

    >>> found_again({"bench.core.seeds": "any", "bench.gone": source_digests(["bench.api"])["bench.api"]})
    ['bench.core.seeds', 'bench.api']
    """
    gone = {digest for name, digest in then.items() if _is_gone(name, packages)}
    there = [name for name in then if not _is_gone(name, packages)]
    return there + ([name for name in _all_modules(packages) if _digest_of(name) in gone] if gone else [])


def _is_gone(name: str, packages: tuple[str, ...]) -> bool:
    return name.partition(".")[0] in packages and _source_path(name) is None


def _digest_of(name: str) -> str | None:
    path = _source_path(name)
    return None if path is None else _digest_and_imports(_source(path), ())[0]


def _all_modules(packages: tuple[str, ...]) -> Iterator[str]:
    for package in packages:
        top = _source_path(package)
        if top is None:
            continue
        for path in sorted(top.parent.rglob("*.py")):
            inside = path.relative_to(top.parent).with_suffix("").parts
            yield ".".join([package, *(part for part in inside if part != "__init__")])


def _source(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def _digest_and_imports(source: str, packages: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
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
    """The file of a module, found without importing what it lies in; None: there is no such module."""
    top, *inside = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # a module without a specification, such as __main__
        return None
    if spec is None or not inside:
        return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        place = Path(folder, *inside)
        found = next((p for p in (place / "__init__.py", place.with_suffix(".py")) if p.is_file()), None)
        if found is not None:
            return found
    return None
