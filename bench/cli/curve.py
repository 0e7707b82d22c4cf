"""`bench curve`: accuracy over the radius, the steps, the restarts or the queries of an attack."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.records.curves import Curve


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="DEFENSE[@ARCH]...")
@click.option(
    "--over",
    "axis",
    required=True,
    type=click.Choice(["eps", "steps", "restarts", "queries"]),
    help="What grows: the radius, until at most 1 % are left or any image is allowed; the steps; the "
    "restarts, each on what is left; the queries of Square.",
)
@click.option(
    "--at",
    metavar="V,V,...",
    help="Radii or steps to measure, or the number of restarts.  [default: multiples of the run's "
    "radius; 1,2,5,...,200 steps; 10 restarts]",
)
@click.option(
    "--attack",
    metavar="NAME",
    help="Attack, by `bench list attacks`; --set attack.NAME.loss=margin changes it.  [default: over eps "
    "APGD on cross-entropy, PGD on the margin and on the defense's own loss, 40 steps each; over steps APGD; "
    "over restarts PGD-50; over queries Square]",
)
@options.norm
@options.eps
@options.examples_or(1000)
@options.checkpoint
@options.factory
@options.batch_size
@options.compiled
@options.networks
@options.also_out("the table as markdown, the numbers as CSV, the figure as PNG and PDF, and its caption")
@options.as_json
def curve(
    names: tuple[str, ...],
    axis: Any,
    at: str | None,
    attack: str | None,
    norm: str | None,
    eps: str | None,
    examples: str | None,
    batch_size: str,
    compiled: bool,
    out: Path | None,
    as_json: bool,
    **shared: Any,
) -> int:
    """Measure each defense at growing radii, steps, restarts or queries, and print robust accuracy at each.

    A defense is NAME[field=value], with an architecture behind an @ where it is not --arch; it is trained or
    loaded as `bench run` does. Points are kept: a curve that was stopped goes on. An accuracy that rises with
    the radius, or that is left where any image is allowed, is a sign that the attack fails, and is told.
    """
    from bench.cli.board import width
    from bench.cli.requests import as_options, as_request
    from bench.records.documents import to_json
    from bench.records.store import require_writable
    from bench.report.curves import curve_table
    from bench.report.render import terminal
    from bench.runner.curves import curve as compute
    from bench.runner.curves import plan_curves

    how = as_options(batch_size=batch_size, compiled=compiled, **shared)
    request = as_request(names[0], norm=norm, eps=eps, examples=examples, **shared)
    specs = plan_curves(names, request, axis, _values(at, axis), attack)
    if out is not None:  # known now, not after hours
        require_writable(out, "folder of the curves", "--out FOLDER")
    found = [compute(spec, how) for spec in specs]
    if as_json:
        click.echo("[" + ",\n".join(to_json(one).rstrip() for one in found) + "]")
    else:
        click.echo(terminal(curve_table(found), width()), nl=False)
    for path in _written(found, out) if out is not None else ():
        click.echo(f"wrote {path}", err=True)
    return 0


def _values(text: str | None, axis: str) -> tuple[Fraction, ...] | None:
    from bench.core.threat import parse_eps
    from bench.errors import BadValue

    if text is None:
        return None
    try:
        return tuple(parse_eps(part) for part in text.split(","))
    except BadValue:
        hint = "--at 4/255,8/255" if axis == "eps" else "--at 20"
        raise BadValue(f"--at is {text!r}, expected numbers above 0 with commas between them", hint) from None


def _written(found: Sequence[Curve], folder: Path) -> list[Path]:
    """The table, its numbers, and the figure as a picture and for print, with its caption."""
    from bench.records.store import write_atomically
    from bench.report.curves import curve_figure, curve_table
    from bench.report.paper import paper, write
    from bench.report.render import markdown

    with paper():
        drawing = curve_figure(found)
        picture, numbers, below = write(drawing, folder, "png")
        printed = write(drawing, folder, "pdf")[0]
    table = folder / f"{drawing.name}.md"
    write_atomically(table, markdown(curve_table(found)).encode())
    return [table, numbers, picture, printed, below]
