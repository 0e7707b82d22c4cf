"""Callables of others by name: `module:callable`, `PATH.py:callable`, with arguments in brackets."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable
from types import ModuleType
from typing import Any, cast

from torch import nn

from bench.core.errors_of_others import in_one_line
from bench.core.grammar import variant
from bench.core.imports import as_if_run, file_of, module_at
from bench.errors import BadValue, BenchError, unknown
from bench.train.on_cpu import on_cpu

EXPECTED = "module:callable or PATH.py:callable"


def parse(text: str, what: str) -> tuple[str, str, dict[str, Any]]:
    """Where a callable is, its name there, and the arguments that it is to be called with.

    >>> parse("networks.py:make[classes=10,kind=wide]", "factory")
    ('networks.py', 'make', {'classes': 10, 'kind': 'wide'})

    Raises:
        BadValue: it is not of that form.
    """
    place, given = variant(text, what, f"--{what} networks.py:make")
    module, _, attribute = place.rpartition(":")
    if not (module and attribute):
        raise BadValue(f"{what} is {text!r}, expected {EXPECTED}", f"--{what} networks.py:make")
    return module, attribute, {name: _value(value) for name, value in given.items()}


def by_module(text: str, what: str) -> str:
    """The same callable, named by its file's module wherever the file lies: `PATH/net.py:Net` is `net:Net`.

    The file is run for it.
    """
    module, _, _ = parse(text, what)
    if not module.endswith(".py"):
        return text
    return f"{_module(text, what).__name__}{text.removeprefix(module)}"


def module_named(text: str) -> str:
    """The module of a callable that `by_module` named."""
    return text.partition("[")[0].rpartition(":")[0]


def find(text: str, what: str) -> Callable[..., object]:
    """The callable itself.

    Raises:
        BenchError: there is no such module, or nothing in it that can be called under that name.
    """
    place, attribute, _ = parse(text, what)
    module = _module(text, what)
    found = getattr(module, attribute, None)
    if not callable(found):
        callables = [name for name, held in vars(module).items() if callable(held)]
        raise unknown("callable", attribute, callables, owner=place)
    return cast(Callable[..., object], found)


def call(text: str, what: str, *given: object) -> object:
    """What the callable gives for `given` and the arguments in its brackets; given nothing, on the CPU."""
    _, _, arguments = parse(text, what)
    found, file = find(text, what), file_of(_module(text, what))
    try:
        with as_if_run(file), contextlib.nullcontext() if given else on_cpu():  # what is given has a place
            return found(*given, **arguments)
    except BenchError:
        raise
    except (Exception, SystemExit) as error:  # whatever it raises
        told = "without arguments " if not (given or arguments) else ""
        raise BadValue(
            f"{what} is {text!r}, but calling it {told}raised {in_one_line(error)}, expected a network"
        ) from None


def network(text: str, what: str, *given: object) -> nn.Module:
    """The network that the callable makes."""
    made = call(text, what, *given)
    if not isinstance(made, nn.Module):
        raise BadValue(f"{what} is {text!r}, but it makes a {type(made).__name__}, expected an nn.Module")
    return made


def _module(text: str, what: str) -> ModuleType:
    place, attribute, _ = parse(text, what)
    try:
        return module_at(place, f"PATH.py:callable, such as networks.py:{attribute}")
    except BenchError:
        raise
    except (Exception, SystemExit) as error:  # whatever a module of others raises while it is imported
        raise BadValue(
            f"{what} is {text!r}, but {place} cannot be imported ({in_one_line(error)}), expected {EXPECTED}"
        ) from None


def _value(text: str) -> Any:
    """A number, None, True or a tuple as Python writes it; else the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
