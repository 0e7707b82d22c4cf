"""`fast@1` beside `autoattack@1` and torchattacks' AutoAttack on trained networks: time, passes, verdicts."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.core.outcomes import Outcomes, concatenate, worst_case
from bench.plan import Request, plan_run
from bench.records.record import Record
from bench.records.store import Store
from bench.runner.options import Options
from bench.runner.run import run
from benchmarks.timing import Row, Settings

NETWORKS = ("digits:pgd_at@small_cnn",)
THEIRS = "torchattacks:AutoAttack"
"""Attacks the usual networks only: it takes half as long as AutoAttack."""

NOISE = 0.2
"""Points by which AutoAttack differs from itself under another seed."""


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


def measure(settings: Settings) -> list[Row]:
    """Trains or loads each network as `bench run` does."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(settings.store or Path(folder))
        return [row for text in settings.networks or NETWORKS for row in _rows(text, store, settings)]


def _rows(text: str, store: Store, settings: Settings) -> list[Row]:
    judged = {}
    others = () if settings.networks else (THEIRS,)
    for suite in ("autoattack", "fast", *others):
        settings.say(f"{text}: {suite}")
        judged[suite] = judge(text, suite, store, settings)
    reference, fast = judged["autoattack"], judged["fast"]
    masked = any(finding.code == "gradients-mislead" for finding in fast.record.findings)
    n = reference.record.examples
    found = [
        ("fast@1 ladder, time", "seconds", 1, None if masked else 0.02),
        ("fast@1 ladder and probe, time", "seconds", 2, None if masked else 0.12),
        ("fast@1, time", "seconds", None, 0.5 if masked else None),
        ("fast@1, forwards", "forwards", None, None),
        ("fast@1, backwards", "backwards", None, None),
    ]
    what = f"{text}, n = {n}"
    rows = [
        Row("cascade", f"{what}: {name}", "autoattack@1", _ratio(fast, reference, of, columns), bar=bar)
        for name, of, columns, bar in found
    ]
    candidates = {"fast@1": fast}
    for name in others:
        candidates["torchattacks.AutoAttack"] = judged[name]
        for of in ("seconds", "forwards", "backwards"):
            title = f"{what}: torchattacks.AutoAttack, {'time' if of == 'seconds' else of}"
            rows.append(Row("cascade", title, "autoattack@1", _ratio(judged[name], reference, of, None)))
    for name, candidate in candidates.items():
        kinder = 100 * (candidate.robust.mean() - reference.robust.mean())
        only = reference.outcomes[0].ids[candidate.robust & ~reference.robust]
        more = int((~candidate.robust & reference.robust).sum())
        note = (
            f"{100 * candidate.robust.mean():.1f} against {100 * reference.robust.mean():.1f} %; "
            f"AutoAttack alone breaks {len(only)}{_listed(only)}, {name} alone {more}"
        )
        bar = NOISE if name == "fast@1" else None
        title = f"{what}: {name}, points above"
        rows.append(Row("cascade", title, "autoattack@1", float(kinder), bar=bar, note=note))
    return rows


def judge(text: str, suite: str, store: Store, settings: Settings) -> Judged:
    """DATA:DEFENSE@ARCHITECTURE under a suite, or under one attack where the name has a colon."""
    data, _, rest = text.rpartition(":")  # data may have a colon of its own: folder:PATH
    defense, _, architecture = rest.partition("@")
    chosen = {"attacks": (suite,)} if ":" in suite else {"suite": suite}
    spec = plan_run(
        Request(
            defense=defense,
            data=data,
            architecture=architecture or None,
            recipe=settings.recipe,
            examples=settings.examples or "all",
            data_root=settings.data_root,
            **chosen,  # type: ignore[arg-type]
        )
    )
    options = Options(store, data_root=settings.data_root, device=str(settings.device))
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


def figures(reference: Record, fast: Record) -> tuple[str, ...]:
    """What the page shows of two records: eps, n, both accuracies, passes over the reference's in percent.

    Passes of the first column, of two and of all; a backward counts as 1.1 forwards.
    """

    def passes(record: Record, columns: int | None = None) -> float:
        judged = Judged(record, ())
        return judged.spent("forwards", columns) + 1.1 * judged.spent("backwards", columns)

    whole = passes(reference)
    shares = [f"{100 * passes(fast, columns) / whole:.1f}" for columns in (1, 2, None)]
    if sum(column.robust is not None for column in fast.columns) < 3:
        shares[2] = "no siege"
    worst = [record.worst_case for record in (reference, fast)]
    accuracies = [f"{100 * share.value:.1f}" if share else "-" for share in worst]
    return (reference.eps, str(reference.examples), *accuracies, *shares)


def _ratio(one: Judged, other: Judged, of: str, columns: int | None) -> float | None:
    below = other.spent(of)
    return one.spent(of, columns) / below if below else None


def _listed(ids: NDArray[np.int64]) -> str:
    shown = ", ".join(str(i) for i in ids)
    return f" (ids {shown})" if len(ids) else ""
