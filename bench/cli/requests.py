"""What was typed as a Request and Options; the only place where words of the command line get their types."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from bench.cli.console import Console
from bench.cli.options import parse_settings, positive
from bench.core.files import at_home
from bench.core.listing import DEFAULT
from bench.core.progress import Progress
from bench.core.threat import LARGEST_RADIUS, Budget, Norm, parse_eps
from bench.data.catalog import source, with_parameters
from bench.errors import BadValue
from bench.records.store import Store
from bench.runner.engines.named import HERE, check_engine
from bench.runner.options import Options
from bench.runner.trackers.named import check_tracker
from bench.train.recipes import recipe as recipe_of

if TYPE_CHECKING:  # it loads torch, and names are checked before
    from bench.plan import Request

Epoch = Literal["best", "last"]

PAPER = "paper"
"""The recipe that is another for each defense: the schedule of its own publication."""

EXAMPLE = {Norm.LINF: "8/255", Norm.L2: "0.5", Norm.L1: "10", Norm.L0: "20"}
"""A radius that somebody might type under each norm."""


def as_request(
    defense: str,
    *,
    data: str,
    recipe: str,
    arch: str | None,
    seed: int,
    settings: tuple[str, ...],
    resize: int | None = None,
    crop: int | None = None,
    train_eps: str | None = None,
    suite: str | None = None,
    attacks: tuple[str, ...] = (),
    knowledge: str | None = None,
    norm: str | None = None,
    eps: str | None = None,
    examples: str | None = None,
    checkpoint: str = "best",
    factory: str | None = None,
    normalize: str | None = None,
    classes: str | None = None,
    randomized: bool = False,
    attackable: str | None = None,
    surrogate: str | None = None,
    devices: int = 1,
    init: Path | None = None,
    extra: str | None = None,
    extra_share: str | None = None,
    label: str | None = None,
    data_root: Path | None = None,
    offline: bool = False,
    store: Path | None = None,
    **_: Any,
) -> Request:
    """The request behind a command's options; the rest of the options is `as_options`' concern."""
    if suite is not None and attacks:
        raise BadValue(
            f"--suite is {suite!r} and --attack is {attacks[0]!r}, expected one of them",
            f"--attack {attacks[0]}",
        )
    data = with_parameters(data, resize=resize, crop=crop)
    customary = source(data).budget
    if recipe != PAPER:
        recipe_of(data, recipe)  # says what is wrong with a name
    budget = _budget(norm, eps, customary)
    overridden, wanted = parse_settings(settings), _examples(examples)
    inside = None if train_eps is None else _radius(train_eps, "--train-eps", customary.norm)

    from bench.data.extra import extra_of
    from bench.plan import Request
    from bench.runner.named import shelf_of
    from bench.train.at_hand import open_shelf

    if store is not None:
        open_shelf(shelf_of(Store(store)))
    is_epoch = checkpoint in get_args(Epoch)
    return Request(
        defense=defense,
        data=data,
        suite=DEFAULT if suite is None else suite,
        attacks=attacks,
        knowledge=knowledge,
        recipe=recipe,
        architecture=arch,
        budget=budget,
        train_budget=None if inside is None else Budget(customary.norm, inside),
        seed=seed,
        examples=wanted,
        checkpoint=cast(Epoch, checkpoint) if is_epoch else "best",
        settings=overridden,
        surrogate=surrogate,
        devices=devices,
        init=init,
        extra=extra_of(extra, extra_share),
        label=label,
        weights=None if is_epoch else at_home(checkpoint),
        factory=factory,
        classes=classes,
        foreign=_given(normalize=normalize, randomized=randomized, attackable=attackable),
        data_root=data_root,
        download=not offline,
    )


def _given(**words: str | bool | None) -> dict[str, str]:
    """The options that were typed, as texts by the fields that they set."""
    return {name: str(word) for name, word in words.items() if word}


def as_options(
    *,
    store: Path,
    data_root: Path | None,
    device: str,
    rerun: bool,
    accept_stale: bool,
    offline: bool,
    batch_size: str = "auto",
    compiled: bool = False,
    on: str | None = None,
    workers: int | None = None,
    track: str | None = None,
    no_evidence: bool = False,
    progress: Progress | None = None,
    **_: Any,
) -> Options:
    """How the work is done; none of it changes a result. It is told on the terminal unless elsewhere."""
    if rerun and accept_stale:
        raise BadValue("--rerun and --accept-stale contradict each other, expected one of them")
    return Options(
        store=Store(store),
        data_root=data_root,
        device=device,
        batch_size=_batch_size(batch_size),
        compiled=compiled,
        on=_engine(on, workers),
        track=_tracker(track),
        evidence=not no_evidence,
        stale=cast(Any, "rerun" if rerun else "accept" if accept_stale else "refuse"),
        download=not offline,
        progress=progress or Console(),
    )


def _budget(norm: str | None, eps: str | None, customary: Budget) -> Budget:
    known = {known.value.lower(): known for known in Norm}
    if norm is not None and norm.lower() not in known:
        raise BadValue(f"--norm is {norm!r}, expected one of {', '.join(known.value for known in Norm)}")
    chosen = customary.norm if norm is None else known[norm.lower()]
    if chosen is not customary.norm and eps is None:
        raise BadValue(
            f"--norm {chosen.value} comes without a radius, expected one because the data set's own, "
            f"{customary.label}, is of another norm",
            f"--norm {chosen.value} --eps {EXAMPLE[chosen]}",
        )
    return Budget(chosen, customary.eps if eps is None else _radius(eps, "--eps", chosen))


def _radius(text: str, option: str, norm: Norm) -> Fraction:
    unit = "number of values" if norm is Norm.L0 else "radius of at least 0 in pixel units"
    unit += f", at most {LARGEST_RADIUS:,}" if norm is not Norm.LINF else ""
    try:
        eps = parse_eps(text)
    except BadValue:
        raise BadValue(
            f"{option} is {text!r}, expected a {unit} under {norm.value}, such as {EXAMPLE[norm]}",
            f"{option} {EXAMPLE[norm]}",
        ) from None
    if norm is Norm.L0 and eps.denominator != 1:
        raise BadValue(
            f"{option} is {text!r}, expected a whole number under L0, which counts the values that change",
            f"{option} {EXAMPLE[norm]}",
        )
    if norm is Norm.LINF and eps > 1:
        raise BadValue(
            f"{option} is {text!r}, expected at most 1 under Linf, because pixels go from 0 to 1",
            f"{option} {text}/255",
        )
    return eps


def _examples(text: str | None) -> int | Literal["all"] | None:
    if text is None:
        return None
    if text == "all":
        return "all"
    return positive(text, "--examples", "all", "200")


def _engine(on: str | None, workers: int | None) -> str:
    """The engine: `--workers N` is another word for `--on local:N`, and one worker is this process."""
    if on is not None and workers is not None:
        raise BadValue(
            f"--on is {on!r} and --workers is {workers}, expected one of them", f"--on local:{workers}"
        )
    if workers is not None:
        return HERE if workers == 1 else f"local:{workers}"
    if on is None:
        return HERE
    check_engine(on)
    return on


def _tracker(text: str | None) -> str | None:
    """The tracker, if one was typed and there is such."""
    if text is not None:
        check_tracker(text)
    return text


def _batch_size(text: str) -> int | None:
    return None if text == "auto" else positive(text, "--batch-size", "auto", "64")
