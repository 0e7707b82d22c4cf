"""`bench import`: images that others made against a network of ours."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli import options
from bench.core.counts import Count
from bench.core.listing import DEFAULT
from bench.errors import BadValue

if TYPE_CHECKING:
    from bench.records.record import Record
    from bench.runner.imported import Judged


@options.command("import")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE.npy")
@click.option(
    "--defense",
    "name",
    required=True,
    metavar="NAME|RUN_ID",
    help="Whom the images are to fool: a run, or a defense with one run in the store.",
)
@click.option(
    "--suite",
    metavar="NAME",
    callback=options.one_suite,
    help=f"Suite of that run.  [default: {DEFAULT} if there is one, else the only one]",
)
@click.option("--data", metavar="NAME", help="Its data set.  [default: the only one]")
@click.option("--seed", type=Count(0), metavar="N", help="Its seed.  [default: the only one]")
@options.norm
@options.eps
@click.option("--examples", metavar="N", help="Its number of examples.  [default: the only one]")
@options.arch
@click.option("--recipe", metavar="NAME", help="Its recipe.  [default: the only one]")
@click.option("--train-eps", metavar="RADIUS", help="Its radius in training.  [default: the only one]")
@click.option("--note", metavar="TEXT", help="Who made the images, and how.  [default: nothing]")
@options.code
@options.data_root
@options.device
@options.batch_size
@options.store
@options.accept_stale
@options.offline
@options.as_json
def import_(
    file: Path,
    name: str,
    suite: str | None,
    data: str | None,
    seed: int | None,
    norm: str | None,
    eps: str | None,
    examples: str | None,
    arch: str | None,
    recipe: str | None,
    train_eps: str | None,
    note: str | None,
    code: tuple[str, ...],
    store: Path,
    as_json: bool,
    **shared: Any,
) -> None:
    """Judge adversarial images from elsewhere, and lower a row's best known number where they do better.

    FILE.npy is an array of the whole test set or of its first images, in the original order, with pixels in
    [0, 1]: [n, H, W, C], [n, C, H, W] or, in grey, flat [n, H*W], as the MNIST and CIFAR challenges and
    TRADES have it. An image beyond the budget is counted, and its clean one judged in its place.
    """
    from bench.cli.requests import as_options
    from bench.cli.select import RecordFilter, selected
    from bench.data.catalog import PREFIXES, source
    from bench.runner.imported import import_images

    own = data if data is not None and data.partition(":")[0] in PREFIXES else None
    held = None if data is None else source(data).name
    wanted = RecordFilter.of(
        suite,
        data=held,
        norm=norm,
        eps=eps,
        examples=examples,
        arch=arch,
        recipe=recipe,
        train_eps=train_eps,
        seed=seed,
    )
    found = selected((name,), store, wanted)[name]
    if len(found) != 1:
        listed = ", ".join(f"{record.run_id} seed {record.seed}" for record in found)
        raise BadValue(
            f"{name} leads to {len(found)} runs ({listed}), expected one", f"--defense {found[0].run_id}"
        )
    how = as_options(store=store, rerun=False, **shared)
    record, judged = import_images(found[0], file, how, note, own, code)
    if as_json:
        click.echo(json.dumps({"run": record.run_id, **dataclasses.asdict(record.imported[-1])}, indent=1))
    else:
        for line in _told(record, found[0], file, judged):
            click.echo(line)


def _told(record: Record, before: Record, file: Path, judged: Judged) -> list[str]:
    """What was judged, what it came to, and what that does to the row."""
    from bench.records.record import Interval
    from bench.report.render import percent
    from bench.runner.summary import interval_of

    covered = f"{judged.covered:,} of the {record.examples:,} examples"
    lines = [f"{file.name} has an image of {covered} of run {record.run_id}"]
    if judged.outside:
        lines.append(
            f"{judged.outside:,} of them are beyond {record.budget}: their clean images were judged instead"
        )
    alone: Interval = interval_of(judged.robust)
    lines.append(f"{record.defense} keeps {percent(alone)} % against these images alone")
    then, now = before.best_known, record.best_known
    if record.imported == before.imported:
        lines.append("this file was imported before: nothing is changed")
    elif then is not None and now is not None:
        verdict = "is not lowered" if now.count == then.count else f"falls from {percent(then)} %"
        lines.append(f"its best known number {verdict}: {percent(now)} %")
    return lines
