"""The table of a sweep: a row for each method over its seeds, its seeds below; torch is not loaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bench.records.record import Interval, Record
from bench.records.seal import sealed
from bench.records.verdicts import held_in_all
from bench.report.over_seeds import OverSeeds
from bench.report.render import Cell, ColumnKind, Table, TableColumn, csv, markdown
from bench.sweeps.runs import SweepRun, axes_of, rows_of_sweep, varied

KIND, SCHEMA = "sweep", 1
"""What the JSON document says that it is."""

ShareOf = Callable[[Sequence[SweepRun]], Interval | None]
"""A share of one training, of its runs under all suites; None: it is not known."""


def sweep_table(runs: Sequence[SweepRun]) -> Table:
    """Mean and standard deviation of each method over its seeds, and each seed with its interval.

    A method of one seed has that row alone. Columns are the axes that vary, clean accuracy, and the worst
    case of each suite; of several suites on the same examples also that over all of them.
    """
    shares, axes = _shares(runs), varied(runs)
    rows: list[tuple[Cell, ...]] = []
    quiet: set[int] = set()
    for group in rows_of_sweep(runs).values():
        seeds = _by_seed(group)
        if len(seeds) > 1:
            rows.append(_mean_row(group, seeds, axes, shares))
        for seed, alone in seeds.items():
            quiet |= {len(rows)} if len(seeds) > 1 else set()
            rows.append((*_ground(alone, axes), str(seed), *_cells(alone, shares)))
    columns = tuple(TableColumn(axis, axis.replace(" ", "_")) for axis in axes)
    return Table(
        _title(runs),
        (*columns, TableColumn("seed", "seed"), *_columns(shares)),
        tuple(rows),
        _facts(runs),
        tuple(_notes(runs, shares)),
        quiet=frozenset(quiet),
    )


def sweep_json(runs: Sequence[SweepRun]) -> str:
    """The same for scripts, with why each run failed that did; shares are fractions."""
    shares = _shares(runs)
    return sealed(
        {
            "kind": KIND,
            "schema": SCHEMA,
            "methods": [_method(group, shares) for group in rows_of_sweep(runs).values()],
            "runs": [_run(run) for run in runs],
            "failed": sum(run.failed is not None for run in runs),
        }
    )


FORMS: Mapping[str, tuple[str, Callable[[Sequence[SweepRun]], str]]] = {
    "csv": ("sweep.csv", lambda runs: csv(sweep_table(runs))),
    "markdown": ("sweep.md", lambda runs: markdown(sweep_table(runs))),
    "json": ("sweep.json", sweep_json),
}
"""What may be written of a sweep -> the name of its file, and its text."""


def _shares(runs: Sequence[SweepRun]) -> dict[str, ShareOf]:
    """The shares that a row tells, by the name of their column."""
    suites = list(dict.fromkeys(run.suite for run in runs))
    over_all: dict[str, ShareOf] = {"all suites": _in_all} if len(suites) > 1 and _on_one_ground(runs) else {}
    return {"clean": _clean, **{suite: _worst_under(suite) for suite in suites}, **over_all}


def _whole(runs: Sequence[SweepRun]) -> Iterator[Record]:
    """The records that count."""
    return (run.record for run in runs if run.record is not None and run.failed is None)


def _clean(runs: Sequence[SweepRun]) -> Interval | None:
    return next((record.clean for record in _whole(runs)), None)


def _worst_under(suite: str) -> ShareOf:
    def worst(runs: Sequence[SweepRun]) -> Interval | None:
        return next((r.worst_case for r in _whole([run for run in runs if run.suite == suite])), None)

    return worst


def _in_all(runs: Sequence[SweepRun]) -> Interval | None:
    """What holds against every suite; None where one is missing."""
    records = list(_whole(runs))
    return held_in_all(records) if len(records) == len(runs) > 1 else None


def _on_one_ground(runs: Sequence[SweepRun]) -> bool:
    """Whether the suites of each training attacked the same examples."""
    return all(
        len({(record.data_digest, record.examples) for record in _whole(alone)}) <= 1
        for group in rows_of_sweep(runs).values()
        for alone in _by_seed(group).values()
    )


def _by_seed(group: Sequence[SweepRun]) -> dict[int, list[SweepRun]]:
    found: dict[int, list[SweepRun]] = {}
    for run in group:
        found.setdefault(run.seed, []).append(run)
    return found


def _mean_row(
    group: Sequence[SweepRun],
    seeds: Mapping[int, Sequence[SweepRun]],
    axes: Sequence[str],
    shares: Mapping[str, ShareOf],
) -> tuple[Cell, ...]:
    cells: list[Cell] = []
    for share in shares.values():
        found = _over_seeds(seeds, share)
        cells += [found, None if found is None else found.deviation]
    return (*_ground(group, axes), f"mean of {len(seeds)}", *cells)


def _over_seeds(seeds: Mapping[int, Sequence[SweepRun]], share: ShareOf) -> OverSeeds | None:
    """The mean of a share over the seeds that have it; None: none has."""
    found = [held.value for alone in seeds.values() if (held := share(alone)) is not None]
    return OverSeeds.of(found, len(seeds)) if found else None


def _cells(alone: Sequence[SweepRun], shares: Mapping[str, ShareOf]) -> tuple[Cell, ...]:
    return tuple(cell for share in shares.values() for cell in (share(alone), None))


def _ground(runs: Sequence[SweepRun], axes: Sequence[str]) -> tuple[Cell, ...]:
    return tuple(runs[0].ground.get(axis, "-") for axis in axes)


def _columns(shares: Mapping[str, ShareOf]) -> Iterator[TableColumn]:
    """Two for each share: itself, and in CSV its deviation over seeds."""
    for name in shares:
        safe = name.replace(" ", "_")
        yield TableColumn(f"{name} %", safe, ColumnKind.INTERVAL)
        yield TableColumn(f"{name} sd %", f"{safe}_sd", ColumnKind.SHARE, only_csv=True)


def _title(runs: Sequence[SweepRun]) -> str:
    told = [
        f"{count} {what}{'s' if count > 1 else ''}"
        for what, count in (
            ("method", len(rows_of_sweep(runs))),
            ("suite", len({run.suite for run in runs})),
            ("seed", len({run.seed for run in runs})),
        )
    ]
    return f"sweep of {', '.join(told)}"


def _facts(runs: Sequence[SweepRun]) -> tuple[tuple[str, str], ...]:
    """What all runs share."""
    common = [axis for axis in axes_of(runs) if axis not in (*varied(runs), "examples")]
    examples = sorted({record.examples for record in _whole(runs)})
    told = (("examples", ", ".join(f"{n:,}" for n in examples)),) if examples else ()
    return (*((axis, runs[0].ground[axis]) for axis in common), *told)


def _notes(runs: Sequence[SweepRun], shares: Mapping[str, ShareOf]) -> Iterator[str]:
    """How to read the figures, and what is missing from them."""
    if len({run.seed for run in runs}) > 1:
        yield "mean ± standard deviation over seeds, of the sample (n - 1); below it each seed"
    yield "a seed's interval is Wilson's, at 95 %, over examples; a suite's column is its worst case"
    if "all suites" in shares:
        yield "all suites: what holds against every column of every suite, example by example"
    elif not _on_one_ground(runs):
        yield "suites attacked other numbers of examples; clean accuracy is that of the first"
    custom = list(dict.fromkeys(run.suite for run in runs if run.record is not None and run.record.custom))
    if custom:
        yield f"custom, so not what is published under that name: {', '.join(custom)}"
    for run in runs:
        if run.failed is not None:
            yield f"{run.told} failed, and counts in no mean: {run.failed}"


def _method(group: Sequence[SweepRun], shares: Mapping[str, ShareOf]) -> dict[str, Any]:
    seeds = _by_seed(group)
    return {
        **{axis.replace(" ", "_"): value for axis, value in group[0].ground.items()},
        "seeds": list(seeds),
        "shares": {name: _plain(seeds, share) for name, share in shares.items()},
    }


def _plain(seeds: Mapping[int, Sequence[SweepRun]], share: ShareOf) -> dict[str, Any] | None:
    found = _over_seeds(seeds, share)
    if found is None:
        return None
    values = [None if (held := share(alone)) is None else held.value for alone in seeds.values()]
    return {"mean": found.value, "sd": found.deviation, "n": found.n, "values": values}


def _run(run: SweepRun) -> dict[str, Any]:
    worst = run.record.worst_case if run.record else None
    return {
        **{axis.replace(" ", "_"): value for axis, value in run.ground.items()},
        "suite": run.suite,
        "seed": run.seed,
        "run_id": run.run_id,
        "training_id": run.training_id,
        "worst_case": worst.value if worst else None,
        "failed": run.failed,
        "command": run.command,
    }


def plan_table(told: Sequence[str], runs: Sequence[SweepRun], states: Sequence[str]) -> Table:
    """A row for each run: what it is of, its ids, and what is left to do."""
    axes = varied(runs)
    names = [*axes, "suite", "seed", "training", "run", "state"]
    rows = [
        (*_ground([run], axes), run.suite, str(run.seed), run.training_id, run.run_id, state)
        for run, state in zip(runs, states, strict=True)
    ]
    columns = tuple(TableColumn(name, name.replace(" ", "_")) for name in names)
    return Table(_title(runs), columns, tuple(rows), _facts(runs), tuple(told))


def plan_json(told: Sequence[str], runs: Sequence[SweepRun], states: Sequence[str]) -> str:
    """What would be done, for scripts."""
    held = [{**_run(run), "state": state} for run, state in zip(runs, states, strict=True)]
    return json.dumps({"told": list(told), "runs": held}, indent=1, ensure_ascii=False) + "\n"
