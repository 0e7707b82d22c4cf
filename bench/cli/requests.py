"""What was typed as a Request and Options; the only place where words of the command line get their types."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

from bench.cli.console import Console
from bench.cli.options import parse_settings
from bench.core.threat import Budget, Norm, parse_eps
from bench.data.catalog import source
from bench.errors import BadValue
from bench.plan import Request
from bench.records.store import Store
from bench.runner import Options


def as_request(
    defense: str,
    *,
    data: str,
    recipe: str,
    arch: str | None,
    seed: int,
    settings: tuple[str, ...],
    train_eps: str | None = None,
    suite: str = "whitebox",
    norm: str | None = None,
    eps: str | None = None,
    examples: str | None = None,
    checkpoint: Literal["best", "last"] = "best",
    **_: Any,
) -> Request:
    """The request behind a command's options; the rest of the options is `as_options`' concern."""
    customary = source(data).budget
    return Request(
        defense=defense,
        data=data,
        suite=suite,
        recipe=recipe,
        architecture=arch,
        budget=_budget(norm, eps, customary),
        train_budget=None if train_eps is None else Budget(customary.norm, parse_eps(train_eps)),
        seed=seed,
        examples=_examples(examples),
        checkpoint=checkpoint,
        settings=parse_settings(settings),
    )


def as_options(
    *,
    store: Path,
    data_root: Path | None,
    device: str,
    devices: int,
    rerun: bool,
    accept_stale: bool,
    offline: bool,
    batch_size: int | None = None,
    **_: Any,
) -> Options:
    """How the work is done; none of it changes a result."""
    if rerun and accept_stale:
        raise BadValue("--rerun and --accept-stale contradict each other, expected one of them")
    return Options(
        store=Store(store),
        data_root=data_root,
        device=device,
        devices=devices,
        batch_size=batch_size,
        stale=cast(Any, "rerun" if rerun else "accept" if accept_stale else "refuse"),
        download=not offline,
        progress=Console(),
    )


def _budget(norm: str | None, eps: str | None, customary: Budget) -> Budget:
    if norm is not None and norm != customary.norm.value and eps is None:
        raise BadValue(
            f"--norm {norm} comes without a radius, and the customary one is for {customary.norm.value}",
            f"--norm {norm} --eps 0.5",
        )
    chosen = customary.norm if norm is None else Norm(norm)
    return Budget(chosen, customary.eps if eps is None else parse_eps(eps))


def _examples(text: str | None) -> int | Literal["all"] | None:
    if text is None:
        return None
    if text == "all":
        return "all"
    if not text.isdigit() or int(text) < 1:
        raise BadValue(f"--examples is {text!r}, expected a number of at least 1, or all", "--examples 200")
    return int(text)
