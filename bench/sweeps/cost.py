"""What a sweep will cost, as far as the same was measured in its store before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import mean
from typing import Any

from bench.core.digest import content_id
from bench.core.json_file import read_json
from bench.data.catalog import source
from bench.plan import RunSpec
from bench.records.gathering import read_records
from bench.records.record import Record
from bench.records.store import Store
from bench.sweeps.plan import SweepPlan


@dataclass(frozen=True)
class SweepCost:
    """What is still to be done, and the seconds that it took elsewhere in this store."""

    queries: int  # examples times columns, over the runs to come
    whole: int  # runs of whole test sets, whose number is not among these
    training: float  # seconds of the trainings that are known
    attacks: float  # seconds of the attacks that are known
    unknown_trainings: int  # the like of which nobody trained here
    unknown_runs: int

    @property
    def measured(self) -> bool:
        """Whether anything of it is known."""
        return self.training + self.attacks > 0


def cost_of(plan: SweepPlan, store: Store) -> SweepCost:
    """The examples and columns of what is to be done, and its seconds by what was measured.

    A training costs what the same cost from other seeds, a suite per example what it cost on the same data
    and architecture; of what was never measured, nothing is said.
    """
    jobs = plan.open_jobs
    paces = _attack_paces(store) if jobs else {}
    attacks = [_seconds(job.spec, paces) for job in jobs]
    known = _training_seconds(store) if plan.to_train else {}
    trainings = [known.get(_but_seeds(spec.encoded())) for spec in plan.to_train]
    return SweepCost(
        queries=sum(len(job.spec.suite.trials) * (job.spec.suite.examples or 0) for job in jobs),
        whole=sum(job.spec.suite.examples is None for job in jobs),
        training=sum(found for found in trainings if found is not None),
        attacks=sum(found for found in attacks if found is not None),
        unknown_trainings=trainings.count(None),
        unknown_runs=attacks.count(None),
    )


Kind = tuple[str, str, str]
"""Suite, data as specifications name them, and architecture."""


def _attack_paces(store: Store) -> dict[Kind, tuple[float, int]]:
    """Seconds for each example, and how many examples were the most, by what was attacked."""
    records: dict[Kind, list[Record]] = {}
    for record in read_records(store.root, skip=lambda unreadable: None):
        kind = record.suite, str(record.spec["training"]["data"]), record.architecture
        records.setdefault(kind, []).append(record)
    return {kind: (mean(map(_pace, found)), found[0].examples) for kind, found in records.items()}


def _pace(record: Record) -> float:
    return sum(column.seconds for column in record.columns) / record.examples


def _seconds(spec: RunSpec, paces: Mapping[Kind, tuple[float, int]]) -> float | None:
    """Of all attacks of a run; a whole test set is as large as it was when it was measured."""
    found = paces.get((spec.suite.id, source(spec.training.data).name, spec.training.architecture))
    return None if found is None else found[0] * (spec.suite.examples or found[1])


def _training_seconds(store: Store) -> dict[str, float]:
    """Training, but for its seeds -> mean seconds of those that are complete."""
    found: dict[str, list[float]] = {}
    for path in sorted(store.root.glob("models/*/training.json")):
        try:
            spec = read_json(path.with_name("spec.json"))["spec"]
            found.setdefault(_but_seeds(spec), []).append(float(read_json(path)["seconds"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # damaged: it measures nothing, and who needs its weights is told
    return {kind: mean(seconds) for kind, seconds in found.items()}


def _but_seeds(spec: Mapping[str, Any]) -> str:
    """What trainings of one kind share; a parent's id follows from its seed."""
    roles: Iterable[str] = sorted(spec["parents"])
    return content_id({**spec, "seed": 0, "parents": list(roles)})
