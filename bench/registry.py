"""Names to plug-ins: one explicit, lazy table for each kind, and the only place that reaches `defenses`."""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.metadata
import importlib.util
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from bench.errors import BadValue, UnknownName

if TYPE_CHECKING:  # the contract loads torch, and a list of names must not
    from bench.api import Attack, Defense, Suite

T = TypeVar("T")


class Registry(Generic[T]):
    """A table from names to "module:attribute", imported when first asked for.

    Other packages join through the entry-point group `bench.<kind>s`; a single file joins as `path.py:Class`.
    """

    def __init__(self, kind: str, table: Callable[[], Mapping[str, str]]) -> None:
        self.kind = kind
        self._own = table

    @cached_property
    def _table(self) -> dict[str, str]:
        table = dict(self._own())
        for point in importlib.metadata.entry_points(group=f"bench.{self.kind}s"):
            if point.name in table:
                raise BadValue(
                    f"the {self.kind} {point.name!r} is offered by {point.value} but the name is taken",
                    f"pip uninstall {point.dist.name if point.dist else point.value}",
                )
            table[point.name] = point.value
        return table

    def names(self) -> list[str]:
        """All names, sorted; imports nothing."""
        return sorted(self._table)

    def location(self, name: str) -> str:
        """Where a name leads: "module:attribute".

        >>> Registry[object]("attack", lambda: {"pgd": "math:pi"}).location("pdg")
        Traceback (most recent call last):
        bench.errors.UnknownName: no attack is named 'pdg'; did you mean 'pgd'?
        """
        if ".py:" in name:
            return name
        if name.endswith(".py"):
            raise UnknownName(f"the {self.kind} {name!r} is a file without a class, expected PATH.py:CLASS")
        if name not in self._table:
            near = difflib.get_close_matches(name.lower(), self._table, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"`bench list {self.kind}s` lists them"
            raise UnknownName(f"no {self.kind} is named {name!r}; {hint}")
        return self._table[name]

    def get(self, name: str) -> T:
        """The plug-in of that name: a value as it stands, a class with its defaults."""
        module, attribute = self._import(self.location(name))
        found = getattr(module, attribute, None)
        if found is None:
            place = name.rpartition(":")[0] if ".py:" in name else module.__name__
            near = difflib.get_close_matches(attribute, vars(module), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UnknownName(f"{place} has no {attribute!r}, expected the class of a {self.kind}{hint}")
        try:
            return cast(T, found() if isinstance(found, type) else found)
        except TypeError as error:
            raise BadValue(
                f"the {self.kind} {name!r} cannot be made without arguments ({error}), expected a dataclass "
                f"whose every field has a default"
            ) from None

    def summary(self, name: str) -> str:
        """What it is in a sentence, read from the source without running anything.

        The first paragraph of its module's docstring; of its own for a constant, or beside other classes.
        """
        location = self.location(name)
        source = self._source(location)
        if source is None:
            return ""
        tree = ast.parse(source.read_text(encoding="utf-8"))
        place, _, attribute = location.rpartition(":")
        beside = {other for other in self._table.values() if other.startswith(f"{place}:")}
        classes = [other for other in beside if not other.rpartition(":")[2].isupper()]
        own = attribute.isupper() or len(classes) > 1
        text = (_docstring_of(attribute, tree) if own else None) or ast.get_docstring(tree)
        return text.split("\n\n")[0].replace("\n", " ") if text else ""

    def _import(self, location: str) -> tuple[ModuleType, str]:
        place, _, attribute = location.rpartition(":")
        if not place.endswith(".py"):
            return importlib.import_module(place), attribute
        path = Path(place).expanduser().resolve()
        if not path.is_file():
            raise UnknownName(
                f"there is no file {place!r}, expected PATH.py:CLASS for a {self.kind} of your own"
            )
        return _module_of_file(path), attribute

    @staticmethod
    def _source(location: str) -> Path | None:
        place = location.rpartition(":")[0]
        if place.endswith(".py"):
            return Path(place).expanduser()
        parts = place.split(".")
        top = importlib.util.find_spec(parts[0])
        if top is None or not top.submodule_search_locations:
            return Path(top.origin) if top and top.origin and top.origin.endswith(".py") else None
        found = Path(top.submodule_search_locations[0]).joinpath(*parts[1:])
        path = found.with_suffix(".py") if len(parts) > 1 else found / "__init__.py"
        return path if path.is_file() else None


def _docstring_of(attribute: str, tree: ast.Module) -> str | None:
    """Of a class, or the string below a constant."""
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.ClassDef) and node.name == attribute:
            return ast.get_docstring(node)
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [attribute]:
            constant = after.value if isinstance(after, ast.Expr) else None
            if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
                return constant.value
    return None


def _module_of_file(path: Path) -> ModuleType:
    """The module in a file, run once: whoever asks again gets the same classes."""
    name = path.stem
    held = sys.modules.get(name)
    if held is not None and held.__dict__.get("_from_path") == path:
        return held
    if held is None or "_from_path" not in held.__dict__:
        _check_name_is_free(name, path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UnknownName(f"{str(path)!r} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    module.__dict__["_from_path"] = path
    sys.modules[name] = module  # dataclasses look up their module while it is being run
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
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


def ablations(name: str) -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """The ablations of a defense as its `ablations.py` states them: group -> label -> field -> text.

    Raises:
        UnknownName: none are stated for it.
    """
    table: Mapping[str, Any] = importlib.import_module("defenses.ablations").ABLATIONS
    if name not in table:
        near = difflib.get_close_matches(name.lower(), table, n=1)
        guess = f"did you mean {near[0]!r}? " if near else ""
        raise UnknownName(f"no ablations are stated for {name!r}; {guess}they are for {', '.join(table)}")
    found: Mapping[str, Mapping[str, Mapping[str, str]]] = table[name]
    return found


def _defenses() -> Mapping[str, str]:
    table: Mapping[str, str] = importlib.import_module("defenses").DEFENSES
    return table


def _attacks() -> Mapping[str, str]:
    return {
        "apgd": "bench.attacks.apgd:APGD",
        "apgd_targeted": "bench.attacks.apgd:TargetedAPGD",
        "cascade": "bench.attacks.combine:Cascade",
        "fgsm": "bench.attacks.fgsm:FGSM",
        "mi_fgsm": "bench.attacks.mi_fgsm:MIFGSM",
        "noise": "bench.attacks.noise:UniformNoise",
        "pgd": "bench.attacks.pgd:PGD",
        "restarts": "bench.attacks.combine:Restarts",
        "square": "bench.attacks.square:Square",
    }


def _suites() -> Mapping[str, str]:
    return {
        "blackbox": "bench.suites.blackbox:BLACKBOX",
        "graybox": "bench.suites.graybox:GRAYBOX",
        "smoke": "bench.suites.smoke:SMOKE",
        "whitebox": "bench.suites.whitebox:WHITEBOX",
    }


DEFENSES: Registry[Defense] = Registry("defense", _defenses)
ATTACKS: Registry[Attack] = Registry("attack", _attacks)
SUITES: Registry[Suite] = Registry("suite", _suites)
