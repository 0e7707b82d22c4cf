"""`bench plot`: figures for papers of what other commands kept; loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli import options
from bench.core.counts import Count
from bench.errors import BadValue, near, unknown
from bench.figures.kinds import KINDS
from bench.report.layout import fold

if TYPE_CHECKING:
    from bench.figures.read import Drawable, Only
    from bench.report.paper import Format

_KINDS = "\n".join(
    line
    for name, kind in KINDS.items()
    for line in fold(f"  {name:<14}{kind.shows} ({kind.made_by})", 76, " " * 16)
)


@options.command(
    epilog=f"\b\nKinds, and the command that makes what they are drawn of:\n{_KINDS}\n\n"
    "Start with: bench plot scatter leaderboards --suite whitebox --data mnist --eps 0.3 --out figures"
)
@click.argument("names", nargs=-1, required=True, metavar="[KIND] NAME...")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    metavar="KIND",
    help="The same as KIND before the names; repeatable.  [default: all that diagnostics hold]",
)
@click.option(
    "--suite",
    metavar="NAME",
    callback=options.one_suite,
    help="Of runs, only those of this suite.  [default: all]",
)
@click.option("--data", metavar="NAME", help="Only what is of this data set.  [default: all]")
@click.option("--eps", metavar="RADIUS", help="Only what is of this radius.  [default: all]")
@click.option(
    "--examples", type=Count(1), metavar="N", help="Only what is of so many images.  [default: all]"
)
@click.option(
    "--every-column",
    is_flag=True,
    help="Of queries, draw all columns.  [default: attackers with scores or labels alone]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="Where the figures go, each with its numbers (CSV) and its caption beside it.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["pdf", "svg", "png"]),
    default="pdf",
    show_default=True,
    metavar="pdf|svg|png",
    help="What kind of file.",
)
@click.option(
    "--width",
    type=click.Choice(["column", "page"]),
    metavar="column|page",
    help="3.25 or 6.75 inches.  [default: what suits the kind]",
)
@click.option("--only", metavar="NAME,NAME", help="Of runs, only those of these defenses.  [default: all]")
@click.option(
    "--top", type=Count(1), metavar="N", help="Of runs, only the N most robust defenses.  [default: all]"
)
@click.option(
    "--names",
    "called",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help='TOML with what figures call defenses, such as pgd_at = "PGD-AT".  [default: their own names]',
)
@options.store
def plot(
    names: tuple[str, ...],
    kinds: tuple[str, ...],
    every_column: bool,
    out: Path,
    form: Format,
    width: str | None,
    called: Path | None,
    store: Path,
    **only: Any,
) -> None:
    """Draw a kind of figure for a paper, with its numbers and its caption beside it.

    A NAME is an id or its beginning, a folder, a file, or a defense, which stands for all of its results.
    What is compared in one figure must be of the same images and budget. Without a KIND, all that
    diagnostics hold is drawn, or the one figure that there is of something else.
    """
    from bench.records.store import require_writable

    chosen, led = _split(names, kinds, store)
    require_writable(out, "folder of figures", "--out FOLDER")
    if every_column and chosen != ["queries"]:
        raise BadValue("--every-column comes without the kind queries, expected both", "bench plot queries")
    wanted = _only(**only)

    from bench.figures.draw import draw
    from bench.figures.read import all_drawable, drawable
    from bench.report.paper import COLUMN, PAGE

    how: dict[str, Any] = {} if width is None else {"width": {"column": COLUMN, "page": PAGE}[width]}
    if every_column:
        how["every_column"] = True
    todo = [drawable(kind, led, store, wanted) for kind in chosen] or all_drawable(led, store, wanted)
    if called is not None:
        how["names"] = _called(called, todo)
    for path in draw(todo, out, form, **how):
        click.echo(path)


def _split(names: tuple[str, ...], kinds: tuple[str, ...], store: Path) -> tuple[list[str], list[str]]:
    """Kinds and names; the first name may be a kind, or have been meant to be one."""
    from bench.figures.lookup import SOURCES, led_to

    first, *rest = names
    meant = first in KINDS or (
        len(names) > 1
        and near(first, KINDS) is not None
        and not any(led_to(first, store, source) for source in SOURCES)
    )
    chosen, led = ([first], rest) if not kinds and meant else (list(kinds), list(names))
    for kind in chosen:
        if kind not in KINDS:
            raise unknown("kind of figure", kind, KINDS)
    if not led:
        raise BadValue(
            f"{first} is a kind of figure and nothing is named to draw, expected ids, folders or defenses",
            f"bench plot {first} NAME --out FOLDER",
        )
    return chosen, led


def _called(path: Path, todo: list[Drawable]) -> Mapping[str, str]:
    """What a file calls defenses that are drawn, or that there are."""
    from bench.registry import DEFENSES
    from bench.report.names_file import read_names

    drawn = {str(getattr(one, "defense", "")) for each in todo for one in map(_told_of, each.found)}
    return read_names(path, {*DEFENSES.names(), *drawn} - {""})


def _told_of(one: Any) -> Any:
    """What of a result names its defense: a run's record, or a study's network."""
    held = getattr(one, "record", one)
    return getattr(held, "network", held)


def _only(
    suite: str | None,
    data: str | None,
    eps: str | None,
    examples: int | None,
    only: str | None,
    top: int | None,
) -> Only:
    from bench.core.threat import parse_eps
    from bench.figures.read import Only

    return Only(suite, data, None if eps is None else parse_eps(eps), examples, options.named(only), top)
