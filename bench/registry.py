"""Names to plug-ins: one explicit, lazy table for each kind, and the only place that reaches `defenses`."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from bench.core.contract import read
from bench.core.files import at_home, read_text
from bench.core.imports import module_at
from bench.errors import BadValue, UnknownName, near, unknown

if TYPE_CHECKING:  # the contract loads torch, and a list of names must not
    from bench.api import Attack, Defense, Suite

T = TypeVar("T")


class Registry(Generic[T]):
    """A table from names to "module:attribute", imported when first asked for.

    Other packages join through the entry-point group `bench.<kind>s`; a single file joins as `path.py:Class`.
    Schemes are names with a part that is free, such as `hf:REPO`: what they lead to is called with the name.
    """

    def __init__(
        self,
        kind: str,
        table: Callable[[], Mapping[str, str]],
        schemes: Callable[[], Mapping[str, str]] = dict,
        admit: Callable[[T], None] = lambda found: None,
    ) -> None:
        self.kind = kind
        self._own = table
        self._schemes = schemes
        self._admit = admit

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

    def schemes(self) -> list[str]:
        """All names with a free part, sorted, as they are explained: `hf:REPO`."""
        return sorted(self._schemes())

    def scheme(self, name: str) -> str | None:
        """The scheme that a name is of.

        >>> Registry[object]("defense", dict, lambda: {"hf:REPO": "math:sqrt"}).scheme("hf:someone/network")
        'hf:REPO'
        """
        prefixes = {scheme.partition(":")[0]: scheme for scheme in self._schemes()}
        prefix, sign, _ = name.partition(":")
        return prefixes.get(prefix) if sign else None

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
        scheme = self.scheme(name)
        if scheme is not None:
            return self._schemes()[scheme]
        if name not in self._table:
            raise unknown(self.kind, name, self._resembling(name), hint=f"bench list {self.kind}s")
        return self._table[name]

    def _resembling(self, name: str) -> list[str]:
        """The names that a mistyped one may stand for; what follows a scheme is taken as it is."""
        prefix, sign, rest = name.partition(":")
        meant = near(prefix, [scheme.partition(":")[0] for scheme in self._schemes()]) if sign else None
        return list(self._table) if meant is None else [f"{meant}:{rest}"]

    def get(self, name: str) -> T:
        """The plug-in of that name: a value as it stands, a class with its defaults."""
        found = self._get(name)
        self._admit(found)
        return found

    def _get(self, name: str) -> T:
        module, attribute = self._import(self.location(name))
        found = getattr(module, attribute, None)
        if found is None:
            place = name.rpartition(":")[0] if ".py:" in name else module.__name__
            raise unknown(f"{self.kind} class", attribute, _defined_in(module), owner=place)
        if self.scheme(name) is not None:
            return cast(T, found(name))
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
        tree = ast.parse(read_text(source))
        place, _, attribute = location.rpartition(":")
        beside = {other for other in self._table.values() if other.startswith(f"{place}:")}
        classes = [other for other in beside if not other.rpartition(":")[2].isupper()]
        own = attribute.isupper() or len(classes) > 1 or self.scheme(name) is not None
        text = (_docstring_of(attribute, tree) if own else None) or ast.get_docstring(tree)
        return text.split("\n\n")[0].replace("\n", " ") if text else ""

    def declared(self, name: str, attribute: str) -> Any:
        """What the plug-in's class declares, read from the source without running anything; None: nothing.

        >>> ATTACKS.declared("spsa", "needs"), ATTACKS.declared("ddn", "norms")
        ('scores', (<Norm.L2: 'L2'>,))
        """
        return read(self._source, self.location(name), attribute)

    def _import(self, location: str) -> tuple[ModuleType, str]:
        place, _, attribute = location.rpartition(":")
        return module_at(place, f"PATH.py:CLASS for a {self.kind} of your own"), attribute

    @staticmethod
    def _source(location: str) -> Path | None:
        place = location.rpartition(":")[0]
        if place.endswith(".py"):
            return at_home(place)
        parts = place.split(".")
        top = importlib.util.find_spec(parts[0])
        if top is None or not top.submodule_search_locations:
            return Path(top.origin) if top and top.origin and top.origin.endswith(".py") else None
        found = Path(top.submodule_search_locations[0]).joinpath(*parts[1:])
        path = found.with_suffix(".py") if len(parts) > 1 else found / "__init__.py"
        return path if path.is_file() else None


def _defined_in(module: ModuleType) -> list[str]:
    """The public classes that a module defines itself."""
    own = {name: held for name, held in vars(module).items() if isinstance(held, type)}
    return [n for n, held in own.items() if held.__module__ == module.__name__ and not n.startswith("_")]


def _docstring_of(attribute: str, tree: ast.Module) -> str | None:
    """Of a class or function, or the string below a constant."""
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == attribute:
            return ast.get_docstring(node)
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [attribute]:
            constant = after.value if isinstance(after, ast.Expr) else None
            if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
                return constant.value
    return None


def has_ablations(name: str) -> bool:
    """Whether ablations are stated for a defense.

    >>> has_ablations("fdml"), has_ablations("pgd_at")
    (True, False)
    """
    return name in importlib.import_module("defenses.ablations").ABLATIONS


def ablations(name: str) -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """The ablations of a defense as its `ablations.py` states them: group -> label -> field -> text.

    Raises:
        UnknownName: none are stated for it.
    """
    table: Mapping[str, Any] = importlib.import_module("defenses.ablations").ABLATIONS
    if name not in table:
        raise unknown("defense with stated ablations", name, table)
    found: Mapping[str, Mapping[str, Mapping[str, str]]] = table[name]
    return found


def _defenses() -> Mapping[str, str]:
    table: Mapping[str, str] = importlib.import_module("defenses").DEFENSES
    return table


def _schemes() -> Mapping[str, str]:
    table: Mapping[str, str] = importlib.import_module("defenses").SCHEMES
    return table


def _attacks() -> Mapping[str, str]:
    return {
        "apgd": "bench.attacks.apgd:APGD",
        "apgd_targeted": "bench.attacks.apgd:TargetedAPGD",
        "cascade": "bench.attacks.combine:Cascade",
        "ddn": "bench.attacks.ddn:DDN",
        "detector_aware": "bench.attacks.aware:DetectorAware",
        "di_fgsm": "bench.attacks.transfer:DI_FGSM",
        "fab": "bench.attacks.fab:FAB",
        "feature_matching": "bench.attacks.feature_matching:FeatureMatching",
        "fgsm": "bench.attacks.fgsm:FGSM",
        "fmn": "bench.attacks.fmn:FMN",
        "hop_skip_jump": "bench.attacks.hop_skip_jump:HopSkipJump",
        "ladder": "bench.attacks.fast:Ladder",
        "mi_fgsm": "bench.attacks.mi_fgsm:MIFGSM",
        "nes": "bench.attacks.nes:NES",
        "ni_fgsm": "bench.attacks.transfer:NI_FGSM",
        "noise": "bench.attacks.noise:UniformNoise",
        "pgd": "bench.attacks.pgd:PGD",
        "rays": "bench.attacks.rays:RayS",
        "probe": "bench.attacks.fast:Probe",
        "restart_scout": "bench.attacks.scouts:RestartScout",
        "restarts": "bench.attacks.combine:Restarts",
        "search_scout": "bench.attacks.scouts:SearchScout",
        "si_ni_fgsm": "bench.attacks.transfer:SI_NI_FGSM",
        "simba": "bench.attacks.simba:SimBA",
        "simba_dct": "bench.attacks.simba:SIMBA_DCT",
        "spsa": "bench.attacks.nes:SPSA",
        "siege": "bench.attacks.fast:Siege",
        "square": "bench.attacks.square:Square",
        "target_scout": "bench.attacks.scouts:TargetScout",
        "ti_fgsm": "bench.attacks.transfer:TI_FGSM",
        "transfer_fgsm": "bench.attacks.transfer:TransferFGSM",
        "vmi_fgsm": "bench.attacks.transfer:VMI_FGSM",
    }


BACKENDS: Mapping[str, tuple[str, str, str]] = {
    "advlib": ("adv_lib", "Linf, L2, L1, L0", "advlib"),
    "art": ("Adversarial Robustness Toolbox", "Linf, L2, L1, L0", "art"),
    "autoattack": ("pyautoattack", "Linf, L2, L1", ""),
    "foolbox": ("Foolbox", "Linf, L2, L1, L0", "foolbox"),
    "torchattacks": ("torchattacks", "Linf, L2, L1, L0", "torchattacks"),
}
"""prefix -> the library whose attacks it names, the norms that some of them keep to, the extra to install."""


def _attack_schemes() -> Mapping[str, str]:
    return {
        "advlib:NAME": "bench.attacks.others.advlib:named",
        "art:NAME": "bench.attacks.others.art:named",
        "autoattack:NAME": "bench.attacks.others.autoattack:named",
        "foolbox:NAME": "bench.attacks.others.foolbox:named",
        "torchattacks:NAME": "bench.attacks.others.torchattacks:named",
    }


def _admit_attack(found: Any) -> None:
    """A file of the user's own may hold anything; of what is no attack at all, others tell."""
    from bench.api import admit

    if dataclasses.is_dataclass(found):
        admit(cast("Attack", found))


def _suites() -> Mapping[str, str]:
    return {
        "adaptive": "bench.suites.adaptive:ADAPTIVE",
        "autoattack": "bench.suites.autoattack:AUTOATTACK",
        "autoattack_plus": "bench.suites.autoattack:AUTOATTACK_PLUS",
        "autoattack_rand": "bench.suites.autoattack:AUTOATTACK_RAND",
        "blackbox": "bench.suites.blackbox:BLACKBOX",
        "detection": "bench.suites.detection:DETECTION",
        "fast": "bench.suites.fast:FAST",
        "fast@1": "bench.suites.fast:FAST_1",
        "graybox": "bench.suites.graybox:GRAYBOX",
        "smoke": "bench.suites.smoke:SMOKE",
        "whitebox": "bench.suites.whitebox:WHITEBOX",
        "whitebox@1": "bench.suites.whitebox:WHITEBOX_1",
    }


DEFENSES: Registry[Defense] = Registry("defense", _defenses, _schemes)
ATTACKS: Registry[Attack] = Registry("attack", _attacks, _attack_schemes, _admit_attack)
SUITES: Registry[Suite] = Registry("suite", _suites)


def suite_named(text: str) -> Suite:
    """The suite of a name, as it is usual; of an id such as `fast@2`, that version.

    Raises:
        UnknownName: there is none.
    """
    if text in SUITES.names():
        return SUITES.get(text)
    name, sign, version = text.partition("@")
    found = SUITES.get(name)
    if sign and version != str(found.version):
        known = [other for other in SUITES.names() if other.startswith(f"{name}@")]
        there = ", ".join([*known, found.id])
        raise UnknownName(
            f"there is no suite {text!r}, this version of bench has {there}", "bench list suites"
        )
    return found
