"""Other people's attacks as frozen dataclasses: fields are the parameters of the library's signature."""

from __future__ import annotations

import contextlib
import inspect
import io
import math
import re
import typing
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, fields, make_dataclass
from fractions import Fraction
from typing import Any, ClassVar, Literal

import torch
from torch import Generator, Tensor, nn

from bench.api import Attack, Needs, Oracle
from bench.attacks.norms import require_norm
from bench.attacks.others.adapter import seeded
from bench.core.threat import Budget, Feedback, Norm
from bench.errors import AccessDenied, BadValue, BenchError, QueriesSpent, UnknownName, unknown

GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "ε": "epsilon", "η": "eta",
    "μ": "mu", "ρ": "rho", "σ": "sigma", "τ": "tau",
}  # fmt: skip
"""How parameters are spelt that a keyboard may not have."""


@dataclass(frozen=True)
class Given:
    """What the harness decides and not the user."""

    budget: Budget
    num_classes: int
    seed: int


@dataclass(frozen=True)
class OthersAttack(Attack):
    """One attack of a library; the fields of a subclass are its parameters.

    What is not plain data, such as a callable, stays at the library's default.
    """

    library: ClassVar[str]  # as it is typed before the colon
    offered: ClassVar[str]  # the attack's name in the library
    needs: ClassVar[Needs]
    norms: ClassVar[tuple[Norm, ...]]  # that it can keep to
    minimal: ClassVar[bool]  # it looks for the nearest mistake
    unfit: ClassVar[str | None]  # why it cannot be run on a budget
    required: ClassVar[tuple[str, ...]]  # fields that the library gives no default
    about: ClassVar[Mapping[str, str]]  # field -> what the library says of it
    absolute: ClassVar[Mapping[str, Fraction]]  # a step in pixel units -> the eps its default is for
    spelt: ClassVar[Mapping[str, str]]  # field -> the parameter's name

    @property
    def name(self) -> str:
        """The name as it is typed: `torchattacks:PGD`."""
        return f"{self.library}:{self.offered}"

    @property
    def averages(self) -> bool:
        """Whether it averages the gradients of a randomized defense itself."""
        return False

    def require(self, budget: Budget) -> None:
        """Refuse a budget that this attack cannot keep to, and parameters that have no default."""
        if self.unfit is not None:
            raise BadValue(f"{self.name} {self.unfit}", f"bench list attacks --backend {self.library}")
        require_norm(self, budget, self.name)
        lacking = [name for name in self.required if getattr(self, name) is None]
        if lacking:
            raise BadValue(
                f"{self.name}.{lacking[0]} is none, expected a value, because {self.library} has no default",
                f"--set attack.{column_of(self.name)}.{lacking[0]}=VALUE",
            )

    def arguments(self) -> dict[str, Any]:
        """Its parameters, by the library's names."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            self.spelt[name]: float(value) if isinstance(value, Fraction) else value
            for name, value in values.items()
        }

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W].

        Raises:
            BadValue: the attack cannot keep to the budget.
            RuntimeError: the library raised; the message says which attack and what.
        """
        self.require(budget)
        with seeded(generator) as seed, quiet():
            given = Given(budget, oracle.num_classes, seed)
            if oracle.knowledge.feedback is not Feedback.LABELS:
                return self._made(oracle, x, y, given)
            # searches by labels ask about images so far away that nobody could say whose they are
            each = torch.arange(len(y), device=y.device)[:, None]
            return torch.cat([self._alone(oracle, x, y, given, rows) for rows in each])

    def _alone(self, oracle: Oracle, x: Tensor, y: Tensor, given: Given, rows: Tensor) -> Tensor:
        """The candidate of one example; when its queries are spent, others still have theirs."""
        try:
            return self._made(oracle.only(rows), x[rows], y[rows], given)
        except QueriesSpent:
            return x[rows]

    def _made(self, oracle: Oracle, x: Tensor, y: Tensor, given: Given) -> Tensor:
        try:
            return self.attack(oracle.lend(eot=not self.averages), x.clone(), y.clone(), given)
        except (AccessDenied, BenchError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # whatever theirs raises is its failed column
            said = " ".join(str(error).split())
            raise RuntimeError(
                f"{self.name} raised {type(error).__name__}{f': {said}' if said else ''}"
            ) from error

    def attack(self, network: nn.Module, x: Tensor, y: Tensor, given: Given) -> Tensor:
        """Candidates [n, C, H, W] as the library computes them."""
        raise NotImplementedError


@dataclass(frozen=True)
class Told:
    """What an adapter knows of an attack besides its signature."""

    needs: Needs
    norms: tuple[Norm, ...]
    minimal: bool = False
    unfit: str | None = None
    doc: str | None = None
    about: Mapping[str, str] | None = None
    types: Mapping[str, str] | None = None  # where the signature states none
    made_for: Mapping[str, Fraction] | None = None


def made(
    base: type[OthersAttack],
    name: str,
    parameters: Collection[inspect.Parameter],
    decided: Collection[str],
    told: Told,
) -> type[OthersAttack]:
    """The dataclass of an attack; `decided` are the parameters that the harness gives or leaves alone.

    It can be looked up in the module of its base, which has to say so in a `__getattr__`.
    """
    types, spelt, items, required, unfit = told.types or {}, {}, [], [], told.unfit
    for parameter in parameters:
        if parameter.name in decided or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        plain = plain_field(parameter, types.get(parameter.name, ""))
        if plain is not None:
            field_name = ascii_name(parameter.name)
            spelt[field_name] = parameter.name
            items.append((field_name, *plain))
            required += [field_name] if parameter.default is parameter.empty else []
        elif parameter.default is parameter.empty and unfit is None:
            unfit = f"needs {parameter.name}, expected an attack that needs images and labels alone"
    about = {ascii_name(key): text for key, text in (told.about or {}).items()}
    held = {
        "__doc__": " ".join(inspect.cleandoc(told.doc or name).split("\n\n")[0].split()),
        "__module__": base.__module__,
        "offered": name,
        "needs": told.needs,
        "norms": told.norms,
        "minimal": told.minimal,
        "unfit": unfit,
        "required": tuple(required),
        "spelt": spelt,
        "about": {key: text for key, text in about.items() if key in spelt},
        "absolute": {key: eps for key, eps in (told.made_for or {}).items() if key in spelt},
    }
    kind = make_dataclass(name, items, bases=(base,), namespace=held, frozen=True)
    kind.__module__, kind.__qualname__, kind.__name__ = base.__module__, name, f"{base.library}.{name}"
    return kind


def plain_field(parameter: inspect.Parameter, documented: str = "") -> tuple[Any, Any] | None:
    """Type and default of a parameter that is plain data; None for one that is not.

    >>> plain_field(inspect.Parameter("alpha", inspect.Parameter.KEYWORD_ONLY, default=2 / 255))
    (<class 'fractions.Fraction'>, Fraction(2, 255))
    """
    default, annotation = parameter.default, parameter.annotation
    written = documented if annotation is parameter.empty else inspect.formatannotation(annotation)
    if default is None or default is parameter.empty:
        if re.search(r"Callable|[Tt]uple|[Ll]ist|ndarray(?!.*float)|Tensor", written):
            return None
        words = [kind for kind in (float, int, str, bool) if re.search(rf"\b{kind.__name__}\b", written)]
        return (words[0] | None, None) if words else None
    if isinstance(default, (bool, str)):
        choices = _choices(annotation) if isinstance(default, str) else ()
        return (Literal[choices] if choices else type(default)), default
    if isinstance(default, int) and re.search(r"\bfloat\b", written):
        return float, float(default)
    if isinstance(default, (int, float)):
        return _number(default) if math.isfinite(default) else None
    if isinstance(default, tuple) and all(type(item) in (bool, int, float, str) for item in default):
        return tuple[tuple(type(item) for item in default)], default  # type: ignore[misc]
    return None


def column_of(name: str) -> str:
    """What a table's column is called that holds this attack alone.

    >>> column_of("torchattacks:PGD"), column_of("mine/attack.py:Mine")
    ('torchattacks_pgd', 'attack_py_mine')
    """
    short = re.sub(r".*[/\\](?=[^/\\]+\.py:)", "", name)
    return re.sub(r"[^a-z0-9]+", "_", short.lower()).strip("_")


def ascii_name(name: str) -> str:
    """A parameter's name as any keyboard has it.

    >>> ascii_name("γ_init")
    'gamma_init'
    """
    for sign, spelt in GREEK.items():
        name = name.replace(sign, spelt)
    return name


def documented(doc: str | None, *, typed_line: bool = False) -> dict[str, tuple[str, str]]:
    """Parameter -> type and sentence, as a docstring states them.

    With `typed_line` the type stands alone behind the name.

    >>> documented("steps (int): how many.   (Default: 10)")
    {'steps': ('int', 'how many. (Default: 10)')}
    >>> documented(":param steps: how\\n   many\\n:param y: labels")["steps"]
    ('', 'how many')
    """
    head = re.compile(r"\s*(?::param\s+)?(?P<name>\w+)\s*(?:\((?P<type>[^)]*)\))?\s*:\s*(?P<text>.*)")
    found: dict[str, tuple[str, str]] = {}
    last = None
    for line in inspect.cleandoc(doc or "").splitlines():
        match = head.fullmatch(line)
        if match and not line.rstrip().endswith("::"):
            last = match["name"]
            kind, text = (match["text"], "") if typed_line else (match["type"] or "", match["text"])
            found[last] = kind, text
        elif last is not None and line.startswith(" ") and line.strip():
            kind, text = found[last]
            found[last] = kind, f"{text} {line}"
        else:
            last = None
    return {name: (kind, " ".join(text.split())) for name, (kind, text) in found.items()}


def looked_up(name: str, offered: Collection[str], make: Callable[[str], type[Any]]) -> Any:
    """The attack that `library:NAME` names, with its defaults; UnknownName where the library has none."""
    library, _, plain = name.partition(":")
    if plain not in offered:
        raise not_offered(library, plain, offered)
    return make(plain)()


def not_offered(library: str, name: str, offered: Collection[str]) -> UnknownName:
    """The mistake of asking for an attack that a library does not have."""
    listed = f"bench list attacks --backend {library}"
    return unknown("attack", name, offered, owner=library, prefix=f"{library}:", hint=listed)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No line on stdout and no warning: they are for the library's own users."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def defaults(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a function, or of a class's constructor without `self`."""
    return list(inspect.signature(function).parameters.values())


def _number(value: float) -> tuple[Any, Any]:
    """A number as it was typed: 2/255 rather than 0.00784313725490196."""
    fraction = Fraction(value).limit_denominator(1000)
    if isinstance(value, float) and len(repr(value)) > 8 and float(fraction) == value:
        return Fraction, fraction
    return type(value), value


def _choices(annotation: Any) -> tuple[str, ...]:
    if typing.get_origin(annotation) is Literal:
        return tuple(value for value in typing.get_args(annotation) if isinstance(value, str))
    return tuple(choice for part in typing.get_args(annotation) for choice in _choices(part))
