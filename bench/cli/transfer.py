"""`bench transfer`: images made on each of several networks, shown to all of them, in one matrix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli import options

if TYPE_CHECKING:
    from bench.records.transfer import Transfer


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="DEFENSE[@ARCH]...")
@click.option(
    "--attack",
    default="pgd_100",
    show_default=True,
    metavar="NAME",
    help="What makes the images, white-box on their source: pgd_100 (steps of eps/10), or an attack of "
    "`bench list attacks`; --set attack.NAME.steps=50 changes it.",
)
@options.norm
@options.eps
@options.examples_or(1000)
@options.batch_size
@options.networks
@options.also_out("transfer.csv, transfer.md, and the heat map as PNG and PDF with its caption")
@options.as_json
def transfer(
    names: tuple[str, ...],
    attack: str,
    norm: str | None,
    eps: str | None,
    examples: str | None,
    batch_size: str,
    out: Path | None,
    as_json: bool,
    **shared: Any,
) -> int:
    """Make adversarial images on each network, show them to all, and print the matrix of robust accuracies.

    A network is a defense, NAME[field=value], with an architecture behind an @ where it is not --arch; it is
    trained or loaded as `bench run` does. Rows made the images, columns are shown them; the diagonal is
    white-box. Images are kept: a matrix that was stopped goes on, and a larger one begins with them.
    """
    from bench.cli.board import width
    from bench.cli.requests import as_options, as_request
    from bench.records.store import require_writable
    from bench.records.transfer import to_json
    from bench.report.render import terminal
    from bench.report.transfer import transfer_table
    from bench.runner.transfer import plan_transfer
    from bench.runner.transfer import transfer as compute

    how = as_options(batch_size=batch_size, **shared)
    request = as_request(names[0], norm=norm, eps=eps, examples=examples, **shared)
    spec = plan_transfer(names, request, attack)
    if out is not None:  # known now, not after hours
        require_writable(out, "folder of the matrix", "--out FOLDER")
    found = compute(spec, how)
    click.echo(to_json(found) if as_json else terminal(transfer_table(found), width()), nl=False)
    for path in _written(found, out) if out is not None else ():
        click.echo(f"wrote {path}", err=True)
    return 0


def _written(found: Transfer, folder: Path) -> list[Path]:
    """The table, its numbers, and the heat map as a picture and for print."""
    from bench.records.store import write_atomically
    from bench.report.paper import paper, write
    from bench.report.render import markdown
    from bench.report.transfer import heat_map, transfer_table

    table = folder / "transfer.md"
    write_atomically(table, markdown(transfer_table(found)).encode())
    with paper():
        drawing = heat_map(found)
        picture, numbers, caption = write(drawing, folder, "png")
        return [table, numbers, picture, write(drawing, folder, "pdf")[0], caption]
