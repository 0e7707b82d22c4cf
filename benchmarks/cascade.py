"""`fast` beside `autoattack@1` and torchattacks' AutoAttack on trained networks: passes, verdicts, doubt."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.cli.requests import as_request
from bench.cli.run import run as command
from bench.core.outcomes import Outcomes, concatenate, worst_case
from bench.plan import Request, plan_run
from bench.records.record import Record
from bench.records.store import Store
from bench.records.verdicts import worst_case_of
from bench.runner.options import Options
from bench.runner.run import run
from benchmarks.timing import Row, Settings

NETWORKS = ("digits:pgd_at@small_cnn",)
THEIRS = "torchattacks:AutoAttack"
"""Attacks the usual networks only: it takes half as long as AutoAttack."""

NOISE = 0.2
"""Points by which AutoAttack differs from itself under another seed."""

FEW, SOME = 0.04, 0.15
"""The share of AutoAttack's passes that the first sweep may take, and both may."""

BACKWARD = 1.1
"""Forwards that a backward counts as."""


@dataclass(frozen=True)
class Judged:
    """One suite on one network."""

    record: Record
    outcomes: tuple[Outcomes, ...]  # of each column that was played

    @property
    def robust(self) -> NDArray[np.bool_]:
        """After all columns, [n]."""
        return worst_case(self.outcomes)

    def spent(self, what: str, columns: int | None = None) -> float:
        """Seconds, forwards or backwards of the first columns, summed over examples."""
        played = [column for column in self.record.columns if column.robust is not None]
        n = 1 if what == "seconds" else self.record.examples
        return n * sum(float(getattr(column, what)) for column in played[:columns])

    def passes(self, columns: int | None = None) -> float:
        """Of the first columns, a backward counted as 1.1 forwards."""
        return self.spent("forwards", columns) + BACKWARD * self.spent("backwards", columns)


def measure(settings: Settings) -> list[Row]:
    """Trains or loads each network as `bench run` does."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(settings.store or Path(folder))
        return [row for text in settings.networks or NETWORKS for row in _rows(text, store, settings)]


def _rows(text: str, store: Store, settings: Settings) -> Iterator[Row]:
    settings.say(f"{text}: autoattack")
    reference = judge(text, "autoattack", store, settings)
    title = f"{reference.record.data} {reference.record.defense}, n = {reference.record.examples}"
    for seed in range(settings.seeds):
        settings.say(f"{text}: fast, seed {seed}")
        yield from _beside(reference, judge(text, "fast", store, settings, seed), f"{title}, seed {seed}")
    for name in () if settings.networks else (THEIRS,):
        settings.say(f"{text}: {name}")
        theirs = judge(text, name, store, settings)
        for of in ("seconds", "forwards", "backwards"):
            what = f"{title}: torchattacks.AutoAttack, {'time' if of == 'seconds' else of}"
            yield Row("cascade", what, "autoattack@1", _ratio(theirs.spent(of), reference.spent(of)))
        yield _kinder(theirs, reference, f"{title}: torchattacks.AutoAttack", bar=None)


def _beside(reference: Judged, fast: Judged, title: str) -> Iterator[Row]:
    """Passes of the first sweep and of all, and verdicts."""
    is_long = _is_long(fast.record)
    whole = reference.passes()
    bar = 1.0 if not reference.robust.any() else SOME if is_long else FEW
    first = _ratio(fast.passes(FIRST["fast@2"]), whole)
    yield Row("cascade", f"{title}: first sweep, passes", "autoattack@1", first)
    yield Row("cascade", f"{title}: passes", "autoattack@1", _ratio(fast.passes(), whole), bar=bar)
    yield Row(
        "cascade", f"{title}: time", "autoattack@1", _ratio(fast.spent("seconds"), reference.spent("seconds"))
    )
    yield _kinder(fast, reference, f"{title}: {fast.record.suite}", bar=NOISE)


def _kinder(one: Judged, reference: Judged, title: str, bar: float | None) -> Row:
    """By how many points a suite leaves more than AutoAttack, and which examples only one of them broke."""
    kinder = 100 * (one.robust.mean() - reference.robust.mean())
    only = reference.outcomes[0].ids[one.robust & ~reference.robust]
    more = int((~one.robust & reference.robust).sum())
    doubt = one.record.doubt
    note = (
        f"{100 * one.robust.mean():.1f} against {100 * reference.robust.mean():.1f} %; "
        f"AutoAttack alone breaks {len(only)}{_listed(only)}, the other alone {more}"
        + ("" if doubt is None else f"; may be up to {100 * doubt.at_most:.1f} points too kind, it says")
    )
    return Row("cascade", f"{title}, points above", "autoattack@1", float(kinder), bar=bar, note=note)


def judge(text: str, suite: str, store: Store, settings: Settings, seed: int = 0) -> Judged:
    """A network under a suite, or under one attack where the name has a colon.

    The network is DATA:DEFENSE@ARCHITECTURE, or words of `bench run`: "--defense loaded --checkpoint ...".
    """
    request = _typed(text, store, settings) if text.startswith("-") else _named(text, settings)
    chosen: dict[str, Any] = {"attacks": (suite,)} if ":" in suite else {"suite": suite}
    spec = plan_run(replace(request, seed=seed, examples=settings.examples or "all", **chosen))
    options = Options(store, data_root=request.data_root, device=str(settings.device), stale=settings.stale)
    record = run(spec, options)
    folder = store.run(spec.id)
    outcomes = []
    for column in record.columns:
        parts = []
        while (cell := folder.cell(column.name, len(parts))) is not None:
            parts.append(cell.outcomes)
        if parts:
            outcomes.append(concatenate(parts))
    return Judged(record, tuple(outcomes))


def _named(text: str, settings: Settings) -> Request:
    data, _, rest = text.rpartition(":")  # data may have a colon of its own: folder:PATH
    defense, _, architecture = rest.partition("@")
    return Request(
        defense=defense,
        data=data,
        architecture=architecture or None,
        recipe=settings.recipe,
        data_root=settings.data_root,
    )


def _typed(text: str, store: Store, settings: Settings) -> Request:
    given = shlex.split(text)
    if settings.data_root and "--data-root" not in given:
        given += ["--data-root", str(settings.data_root)]
    words = command.make_context("bench run", given).params | {"store": store.root, "suite": None}
    return as_request(**words)


FIRST = {"fast@1": 2, "fast@2": 4}
"""How many columns are played always."""


def figures(reference: Record, fast: Record) -> tuple[str, ...]:
    """What the page shows of `fast@1` beside its reference: eps, n, both accuracies, passes in percent.

    Passes over the reference's, of the first column, of those that are played always, and of all.
    """
    judged, whole = Judged(fast, ()), Judged(reference, ()).passes()
    always = FIRST[fast.suite]
    shares = [f"{100 * judged.passes(columns) / whole:.1f}" for columns in (1, always, None)]
    if not _is_long(fast):
        shares[2] = "no siege"
    worst = [record.worst_case for record in (reference, fast)]
    accuracies = [f"{100 * share.value:.1f}" if share else "-" for share in worst]
    return (reference.eps, str(reference.examples), *accuracies, *shares)


def over_seeds(reference: Record, runs: Sequence[Record]) -> tuple[str, ...]:
    """What the page shows of `fast@2` under several seeds beside its reference; all from the records alone.

    Norm and eps, n, the reference's accuracy, that of each seed, the most points by which one of them is
    above it; passes of the first sweep and of all over the reference's, in percent; and of each seed the
    images that any of the others or the reference broke besides, over how many it said there may be.
    """
    held = [worst_case_of(record) for record in (reference, *runs)]
    verdicts = np.stack([kept for kept in held if kept is not None])
    known = verdicts.all(axis=0)
    shares = [100 * float(kept.mean()) for kept in verdicts]
    missed = [int((kept & ~known).sum()) for kept in verdicts[1:]]
    stated = [round(run.examples * run.doubt.at_most, 1) if run.doubt else 0.0 for run in runs]
    whole = Judged(reference, ()).passes()
    first, all_ = (
        [100 * Judged(run, ()).passes(columns) / whole for run in runs] for columns in (FIRST["fast@2"], None)
    )
    long = sum(map(_is_long, runs))
    return (
        f"{reference.norm} {reference.eps}",
        str(reference.examples),
        f"{shares[0]:.1f}",
        ", ".join(f"{share:.1f}" for share in shares[1:]),
        f"{max(shares[1:]) - shares[0]:+.1f}",
        _range(first),
        f"{_range(all_)}" + ("" if long == len(runs) else f" ({long} of {len(runs)} went on)"),
        ", ".join(f"{count}/{most:g}" for count, most in zip(missed, stated, strict=True)),
    )


def _is_long(record: Record) -> bool:
    """Whether more was played than what always is."""
    return sum(column.robust is not None for column in record.columns) > FIRST[record.suite]


def _range(values: Sequence[float]) -> str:
    """The least and the largest, where they differ."""
    low, high = f"{min(values):.1f}", f"{max(values):.1f}"
    return low if low == high else f"{low} to {high}"


def _ratio(one: float, below: float) -> float | None:
    return one / below if below else None


def _listed(ids: NDArray[np.int64]) -> str:
    shown = ", ".join(str(i) for i in ids)
    return f" (ids {shown})" if len(ids) else ""
