"""`bench compare`: do two defenses differ, or is it chance?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli import options
from bench.cli.console import folded
from bench.cli.left_out import left_out
from bench.core.listing import DEFAULT
from bench.errors import BadData, BadValue

if TYPE_CHECKING:
    from bench.core.outcomes import Outcomes
    from bench.records.record import Record
    from bench.report.networks import ComparedNetwork
    from bench.report.render import Table


SEVERAL = 4
"""Up to how many networks every pair is told in a sentence, too."""


@options.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME|RUN_ID|PATH...")
@click.option(
    "--suite",
    metavar="NAME",
    callback=options.one_suite,
    help="Suite whose records stand for a defense that is given by name, or for a folder.  "
    f"[default: {DEFAULT} if all have it, else the one that they share]",
)
@click.option("--data", metavar="NAME", help="Their data set.  [default: the one that all names share]")
@options.norm
@options.eps
@click.option("--examples", metavar="N", help="Their number of examples.  [default: the one they share]")
@options.arch
@click.option("--recipe", metavar="NAME", help="Their recipe.  [default: the only one]")
@click.option("--train-eps", metavar="RADIUS", help="Their radius in training.  [default: the only one]")
@options.store
@click.option(
    "--format",
    "shape",
    type=click.Choice(["table", "markdown"]),
    default="table",
    show_default=True,
    help="How tables are printed.",
)
@options.as_json
def compare(
    names: tuple[str, ...],
    suite: str | None,
    data: str | None,
    norm: str | None,
    eps: str | None,
    examples: str | None,
    arch: str | None,
    recipe: str | None,
    train_eps: str | None,
    store: Path,
    shape: str,
    as_json: bool,
) -> None:
    """Compare networks on the same examples: exact McNemar tests, with Holm where there are several.

    A defense's name stands for its records in the store, all seeds of them, and a folder for those in it, as
    far as they are of --suite, --data and the like; a run id (or its beginning) or a record file for itself.
    Networks that differ in data, norm, eps, number of examples or suite are never compared. --store also
    takes a folder of published records, leaderboards.
    """
    from bench.cli.board import width
    from bench.cli.select import RecordFilter, alike, selected
    from bench.report.compare import comparison_json
    from bench.report.networks import all_pairs, methods
    from bench.report.render import markdown, terminal

    wanted = RecordFilter.of(
        suite,
        data=data,
        norm=norm,
        eps=eps,
        examples=examples,
        arch=arch,
        recipe=recipe,
        train_eps=train_eps,
    )
    records = alike(selected(names, store, wanted))
    networks = networks_of(records, {record.run_id: store for record in records})
    if as_json:
        groups = methods(networks)
        found = all_pairs(groups)
        click.echo(json.dumps(comparison_json(groups, found), indent=1, ensure_ascii=False, allow_nan=False))
        return

    tables, lines = held_together(networks)
    for table in tables:
        click.echo(markdown(table) if shape == "markdown" else terminal(table, width()))
    for line in lines:
        click.echo(f"- {line}" if shape == "markdown" else folded(line))


def held_together(networks: Sequence[ComparedNetwork]) -> tuple[list[Table], list[str]]:
    """What tables and sentences say of networks on the same examples."""
    from bench.report.compare import READ, column_table, matrix_table, pair_table, told, told_of_methods
    from bench.report.networks import all_pairs, methods

    groups = methods(networks)
    found = all_pairs(groups)
    if len(networks) > 2:
        tables = [matrix_table(groups, found)] if len(networks) <= READ else []
        tables += [pair_table(groups, found)] if found else []
    else:
        known = all(network.held is not None for network in networks)
        tables = [column_table(*networks)] if known else []
    lines = told(groups, found) if len(networks) <= SEVERAL else told_of_methods(groups)
    if len(networks) > READ:
        lines.append(f"{len(networks):,} networks are too many for a matrix; bench board ranks them all")
    return tables, lines


def networks_of(records: Sequence[Record], stores: Mapping[str, Path]) -> list[ComparedNetwork]:
    """The records with what is known of their single examples, from them or from their run's folder.

    `stores`: run id -> the store that may have a folder of it.
    """
    from bench.core.outcomes import worst_case
    from bench.records.verdicts import ids_digest, worst_case_of
    from bench.report.names import told_apart
    from bench.report.networks import ComparedNetwork

    names = told_apart(
        [record.defense for record in records],
        [f"@{record.architecture}" for record in records],
        [f" trained at {record.train_budget.label}" if record.train_budget else "" for record in records],
        [f" seed {record.seed}" for record in records],
        [f" {record.run_id}" for record in records],
    )
    found = []
    ids = {record.robust_examples.ids: record.run_id for record in records if record.robust_examples}
    for record, name in zip(records, names, strict=True):
        outcomes = _outcomes(record, stores.get(record.run_id))
        for column in outcomes.values():
            ids.setdefault(ids_digest(column.ids), record.run_id)
        held = worst_case_of(record)
        if held is None and outcomes:
            held = worst_case(list(outcomes.values()))
        found.append(
            ComparedNetwork(record, name, held, {column: o.robust for column, o in outcomes.items()})
        )
    if len(ids) > 1:
        raise BadValue(
            f"runs {' and '.join(ids.values())} attacked different examples, expected the same ones",
            "bench run again with --rerun",
        )
    return found


def _outcomes(record: Record, store: Path | None) -> Mapping[str, Outcomes]:
    """What each column did to each example, as far as the run's folder is there and whole."""
    from bench.records.store import Store

    if store is None:
        return {}
    folder = Store(store).run(record.run_id)
    whole = (folder.path / "examples.csv").is_file() and (folder.path / "record.json").is_file()
    try:
        return folder.examples() if whole else {}
    except BadData as error:
        left_out(error)
        return {}
