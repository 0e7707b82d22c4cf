"""`bench shift`: accuracy under common corruptions, and over a grid of rotations and translations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.records.shift import Shift


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="DEFENSE[@ARCH]...")
@click.option(
    "--only",
    multiple=True,
    metavar="NAME",
    help="A corruption (fog), a group of them (noise, blur, weather, digital), or poses; repeatable.  "
    "[default: all]",
)
@options.examples_or(1000)
@options.checkpoint
@options.factory
@options.batch_size
@options.networks
@options.also_out("the table as markdown, the numbers as CSV, the corruptions as PNG and PDF with a caption")
@options.as_json
def shift(
    names: tuple[str, ...],
    only: tuple[str, ...],
    examples: str | None,
    batch_size: str,
    out: Path | None,
    as_json: bool,
    **shared: Any,
) -> int:
    """Show each defense corrupted, turned and moved test images, and print its accuracy.

    Eighteen common corruptions at five severities, computed here, and 775 poses: the worst for each image,
    and random ones. Nobody attacks: no gradient is asked for. A defense is NAME[field=value], with an
    architecture behind an @ where it is not --arch. What was computed is kept: what was stopped goes on.
    """
    from bench.cli.board import width
    from bench.cli.requests import as_options, as_request
    from bench.records.documents import to_json
    from bench.records.store import require_writable
    from bench.report.render import terminal
    from bench.report.shift import shift_table
    from bench.runner.shift import plan_shifts
    from bench.runner.shift import shift as compute

    how = as_options(batch_size=batch_size, **shared)
    specs = plan_shifts(names, as_request(names[0], examples=examples, **shared), only)
    if out is not None:  # known now, not after hours
        require_writable(out, "folder of the shifts", "--out FOLDER")
    found = [compute(spec, how) for spec in specs]
    if as_json:
        click.echo("[" + ",\n".join(to_json(one).rstrip() for one in found) + "]")
    else:
        click.echo(terminal(shift_table(found), width()), nl=False)
    for path in _written(found, out) if out is not None else ():
        click.echo(f"wrote {path}", err=True)
    return 0


def _written(found: Sequence[Shift], folder: Path) -> list[Path]:
    """The table, its numbers, and the figure as a picture and for print, with its caption."""
    from bench.records.store import write_atomically
    from bench.report.paper import paper, write
    from bench.report.render import csv, markdown
    from bench.report.shift import number_table, shift_figure, shift_table

    table = folder / "shift.md"
    write_atomically(table, markdown(shift_table(found)).encode())
    if not found[0].corrupted:  # poses are few figures, which need no picture
        numbers = folder / "shift.csv"
        write_atomically(numbers, csv(number_table(found)).encode())
        return [table, numbers]
    with paper():
        drawing = shift_figure(found)
        picture, numbers, below = write(drawing, folder, "png")
        printed = write(drawing, folder, "pdf")[0]
    return [table, numbers, picture, printed, below]
