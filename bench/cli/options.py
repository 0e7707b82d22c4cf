"""Options that several commands share, and the grammar of `--set`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from bench.core.counts import Count
from bench.core.exact import whole
from bench.core.listing import DEFAULT, typed_as
from bench.core.places import STORE
from bench.errors import BadValue, UnknownName, near, unknown

F = TypeVar("F", bound=Callable[..., Any])

DATA = "digits"
"""The data set of a command that was given none: it is embedded, small and real."""


SIDE = 10_000
"""Pixels of the side of an image, at most."""

PROCESSES = 1000
"""How many processes, or GPUs, may work together."""


def positive(text: str, option: str, word: str, example: str) -> int:
    """The number of at least 1 that was typed for an option, which also takes a word."""
    try:
        found = whole(text)
    except ValueError:
        found = 0
    if found < 1:
        raise BadValue(
            f"{option} is {text!r}, expected a number of at least 1, or {word}", f"{option} {example}"
        )
    return found


Checked = Callable[[click.Context, click.Parameter, Any], Any]


def _checked(check: Callable[[str], object]) -> Checked:
    """What checks a name, or several, as soon as it is read: torch is not loaded to refuse it."""

    def callback(_: click.Context, __: click.Parameter, value: Any) -> Any:
        for name in value if isinstance(value, tuple) else (value,):
            if name:
                check(name)
        return value

    return callback


def _find_defense(text: str) -> None:
    from bench.registry import DEFENSES

    name = text.partition("[")[0].strip()
    try:
        DEFENSES.location(name)
    except UnknownName:
        if not _is_held(name):
            raise


def _is_held(name: str) -> bool:
    """Whether a run of the store named before, or of the usual one, judged a network that is called so."""
    from bench.records.gathering import read_records
    from bench.records.labels import network_named

    context = click.get_current_context(silent=True)
    place = STORE if context is None else context.params.get("store", STORE)
    return bool(network_named(name, read_records(Path(place), skip=lambda unreadable: None)))


def _find_network(text: str) -> None:
    plain, _, architecture = text.rpartition("@")
    if plain and ":" not in text and "]" not in architecture:
        _find_architecture(architecture)
    _find_defense(plain if plain and ":" not in text else text)


def _find_suite(text: str) -> None:
    from bench.registry import SUITES

    SUITES.location(text.partition("@")[0])


def _suites(_: click.Context, __: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """The names of all suites, however many stand in one word, each of which is there and named once."""
    found: dict[str, str] = {}
    for name in (name.strip() for word in value for name in word.split(",")):
        _find_suite(name)
        if (other := found.get(typed_as(name))) is not None:
            told = f"{name!r} twice" if other == name else f"{other!r} and {name!r}, which are one suite"
            raise BadValue(f"--suite gives {told}, expected every suite once", f"--suite {','.join(found)}")
        found[typed_as(name)] = name
    return tuple(found.values())


def one_suite(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """The suite of a command that is of one alone."""
    first, comma, _rest = (value or "").partition(",")
    if comma:
        raise BadValue(
            f"--suite is {value!r}, expected one suite, because only `bench run` takes several",
            f"--suite {first.strip() or 'NAME'}",
        )
    return value


def _find_attack(text: str) -> None:
    from bench.registry import ATTACKS

    ATTACKS.location(text)


def _find_data(text: str) -> None:
    from bench.data.catalog import source

    source(text)


def _find_architecture(text: str) -> None:
    from bench.nn.architectures import module_of

    module_of(text)


defense = click.option(
    "--defense",
    required=True,
    callback=_checked(_find_defense),
    metavar="NAME",
    help="Defense, NAME[field=value], or PATH.py:CLASS; of others: loaded, timm:NAME, torchvision:NAME, "
    "robustbench:NAME, hf:REPO.",
)
networks = click.argument(
    "names",
    nargs=-1,
    required=True,
    callback=_checked(_find_network),
    metavar="DEFENSE[@ARCH]...",
)
data = click.option(
    "--data",
    default=DATA,
    show_default=True,
    metavar="NAME",
    callback=_checked(_find_data),
    help="Data set.",
)
resize = click.option(
    "--resize",
    type=Count(1, SIDE),
    metavar="N",
    help="Resize pictures so that the shorter side has N pixels, bicubic and antialiased.  [default: as they "
    "are, or as a network of timm or torchvision wants them]",
)
crop = click.option(
    "--crop",
    type=Count(1, SIDE),
    metavar="N",
    help="Then cut N x N pixels out of the middle.  [default: as --resize]",
)
data_of_run = click.option(
    "--data",
    metavar="NAME",
    help="Where the run's data lie now, if they are your own (folder:PATH or npz:PATH).  [default: where "
    "they were]",
)
code = click.option(
    "--code",
    multiple=True,
    metavar="FILE.py",
    help="Python file of classes of your own that the run used, or of what made its network; repeatable.  "
    "[default: where it was]",
)
data_root = click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where data sets lie, and in models/ weights of others.  [default: $BENCH_DATA, the system's "
    "folders, ./.data]",
)
norm = click.option(
    "--norm",
    metavar="Linf|L2|L1|L0",
    help="Norm of the perturbation.  [default: the data set's]",
)
eps = click.option(
    "--eps",
    metavar="RADIUS",
    help="Radius in pixel units, such as 8/255; under L0 a number of values.  [default: the data set's]",
)
_ARCH: Any = {"metavar": "NAME", "help": "Architecture.  [default: the data set's]"}
arch = click.option("--arch", **_ARCH)
arch_here = click.option("--arch", callback=_checked(_find_architecture), **_ARCH)
recipe = click.option(
    "--recipe", default="short", show_default=True, metavar="NAME", help="How networks are trained."
)
seed = click.option(
    "--seed",
    type=Count(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Seed of training and of the attacks.",
)
device = click.option(
    "--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda or cuda:1."
)
batch_size = click.option(
    "--batch-size",
    default="auto",
    show_default=True,
    metavar="N|auto",
    help="Images attacked at once, halved when memory runs out; results do not depend on it, unless the "
    "defense is randomized.",
)
compiled = click.option(
    "--compile",
    "compiled",
    is_flag=True,
    help="Compute gradients by torch.compile: slow to begin, faster where launches cost most.  "
    "[default: as they are]",
)
workers = click.option(
    "--workers",
    type=Count(1, PROCESSES),
    metavar="N",
    help="Another word for --on local:N; 1 is this process.  [default: what --on says]",
)
on = click.option(
    "--on",
    metavar="ENGINE",
    help="What computes: here, local:N, ray[:ADDRESS] or slurm:partition=NAME,gpus=1,minutes=60,jobs=8; "
    "results do not depend on it.  [default: here]",
)
track = click.option(
    "--track",
    metavar="TRACKER[:PLACE]",
    help="Also tell curves, columns and the table to mlflow[:URI] or tensorboard[:FOLDER]; results do not "
    "depend on it.  [default: nobody]",
)
no_evidence = click.option(
    "--no-evidence",
    is_flag=True,
    help="Keep no adversarial images beside the record.  [default: those of the worst case are kept]",
)
store = click.option(
    "--store",
    is_eager=True,  # names of networks are looked up there
    type=click.Path(path_type=Path),
    default=STORE,
    show_default=True,
    metavar="FOLDER",
    help="Where runs are kept.",
)
settings = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a parameter: defense.margin=0.05, recipe.epochs=3, suite.examples=100, "
    "attack.COLUMN.steps=50; repeatable.  [default: none]",
)
suite = click.option(
    "--suite",
    multiple=True,
    metavar="NAME,...",
    callback=_suites,
    help=f"Suite of attacks, or several for one training: whitebox,graybox,blackbox.  [default: {DEFAULT}, "
    "unless --attack names attacks]",
)
attack = click.option(
    "--attack",
    "attacks",
    multiple=True,
    metavar="NAME",
    callback=_checked(_find_attack),
    help="Attack, in the place of a suite: pgd, torchattacks:PGD, foolbox:LinfPGD, art:DeepFool, advlib:ddn, "
    "autoattack:apgd-ce, or PATH.py:CLASS; repeatable.  [default: none]",
)
knowledge = click.option(
    "--knowledge",
    metavar="NAME",
    help="What these attacks may see: white-box, classifier, twin, undefended, transfer, scores or "
    "decisions.  [default: white-box]",
)
train_eps = click.option(
    "--train-eps",
    metavar="RADIUS",
    help="Radius of the attack inside training.  [default: the data set's, whatever --eps is]",
)
init = click.option(
    "--init",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Weights to begin training with (safetensors or a pickle of tensors).  [default: fresh ones]",
)
extra = click.option(
    "--extra",
    metavar="npz:FILE",
    help="Images with labels, such as generated ones, to mix into each batch of training.  [default: none]",
)
extra_share = click.option(
    "--extra-share", metavar="SHARE", help="Their share of each batch.  [default: 0.7]"
)
examples = click.option(
    "--examples", metavar="N|all", help="Test images, the first N of a fixed shuffle.  [default: the suite's]"
)


def examples_or(default: int) -> Callable[[F], F]:
    """`--examples` of a command that has no suite to say how many."""
    about = f"Test images, the first N of a fixed shuffle.  [default: {default}]"
    return click.option("--examples", metavar="N|all", help=about)


def also_out(what: str) -> Callable[[F], F]:
    """`--out` of a command that prints anyway: where it also writes what."""
    about = f"Also write {what} there.  [default: none]"
    return click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", help=about)


checkpoint = click.option(
    "--checkpoint",
    default="best",
    show_default=True,
    metavar="best|last|FILE",
    help="Which epoch is attacked: best on held-out images, or the last; for the defense loaded, the file of "
    "weights (safetensors or a pickle of tensors).",
)
factory = click.option(
    "--factory",
    metavar="MODULE:CALLABLE",
    help="What makes the network that loaded weights are for, in the place of --arch; also PATH.py:CALLABLE. "
    "It takes images in [0, 1].  [default: the architecture]",
)
normalize = click.option(
    "--normalize",
    metavar="NAME|MEAN/STD",
    help="What goes before a loaded network: none, task, imagenet, cifar10, half, or numbers such as "
    "0.5,0.5,0.5/0.25,0.25,0.25.  [default: task before --arch, else what its library says, or nothing]",
)
classes = click.option(
    "--classes",
    metavar="FILE",
    help="Names of a loaded network's outputs, a line each or JSON, where they are more than the data's "
    "classes or in another order; `imagenet` is known.  [default: the outputs are the classes]",
)
randomized = click.option(
    "--randomized",
    is_flag=True,
    help="The loaded network draws when it answers: gradients are averaged, verdicts are votes.  "
    "[default: it does not]",
)
attackable = click.option(
    "--attackable",
    metavar="MODULE:CALLABLE",
    help="What makes, of a loaded network, one that can be differentiated in its place (BPDA); also "
    "PATH.py:CALLABLE.  [default: the network itself]",
)
label = click.option(
    "--label",
    metavar="NAME",
    help="What tables, figures and boards call a network that is loaded.  [default: what it is made of]",
)
surrogate = click.option(
    "--surrogate",
    metavar="NAME[@ARCH]",
    callback=_checked(_find_network),
    help="Defense whose network transfer attackers own and climb, trained by the same recipe from another "
    "seed; never the victim itself.  [default: standard, of another architecture]",
)
devices = click.option(
    "--devices",
    type=Count(1, PROCESSES),
    default=1,
    show_default=True,
    metavar="N",
    help="GPUs that train together; so many are part of what names the weights.",
)
rerun = click.option(
    "--rerun",
    is_flag=True,
    help="Attack again, and train again what other code trained.  [default: refuse it]",
)
accept_stale = click.option(
    "--accept-stale", is_flag=True, help="Use what other code computed, as it is.  [default: refuse it]"
)
offline = click.option(
    "--offline", is_flag=True, help="Download nothing.  [default: download data and weights]"
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout.  [default: a table]")


def several(*options: Callable[[F], F]) -> Callable[[F], F]:
    """One decorator for many options, shown in the given order."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


network = several(
    *(data, resize, crop, data_root, arch_here, recipe, train_eps, init, extra, extra_share, label),
    *(seed, device, devices, store, settings, rerun, accept_stale, offline),
)
"""What decides how a network is trained, and where it is kept."""


of_others = several(checkpoint, factory, normalize, classes, randomized, attackable)
"""Which weights are attacked, and what is said of a network that others trained."""


class Once(click.Command):
    """A command that refuses an option given again, where click would keep the last value and say nothing."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """What is left of the words, and the parameters of the context.

        Raises:
            BadValue: an option of one value is given twice.
        """
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        left = super().parse_args(ctx, args)
        for option, times in Counter(order).items():
            if times > 1 and isinstance(option, click.Option) and not (option.multiple or option.is_flag):
                raise BadValue(
                    f"{max(option.opts, key=len)} is given {'twice' if times == 2 else f'{times} times'}, "
                    "expected it once",
                    "a command for each",
                )
        return left


def command(name: str | None = None, **more: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """What makes a command of a function; see `Once`."""
    return click.command(name, cls=Once, **more)


class Commands(click.Group):
    """A group of commands that guesses what a misspelt one was meant to be."""

    command_class = Once

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command and what is left for it."""
        name, known = arguments[0], self.list_commands(context)
        if name not in known and not name.startswith("-"):
            raise click.UsageError(str(unknown("command", name, known)), context)
        return super().resolve_command(context, arguments)


PARTS = ("defense", "recipe", "suite", "numerics")
"""The parts of a run whose fields can be overridden, besides the attack of each column."""


def parse_settings(items: Iterable[str]) -> dict[str, dict[str, str]]:
    """Sort overrides by the part of the run that they change; values stay text until a field types them.

    >>> parse_settings(["defense.margin=0.05", "attack.pgd_20.steps=50"])
    {'defense': {'margin': '0.05'}, 'attack.pgd_20': {'steps': '50'}}
    """
    found: dict[str, dict[str, str]] = {}
    for item in items:
        key, equals, value = (text.strip() for text in item.partition("="))
        if not equals or not key:
            raise BadValue(f"--set {item!r} has no value, expected KEY=VALUE", "--set recipe.epochs=3")
        part, name = _split(key, item)
        fields = found.setdefault(part, {})
        if name in fields:
            raise BadValue(f"--set gives {key} twice, {fields[name]!r} and {value!r}, expected it once")
        fields[name] = value
    return found


def _split(key: str, item: str) -> tuple[str, str]:
    part, *names = key.split(".")
    if part == "attack":
        if len(names) < 2 or not all(names):
            raise BadValue(
                f"--set {item!r} does not say which column and parameter, expected "
                "attack.COLUMN.PARAMETER=VALUE",
                "--set attack.pgd_20.steps=50",
            )
        return f"attack.{names[0]}", ".".join(names[1:])
    if part not in PARTS:
        meant = near(part, [*PARTS, "attack"])
        raise BadValue(
            f"--set {item!r} overrides {part!r}, expected {', '.join(PARTS)} or attack.COLUMN",
            f"--set {meant}.{'.'.join(names)}=..." if meant and names else f"--set defense.{key}=...",
        )
    if not names or not all(names):
        raise BadValue(
            f"--set {item!r} does not say which parameter, expected {part}.PARAMETER=VALUE",
            f"--set {part}.NAME=VALUE",
        )
    return part, ".".join(names)


def named(names: str | None) -> tuple[str, ...]:
    """Names between commas, but not within brackets."""
    return tuple(filter(None, map(str.strip, re.split(r",(?![^\[]*\])", names or ""))))
