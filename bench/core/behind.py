"""What is behind a result and what is not: the roots of its import graph, and where the graph is cut.

The modules behind a result are the one that computes it, the plug-ins that were chosen, and all that these
import. Nobody lists them (docs/adr/0011-names-and-content.md).
"""

from __future__ import annotations

TRAINING = ("bench.runner.weights",)
"""Where weights are computed: data, parents, weights to begin with, the training itself."""

CELL = ("bench.runner.columns",)
"""Where a cell is computed: networks from weights, their deployment, attacks, verdicts."""

FIGURES = ("bench.runner.summary", "bench.runner.run")
"""What makes a record of cells: counts, intervals, findings, gates that stay shut."""

NAMING = (
    *("bench.core.names", "bench.core.encoding", "bench.core.constructible", "bench.core.imports"),
    *("bench.registry", "bench.plan", "bench.train.recipes"),
)
"""What finds and names: whatever it chooses is in a result's id, field by field."""

KEEPING = (
    *("bench.core.behind", "bench.core.digest", "bench.core.own", "bench.core.succession"),
    *("bench.core.downloads", "bench.core.exact", "bench.core.files", "bench.core.json_file"),
    *("bench.records.record", "bench.records.reading", "bench.records.follow_ups", "bench.records.store"),
    *("bench.records.labels", "bench.records.origin", "bench.records.files", "bench.records.arrays"),
    *("bench.records.seal", "bench.records.locks"),
    *("bench.runner.options", "bench.runner.origins", "bench.runner.stale"),
    *("bench.runner.executors", "bench.runner.assignment", "bench.runner.pool", "bench.runner.worker"),
    *("bench.runner.wire", "bench.runner.jobs", "bench.runner.trainings", "bench.records.at_work"),
    *("bench.runner.trackers", "bench.runner.trackers.curve", "bench.runner.trackers.guard"),
    *("bench.runner.trackers.hook", "bench.runner.trackers.named"),
)
"""What keeps results, tells whether they are stale, and says how and by whom they are computed."""

LEFT_OUT = (*NAMING, *KEEPING)
"""Where import graphs are cut; what a record holds of these from earlier days does not count either."""
