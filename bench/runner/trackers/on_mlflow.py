"""MLflow: a run for each training and run, on a server or in a folder or database."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from bench.runner.trackers.hook import TrackedWork

EXPERIMENT = "bench"
"""The experiment that holds them."""


class MlflowTracker:
    """Speaks to a tracking URI; where none is given, to what MLFLOW_TRACKING_URI or MLflow itself says."""

    def __init__(self, place: str) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=place or None)
        self._open: dict[str, str] = {}  # id of ours -> MLflow's

    def begin(self, work: TrackedWork) -> None:
        """A run of MLflow's; work that goes on after a stop goes on in the one that it had."""
        from mlflow.entities import Param

        name = self._open[work.id] = self._earlier(work) or self._new(work)
        self._client.update_run(name, status="RUNNING")
        self._client.log_batch(name, params=[Param(fact, value) for fact, value in work.facts.items()])
        self._client.log_text(name, work.spec, "spec.json")

    def figures(self, work: TrackedWork, step: int, values: Mapping[str, float]) -> None:
        """A metric each."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(_allowed(name), value, now, step) for name, value in values.items()]
        self._client.log_batch(self._open[work.id], metrics=metrics)

    def end(self, work: TrackedWork, values: Mapping[str, float], texts: Mapping[str, str]) -> None:
        """The last figures, and the texts as artifacts."""
        self.figures(work, 0, values)
        name = self._open.pop(work.id)
        for file, text in texts.items():
            self._client.log_text(name, text, file)
        self._client.set_terminated(name)

    def close(self) -> None:
        """What has not ended was killed."""
        for name in self._open.values():
            self._client.set_terminated(name, "KILLED")

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        return str(found.experiment_id if found else self._client.create_experiment(EXPERIMENT))

    def _earlier(self, work: TrackedWork) -> str | None:
        found = self._client.search_runs(
            [self._experiment()], f"tags.`bench.id` = '{work.id}'", max_results=1
        )
        return found[0].info.run_id if found else None

    def _new(self, work: TrackedWork) -> str:
        tags = {"bench.id": work.id, "bench.kind": work.kind}
        made = self._client.create_run(self._experiment(), tags=tags, run_name=work.title)
        return str(made.info.run_id)


def _allowed(name: str) -> str:
    """A name in the characters that MLflow takes.

    >>> _allowed("apgd[loss=ce]/robust")
    'apgd_loss_ce_/robust'
    """
    return re.sub(r"[^\w./ -]", "_", name)
