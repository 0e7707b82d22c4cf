"""What plug-ins declare: defaults for what they leave out, a sentence for what they misspell, and reading it.

A contract is a class whose public attributes have defaults. Plug-ins inherit from it, or get the defaults
when they come in; so the harness reads an attribute and never asks whether it is there.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from bench.core import threat
from bench.core.files import read_text
from bench.errors import BadValue

CLOSE = 0.75
"""The likeness from which on a name is taken for a misspelt one, as `difflib` measures it."""


@cache
def adopt(kind: type, contract: type, what: str) -> None:
    """Give a class the contract's defaults for what it does not declare itself; `what` names its kind.

    Raises:
        BadValue: it declares something that is not of the contract, by a name like one that is.

    >>> class Promise:
    ...     norms = ("Linf",)
    >>> class Mine:
    ...     norm = ("L2",)
    >>> adopt(Mine, Promise, "attack")
    Traceback (most recent call last):
    bench.errors.BadValue: the attack Mine declares `norm`, did you mean `norms`?
    """
    promised = {name: value for name, value in vars(contract).items() if not name.startswith("_")}
    for name in _declared_names(kind, contract):
        near = difflib.get_close_matches(name.lower(), promised, n=1, cutoff=CLOSE)
        if near and name not in promised:
            raise BadValue(f"the {what} {kind.__name__} declares `{name}`, did you mean `{near[0]}`?")
    for name, value in promised.items():
        if not hasattr(kind, name):
            setattr(kind, name, value)


def _declared_names(kind: type, contract: type) -> Iterator[str]:
    """The public names that a class and those it is made of declare, but for fields and methods."""
    fields = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    for base in kind.__mro__:
        if base not in (object, *contract.__mro__):
            held = {**vars(base).get("__annotations__", {}), **vars(base)}
            yield from (
                name
                for name, value in held.items()
                if not (name.startswith("_") or name in fields or callable(value))
            )


def read(source: Callable[[str], Path | None], location: str, attribute: str) -> Any:
    """What a class at "module:attribute" declares, or one that it inherits from, without running anything.

    `source` leads from a location to its file. A constant declares what the class does that it is made of.
    Values are plain, or names of `bench.core.threat`. None: nothing is declared.
    """
    path, name = source(location), location.rpartition(":")[2]
    if path is None:
        return None
    tree = ast.parse(read_text(path))
    kind = _class_of(name, tree)
    if kind is None:
        return None
    for node in kind.body:
        if isinstance(node, ast.AnnAssign) and node.value and ast.unparse(node.target) == attribute:
            return _value(node.value)
    places = _imports(tree)
    here = location.rpartition(":")[0]
    bases = [ast.unparse(base) for base in kind.bases]
    found = (read(source, f"{places.get(base, here)}:{base}", attribute) for base in bases)
    return next((value for value in found if value is not None), None)


def _class_of(name: str, tree: ast.Module) -> ast.ClassDef | None:
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return node
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
            made = node.value
            return _class_of(ast.unparse(made.func), tree) if isinstance(made, ast.Call) else None
    return None


def _imports(tree: ast.Module) -> Mapping[str, str]:
    """Name -> the module that it is imported from."""
    return {
        alias.asname or alias.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    if isinstance(node, ast.Attribute):
        return vars(_value(node.value))[node.attr]
    return vars(threat).get(ast.unparse(node))
