"""`bench ablate`: the switches of a method turned one by one, each an ordinary run, in one table."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from bench.cli import options
from bench.core.listing import DEFAULT
from bench.errors import BadValue, TrainingFailed, unknown

if TYPE_CHECKING:  # a list of rows must not load torch
    from bench.plan import Request, RunSpec
    from bench.report.ablation import Variant
    from bench.runner.options import Options


class AblationRow(NamedTuple):
    """One ablation as its defense states it."""

    group: str | None
    label: str
    fields: Mapping[str, str]

    @property
    def changed(self) -> str:
        """The changed fields in one line."""
        return ",".join(f"{name}={value}" for name, value in self.fields.items())


_FILE = click.Path(path_type=Path, dir_okay=False)


@options.command()
@click.argument("name", metavar="NAME")
@click.option(
    "--suite",
    default=DEFAULT,
    show_default=True,
    metavar="NAME",
    callback=options.one_suite,
    help="Suite of attacks.",
)
@options.norm
@options.eps
@options.examples
@options.checkpoint
@options.batch_size
@options.network
@click.option(
    "--only",
    multiple=True,
    metavar="LABEL",
    help="Run this row, or the rows of this part; repeatable.  [default: all]",
)
@click.option("--list", "listed", is_flag=True, help="Print the rows and run nothing.  [default: run them]")
@click.option("--csv", type=_FILE, metavar="FILE", help="Also write the table as CSV.  [default: no]")
@click.option("--markdown", type=_FILE, metavar="FILE", help="Also write it as markdown.  [default: no]")
@options.as_json
def ablate(
    name: str,
    suite: str,
    norm: str | None,
    eps: str | None,
    examples: str | None,
    checkpoint: str,
    batch_size: str,
    only: tuple[str, ...],
    listed: bool,
    csv: Path | None,
    markdown: Path | None,
    as_json: bool,
    **shared: Any,
) -> int:
    """Turn the switches of a defense one by one, and compare each with the full method.

    NAME is a defense with stated ablations, or NAME[field=value] for another full method. Every row is an
    ordinary run, so what is complete is not computed again, and after a stop the same command goes on. A row
    whose training fails is shown with the reason, the others go on, and the exit code is 1.
    """
    rows = _chosen(name, only)
    if listed:
        _print(rows, as_json)
        return 0

    from bench.cli.board import width
    from bench.cli.requests import as_options, as_request
    from bench.records.store import write_atomically
    from bench.report import render
    from bench.report.ablation import ablation_json, ablation_table

    how = as_options(batch_size=batch_size, **shared)
    request = as_request(
        name, suite=suite, norm=norm, eps=eps, examples=examples, checkpoint=checkpoint, **shared
    )
    full, others = _planned(request, rows, how)
    files = {path: shape for path, shape in ((csv, render.csv), (markdown, render.markdown)) if path}
    _check(files)
    variants = _run(full, others, how)
    where = full[1].training.named.label, full[1].suite.id
    table = ablation_table(*where, variants)
    click.echo(ablation_json(*where, variants) if as_json else render.terminal(table, width()), nl=False)
    for path, shape in files.items():
        write_atomically(path, shape(table).encode())
        click.echo(f"wrote {path}", err=True)
    return 0 if all(v.record is not None and v.record.status == "complete" for v in variants) else 1


def _chosen(name: str, only: Sequence[str]) -> list[AblationRow]:
    from bench.registry import ablations

    stated = ablations(name.partition("[")[0].strip())
    rows = [
        AblationRow(group, label, fields) for group, held in stated.items() for label, fields in held.items()
    ]
    known = {*stated, *(row.label for row in rows)}
    for word in only:
        if word not in known:
            raise unknown("ablation", word, known, owner=name, hint=f"bench ablate {name} --list")
    return [row for row in rows if not only or row.label in only or row.group in only]


def _print(rows: Sequence[AblationRow], as_json: bool) -> None:
    if as_json:
        told = [{"part": row.group, "variant": row.label, "fields": dict(row.fields)} for row in rows]
        click.echo(json.dumps(told, indent=1, ensure_ascii=False))
        return
    room = max(len(row.label) for row in rows)
    for place, row in enumerate(rows):
        if place == 0 or row.group != rows[place - 1].group:
            click.echo(f"{row.group}:")
        click.echo(f"  {row.label:<{room}}  {row.changed}")


def _planned(
    request: Request, rows: Sequence[AblationRow], how: Options
) -> tuple[tuple[AblationRow, RunSpec], list[tuple[AblationRow, RunSpec]]]:
    """The full method and the rows that differ from it; every mistake is told before anything runs."""
    from bench.data.identity import one_look
    from bench.plan import plan_run
    from bench.report.ablation import FULL

    own = request.settings.get("defense", {})
    asked = [{**request.settings, "defense": {**own, **row.fields}} for row in rows]
    with one_look():
        full = plan_run(request)
        specs = [plan_run(dataclasses.replace(request, settings=settings)) for settings in asked]
    others = []
    for row, spec in zip(rows, specs, strict=True):
        if spec.id == full.id:
            how.progress.say(f"{row.label} ({row.changed}) is left out: the full method has that already")
        else:
            others.append((row, spec))
    return (AblationRow(None, FULL, {}), full), others


def _check(files: Mapping[Path, object]) -> None:
    """Known now, not after hours."""
    from bench.records.store import require_writable

    for path in files:
        require_writable(path.absolute().parent, "folder of the table", "--csv FILE --markdown FILE")


def _run(
    full: tuple[AblationRow, RunSpec], others: Sequence[tuple[AblationRow, RunSpec]], how: Options
) -> list[Variant]:
    variants: list[Variant] = []
    for place, (row, spec) in enumerate((full, *others)):
        changed = f" ({row.changed})" if row.fields else ""
        how.progress.say(f"{place + 1} of {1 + len(others)}: {row.label}{changed}")
        variants.append(_variant(row, spec, how, first=place == 0))
        how.progress.say(_told(variants[-1], variants[0]))
    return variants


def _variant(row: AblationRow, spec: RunSpec, how: Options, first: bool) -> Variant:
    """The run of a row; only what its own fields may have caused is a failure of the row."""
    from bench.report.ablation import Variant
    from bench.runner.run import run

    try:
        record = run(spec, how)
    except TrainingFailed as error:
        return Variant(row.label, row.group, row.fields, failed=error.message)
    except BadValue as error:
        if first:
            raise
        return Variant(row.label, row.group, row.fields, failed=error.message)
    complete = record.status == "complete"
    outcomes = how.store.run(record.run_id).examples() if complete else {}
    return Variant(row.label, row.group, row.fields, record, outcomes)


def _told(variant: Variant, full: Variant) -> str:
    """A row in one line, for who waits for the others."""
    from bench.report.ablation import difference
    from bench.report.render import percent, points

    if variant.record is None or variant.record.worst_case is None:
        return f"{variant.label}: {variant.note}"
    found = difference(variant, full)
    against = f", {points(found)} points against the full method" if found else ""
    return f"{variant.label}: {percent(variant.record.worst_case)} % in the worst case{against}"
