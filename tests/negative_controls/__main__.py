"""Judge the whole zoo from one seed or several: `python -m tests.negative_controls --seeds 10 [--page]`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # the zoo is no part of the package

from zoo.animals import CONTROLS, UNSEEN
from zoo.seeds import over, seeds_of
from zoo.table import page, table


def _seeds(context: click.Context, option: click.Parameter, value: str) -> range:
    try:
        return seeds_of(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.option(
    "--seeds", default="1", callback=_seeds, metavar="N|FROM:TO", help="How many, or which.  [1: seed 0]"
)
@click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that keeps what is computed, so that a second call goes on.  [a temporary one]",
)
@click.option(
    "--control",
    "names",
    multiple=True,
    type=click.Choice([control.name for control in (*CONTROLS, *UNSEEN)]),
    metavar="NAME",
    help="One control alone; may be given several times.  [all]",
)
@click.option("--page", "whole", is_flag=True, help="Print docs/controls.md, not its table of seeds alone.")
def main(seeds: range, store: Path | None, names: tuple[str, ...], whole: bool) -> None:
    """How often each control's own finding was raised, and how often a wrong one; progress is on stderr."""
    controls = [control for control in (*CONTROLS, *UNSEEN) if control.name in names] or CONTROLS
    found = [*over(controls, seeds, store or Path(tempfile.mkdtemp()))]
    print(page(found) if whole else table(found), end="")


if __name__ == "__main__":
    main(prog_name="python -m tests.negative_controls")
