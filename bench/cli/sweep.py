"""`bench sweep`: many runs, told before they begin, computed one after the other, and put into one table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli import options
from bench.cli.console import tidy
from bench.core.text import listed, one_line
from bench.errors import BadValue
from bench.sweeps.axes import AXES, FIXED, SET, every_point, told_of

if TYPE_CHECKING:  # a mistake is told before torch is loaded
    from bench.report.render import Table
    from bench.runner.options import Options
    from bench.sweeps.axes import SweepPoint
    from bench.sweeps.cost import SweepCost
    from bench.sweeps.plan import SweepJob, SweepPlan
    from bench.sweeps.runs import SweepRun

DECIDING = (*AXES, *FIXED, "settings")
"""The options that say what runs; with a file, it alone says that."""


def _axis(name: str, metavar: str, about: str, default: str) -> Callable[[options.F], options.F]:
    """An option of which each value makes runs of its own; `bench run` says what is wrong with one."""
    return click.option(
        f"--{name}", multiple=True, metavar=metavar, help=f"{about}; repeatable.  [default: {default}]"
    )


_axes = options.several(
    _axis("defense", "NAME", "Defense, as for bench run", "what FILE says"),
    options.suite,
    _axis("seed", "N", "Seed of training and of the attacks", "0"),
    _axis("data", "NAME", "Data set", options.DATA),
    _axis("norm", "Linf|L2|L1|L0", "Norm of the perturbation", "the data set's"),
    _axis("eps", "RADIUS", "Radius in pixel units, such as 8/255", "the data set's"),
    _axis("arch", "NAME", "Architecture", "the data set's"),
    _axis("recipe", "NAME", "How networks are trained", "short"),
    _axis("train-eps", "RADIUS", "Radius of the attack inside training", "the data set's"),
)


@options.command()
@click.argument(
    "file", required=False, type=click.Path(path_type=Path, dir_okay=False), metavar="[FILE.toml]"
)
@_axes
@options.examples
@options.of_others
@options.label
@options.surrogate
@options.resize
@options.crop
@options.init
@options.extra
@options.extra_share
@options.settings
@options.data_root
@options.device
@options.devices
@options.batch_size
@options.compiled
@options.on
@options.workers
@options.track
@options.no_evidence
@options.store
@options.rerun
@options.accept_stale
@options.offline
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.  [default: do it]")
@click.option(
    "--format",
    "shape",
    type=click.Choice(["table", "markdown", "csv"]),
    default="table",
    show_default=True,
    help="How the table is printed.",
)
@options.also_out("the table as markdown, CSV and JSON")
@options.as_json
def sweep(dry_run: bool, shape: str, out: Path | None, as_json: bool, **words: Any) -> int:
    """Run every combination of defenses, suites, seeds and more, and tell them in one table.

    FILE holds the axes as lists, and [[sweep]] blocks where there are several products; or options are given
    again for each value. Each run is the `bench run` that it is alone: what is complete answers from the
    store, and after a stop the same command goes on. A training that several runs share is done once. One
    that fails is told, and the others go on; the exit code is 1 then.
    """
    from bench.cli.requests import as_options
    from bench.records.store import require_writable

    how = as_options(**words)
    if out is not None:
        require_writable(out, "folder of the table", "--out FOLDER")
    plan = planned_sweep(words, how)
    if dry_run:
        click.echo(_told_plan(plan, how, as_json), nl=False)
        return 0
    runs = swept(plan, how)
    click.echo(shown(runs, "json" if as_json else shape), nl=False)
    if out is not None:
        _write(runs, out)
    return _failures(runs)


def planned_sweep(words: Mapping[str, Any], how: Options) -> SweepPlan:
    """What all options but those of printing ask for: every mistake is told before anything is computed.

    Raises:
        BenchError: a word, a file or a key of it is wrong, or two runs are one.
    """
    from bench.cli.run import run
    from bench.cli.words import words_of

    points = every_point(_blocks(words))
    shared = {name: words[name] for name in _shared_with(run) if name in words}
    typed = []
    for point in points:
        with told_of(point.place):
            typed.append(words_of(run, {**shared, **point.words, "settings": _settings(words, point)}))
            _require_one_suite(typed[-1])

    from bench.data.identity import one_look
    from bench.sweeps.plan import plan_sweep

    with one_look():
        return plan_sweep([_job(*pair) for pair in zip(points, typed, strict=True)], how)


def swept(plan: SweepPlan, how: Options) -> list[SweepRun]:
    """What came of every run of a plan, computed where the store does not have it.

    Raises:
        BenchError: there is no such device, or the store cannot be written.
    """
    from bench.cli.run import computed
    from bench.runner.options import pick_device
    from bench.runner.trainings import Spoken, engaged, fit_on_workers
    from bench.runner.weights import fit
    from bench.sweeps.walk import walk

    for line in _told(plan, how):
        how.progress.say(line)
    if plan.open_jobs:
        pick_device(how.device)
        how.store.prepare()

    with engaged(how) as engine:
        pool, trained = engine.pool, fit if engine.pool is None else fit_on_workers
        quiet = engine if pool is None else replace(engine, progress=Spoken(how.progress))

        def train(spec: Any) -> object:
            with tidy(quiet.progress):
                return trained(spec, quiet)

        def attack(job: SweepJob) -> Any:
            with tidy(quiet.progress):
                return computed(job.words, job.spec, quiet)

        found = {run.run_id: run for run in walk(plan, train, attack, how.progress.say, pool)}
    return [found[job.spec.id] for job in plan.jobs]


def shown(runs: Sequence[SweepRun], shape: str) -> str:
    """The table of a sweep as it is printed: table, markdown, csv or json."""
    from bench.cli.board import width
    from bench.report.render import terminal
    from bench.sweeps.table import FORMS, sweep_table

    return terminal(sweep_table(runs), width()) if shape == "table" else FORMS[shape][1](runs)


def _blocks(words: Mapping[str, Any]) -> list[tuple[str, Mapping[str, object]]]:
    """The blocks of the file, or the one that the options make."""
    from bench.sweeps.file import read_blocks

    usual = {option.name: option.default for option in sweep.params}
    given = [
        name
        for name in DECIDING
        if words.get(name) not in (None, (), usual.get(name)) and words[name] is not False
    ]
    file = words["file"]
    if file is None:
        return [("", {name: list(words[name]) for name in AXES if words[name]})]
    if given:
        option = f"--{given[0].replace('_', '-')}" if given[0] != "settings" else "--set"
        raise BadValue(
            f"{option} is typed, but {str(file)!r} says what runs, expected it there",
            f"{given[0] if given[0] != 'settings' else f'[{SET}]'} = ... in that file",
        )
    return list(read_blocks(file))


def _shared_with(run: click.Command) -> list[str]:
    """The options that every run of a sweep has as the sweep has them."""
    return [str(option.name) for option in run.params if option.name not in AXES]


def _settings(words: Mapping[str, Any], point: SweepPoint) -> tuple[str, ...]:
    """What was typed for all runs, and what is of this one."""
    return (*words["settings"], *point.settings)


def _require_one_suite(words: Mapping[str, Any]) -> None:
    suites = words["suite"]
    if len(suites) > 1:
        raise BadValue(
            f"suite holds {','.join(suites)!r}, expected a list of suites",
            f"suite = [{', '.join(map(json.dumps, suites))}]",
        )


def _job(point: SweepPoint, words: Mapping[str, Any]) -> SweepJob:
    from bench.cli.run import planned, typed
    from bench.sweeps.plan import SweepJob

    (suite,) = words["suite"] or (None,)
    with told_of(point.place):
        spec = planned({**words, "suite": suite})
    return SweepJob.of(point, words, spec, typed(words))


def _told(plan: SweepPlan, how: Options) -> list[str]:
    """A plan in a few sentences: what there is, what is done, and what the rest may cost."""
    from bench.sweeps.cost import cost_of

    todo, left = len(plan.open_jobs), len(plan.to_train)
    lines = [
        f"plan: {_count(len(plan.jobs), 'run')}, {len(plan.jobs) - todo} of them complete; "
        f"{_count(len(plan.trainings), 'training')}, {left} to do, {len(plan.shared)} of these for several "
        "runs"
    ]
    if todo:
        lines += _told_cost(cost_of(plan, how.store))
    if plan.stale:
        first = next(iter(plan.stale.values()))
        lines.append(f"{_count(len(plan.stale), 'run')} will be refused, the first because {first}")
    return lines


def _told_cost(cost: SweepCost) -> list[str]:
    from bench.sweeps.walk import in_words

    whole = f", and {_count(cost.whole, 'run')} of whole test sets" if cost.whole else ""
    lines = [f"to attack: {cost.queries:,} examples x columns{whole}"]
    if not cost.measured:
        return [*lines, "time: nothing like it was measured in this store yet, so there is no guess"]
    total = cost.training + cost.attacks
    told = (
        f"time: about {in_words(total)} by what the same took in this store, trainings "
        f"{in_words(cost.training)}, attacks {in_words(cost.attacks)}"
    )
    unknown = ((cost.unknown_trainings, "training"), (cost.unknown_runs, "run"))
    lacking = listed([_count(count, what) for count, what in unknown if count])
    return [*lines, f"{told}; without {lacking}, the like of which was not measured" if lacking else told]


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _told_plan(plan: SweepPlan, how: Options, as_json: bool) -> str:
    """What --dry-run prints: the sentences, and a row for each run."""
    from bench.cli.board import width
    from bench.report.render import terminal
    from bench.sweeps.table import plan_json

    if not as_json:
        return terminal(outlook(plan, how), width())
    return plan_json(_told(plan, how), [job.run for job in plan.jobs], _states(plan))


def outlook(plan: SweepPlan, how: Options) -> Table:
    """What would be done, as a table: a row for each run, and the plan in sentences below."""
    from bench.sweeps.table import plan_table

    return plan_table(_told(plan, how), [job.run for job in plan.jobs], _states(plan))


def _states(plan: SweepPlan) -> list[str]:
    return [_state(plan, job) for job in plan.jobs]


def _state(plan: SweepPlan, job: SweepJob) -> str:
    name = job.spec.id
    if name in plan.complete:
        return "complete"
    if name in plan.stale:
        return "refused"
    return "to attack" if job.spec.training.id not in plan.uses else "to train and attack"


def _write(runs: Sequence[SweepRun], out: Path) -> None:
    from bench.records.store import write_atomically
    from bench.sweeps.table import FORMS

    for name, text in FORMS.values():
        write_atomically(out / name, text(runs).encode())
        click.echo(f"wrote {out / name}", err=True)


def _failures(runs: Sequence[SweepRun]) -> int:
    """The exit code, after every run that failed was told with what computes it alone."""
    failed = [run for run in runs if run.failed is not None]
    if not failed:
        return 0
    click.echo(f"bench: {len(failed)} of {_count(len(runs), 'run')} failed", err=True)
    for run in failed:
        click.echo(one_line(f"bench: {run.told}: {run.failed}; alone: {run.command}"), err=True)
    click.echo("bench: the same command tries them again, and them alone", err=True)
    return 1
