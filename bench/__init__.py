"""An adversarial-robustness benchmark for defenses, and for those who must believe their numbers.

From Python: `evaluate` attacks a network that a program holds, `run` and `sweep` do what the commands of
these names do, `attack` gives adversarial images; `compare`, `board` and `load_records` read results.
Whatever a caller can get wrong is a `bench.errors.BenchError`, one sentence that says what to type. Nothing
is imported before it is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from fractions import Fraction
    from pathlib import Path

    from bench import errors as errors
    from bench.interface.result import Given, Result, Results, SuiteResults
    from bench.interface.shown import Shown
    from bench.interface.sweep import SweepResults

__version__ = "0.1.0"

import_module("bench.errors")
import_module("bench.evaluate")  # the room of that name, now, so that the name below stays the function's


def evaluate(
    model: object,
    x: object,
    y: object = None,
    *,
    norm: str | None = None,
    eps: str | float | Fraction | None = None,
    suite: str | Sequence[str] | None = None,
    attacks: str | Sequence[str] | None = None,
    knowledge: str | None = None,
    examples: int | str | None = None,
    name: str | None = None,
    settings: Mapping[str, object] | None = None,
    seed: int = 0,
    device: str = "auto",
    batch_size: int | None = None,
    data_root: str | Path | None = None,
    store: str | Path | None = None,
    rerun: bool = False,
    progress: bool = True,
) -> Result | SuiteResults:
    """Attack a network that this program holds, and judge the result; nothing is registered or trained.

    `model` is an nn.Module, or a function, from images [n, C, H, W] in [0, 1] to logits [n, classes]. It is
    copied, asked in eval mode, and left as it is; its weights and its answers are its identity.

    `x` and `y` are arrays or tensors: images [n, C, H, W] (arrays also [n, H, W] or [n, H, W, C]), float in
    [0, 1] or uint8, and labels [n]. Or `x` alone is a DataLoader or Dataset of pairs (x, y), or the name of a
    data set such as "digits" or "npz:PATH", whose test images are taken. Images in memory need `norm` and
    `eps`, and are all attacked unless `examples` says how many; for a data set all three have defaults.

    `suite` (whitebox unless others are named), `attacks` and `knowledge` are the command's, as is `settings`:
    {"attack.pgd_20.steps": 50}. Of several suites, ["fast", "smoke"], one result has all, and the worst case
    over them. `name` is what tables call the network. `store` is a folder that keeps the record and answers
    when the same is asked again; without one all lies in a temporary folder for as long as the result.
    `progress=False` is silent.

    Raises:
        bench.errors.BenchError: a name, a value, the network or the images are not as they must be.
    """
    found: Result | SuiteResults = _interface("evaluate").evaluate(
        model,
        x,
        y,
        norm=norm,
        eps=eps,
        suite=suite,
        attacks=attacks,
        knowledge=knowledge,
        examples=examples,
        name=name,
        settings=settings,
        seed=seed,
        device=device,
        batch_size=batch_size,
        data_root=data_root,
        store=store,
        rerun=rerun,
        progress=progress,
    )
    return found


def run(
    defense: str,
    *,
    data: str | None = None,
    resize: int | None = None,
    crop: int | None = None,
    suite: str | Sequence[str] | None = None,
    attacks: str | Sequence[str] | None = None,
    knowledge: str | None = None,
    norm: str | None = None,
    eps: str | float | Fraction | None = None,
    examples: int | str | None = None,
    recipe: str | None = None,
    epochs: int | None = None,
    arch: str | None = None,
    train_eps: str | float | Fraction | None = None,
    seed: int | None = None,
    settings: Mapping[str, object] | None = None,
    checkpoint: str | Path | None = None,
    factory: str | None = None,
    normalize: str | None = None,
    classes: str | Path | None = None,
    randomized: bool = False,
    attackable: str | None = None,
    label: str | None = None,
    surrogate: str | None = None,
    init: str | Path | None = None,
    extra: str | None = None,
    extra_share: str | float | None = None,
    store: str | Path | None = None,
    data_root: str | Path | None = None,
    device: str | None = None,
    devices: int | None = None,
    batch_size: int | None = None,
    compiled: bool = False,
    on: str | None = None,
    workers: int | None = None,
    track: str | None = None,
    no_evidence: bool = False,
    rerun: bool = False,
    accept_stale: bool = False,
    offline: bool = False,
    progress: bool = True,
) -> Result | SuiteResults:
    """Train a defense or load its weights, and attack it: what `bench run` does, to the same record.

    Every word is an option of the command, with its meaning and its default where it is None: the store is
    the folder `runs`, and a run that is complete there answers from its record. `epochs=5` is short for
    `settings={"recipe.epochs": 5}`, and `settings` for `--set`. Of several suites, ["whitebox", "blackbox"],
    one result has all, and the worst case over them. Everything is computed in this process unless there are
    more `workers` or `devices`; a script that asks for these needs a main guard.

    Raises:
        bench.errors.BenchError: what the command would print in its place.
    """
    found: Result | SuiteResults = _interface("evaluate").run(
        defense,
        data=data,
        resize=resize,
        crop=crop,
        suite=suite,
        attacks=attacks,
        knowledge=knowledge,
        norm=norm,
        eps=eps,
        examples=examples,
        recipe=recipe,
        epochs=epochs,
        arch=arch,
        train_eps=train_eps,
        seed=seed,
        settings=settings,
        checkpoint=checkpoint,
        factory=factory,
        normalize=normalize,
        classes=classes,
        randomized=randomized,
        attackable=attackable,
        label=label,
        surrogate=surrogate,
        init=init,
        extra=extra,
        extra_share=None if extra_share is None else str(extra_share),
        store=store,
        data_root=data_root,
        device=device,
        devices=devices,
        batch_size=batch_size,
        compiled=compiled,
        on=on,
        workers=workers,
        track=track,
        no_evidence=no_evidence,
        rerun=rerun,
        accept_stale=accept_stale,
        offline=offline,
        progress=progress,
    )
    return found


def sweep(
    file: str | Path | None = None,
    *,
    defense: str | Sequence[str] | None = None,
    suite: str | Sequence[str] | None = None,
    seed: int | Sequence[int] | None = None,
    data: str | Sequence[str] | None = None,
    norm: str | Sequence[str] | None = None,
    eps: str | float | Fraction | Sequence[str | float | Fraction] | None = None,
    arch: str | Sequence[str] | None = None,
    recipe: str | Sequence[str] | None = None,
    train_eps: str | float | Fraction | Sequence[str | float | Fraction] | None = None,
    examples: int | str | None = None,
    checkpoint: str | Path | None = None,
    factory: str | None = None,
    normalize: str | None = None,
    classes: str | Path | None = None,
    randomized: bool = False,
    attackable: str | None = None,
    label: str | None = None,
    surrogate: str | None = None,
    resize: int | None = None,
    crop: int | None = None,
    init: str | Path | None = None,
    extra: str | None = None,
    extra_share: str | float | None = None,
    settings: Mapping[str, object] | None = None,
    store: str | Path | None = None,
    data_root: str | Path | None = None,
    device: str | None = None,
    devices: int | None = None,
    batch_size: int | None = None,
    compiled: bool = False,
    on: str | None = None,
    workers: int | None = None,
    track: str | None = None,
    no_evidence: bool = False,
    rerun: bool = False,
    accept_stale: bool = False,
    offline: bool = False,
    dry_run: bool = False,
    progress: bool = True,
) -> SweepResults:
    """Run every combination of defenses, suites, seeds and more, as `bench sweep` does, to the same records.

    `file` is a TOML file of axes (docs/sweep.md); or the axes are given here, each as one value or a list:
    `bench.sweep(defense=["pgd_at", "trades"], seed=[0, 1, 2])`. All else is the same for all runs, and as in
    `run`. The result is the sequence of the runs' results, with `.table`, and `.failures` of those that have
    no worst case: one that fails stops no other. `.plan` says what was to do before; by `dry_run` nothing is
    computed, and the result is empty but for it.

    Raises:
        bench.errors.BenchError: what the command would say before it computes anything.
    """
    found: SweepResults = _interface("sweep").sweep(
        file,
        defense=defense,
        suite=suite,
        seed=seed,
        data=data,
        norm=norm,
        eps=eps,
        arch=arch,
        recipe=recipe,
        train_eps=train_eps,
        examples=examples,
        checkpoint=checkpoint,
        factory=factory,
        normalize=normalize,
        classes=classes,
        randomized=randomized,
        attackable=attackable,
        label=label,
        surrogate=surrogate,
        resize=resize,
        crop=crop,
        init=init,
        extra=extra,
        extra_share=None if extra_share is None else str(extra_share),
        settings=settings,
        store=store,
        data_root=data_root,
        device=device,
        devices=devices,
        batch_size=batch_size,
        compiled=compiled,
        on=on,
        workers=workers,
        track=track,
        no_evidence=no_evidence,
        rerun=rerun,
        accept_stale=accept_stale,
        offline=offline,
        dry_run=dry_run,
        progress=progress,
    )
    return found


def attack(
    model: object,
    x: Any,
    y: object,
    attack: str,
    /,
    *,
    norm: str | None = None,
    eps: str | float | Fraction | None = None,
    seed: int = 0,
    device: str = "auto",
    batch_size: int | None = None,
    progress: bool = False,
    **parameters: object,
) -> Any:
    """Adversarial images of a network that this program holds, of the shape and kind of x.

    `model`, `x` and `y` are as in `evaluate`. `attack` is a registered attack such as "pgd", the column of a
    suite such as "apgd_t" or "pgd_100x5" with its parameters there, another library's such as
    "torchattacks:PGD", or "PATH.py:CLASS"; `parameters` override its own. It sees all of the network, unless
    the column that is named sees less.

    The same oracle and referee as in a run decide: every image is inside the budget and [0, 1]. Images that
    the network gets wrong by itself, and those on which the attack failed, are returned as they came, so
    whatever differs from x is an adversarial image. Bytes come back as float32 in [0, 1].

    Raises:
        bench.errors.BenchError: a name or a value is wrong, or the attack failed.
    """
    return _interface("attack").attack(
        model,
        x,
        y,
        attack,
        norm=norm,
        eps=eps,
        seed=seed,
        device=device,
        batch_size=batch_size,
        progress=progress,
        parameters=parameters,
    )


def compare(*results: Given) -> Shown:
    """Whether networks differ on the same examples, or whether it is chance: what `bench compare` prints.

    Exact McNemar tests of every two, with Holm where there are several. Results are of one data set, budget,
    number of examples and suite.

    Raises:
        bench.errors.BadValue: they cannot be compared, or there is one alone.
    """
    found: Shown = _interface("compare").compare(results)
    return found


def board(results: Iterable[Given]) -> Shown:
    """Results as ranked tables, one for each data set, budget and number of examples: `bench board`.

    Raises:
        bench.errors.BadValue: there are none, or two of one training under one suite.
    """
    found: Shown = _interface("compare").board(results)
    return found


def load_records(*places: str | Path) -> Results:
    """The results in some places, in the order of their ids; `.frame()` is one tidy pandas frame of them all.

    A place is a record's file, a folder of runs, or a folder of boards; none: the folder `runs`. Loads no
    torch. Warns of each record of a folder that cannot be read, and leaves it out.

    Raises:
        bench.errors.BadData: a place does not exist, or is a file that is no record.
    """
    found: Results = _interface("compare").load_records(places or ("runs",))
    return found


def _interface(module: str) -> Any:
    """A module of the interface, imported by name: every layer asks this page for the version."""
    return import_module(f"bench.interface.{module}")
