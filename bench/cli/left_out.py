"""What cannot be read is left out and told, each file with its reason, and at the end how many."""

from __future__ import annotations

import warnings

import click

from bench.core.text import one_line
from bench.errors import BadData

_HELD = "bench.left_out"


def left_out(error: BadData) -> None:
    """Tell once that a result is left out; at the end of the command, how many were. A program is warned."""
    context = click.get_current_context(silent=True)
    if context is None:
        warnings.warn(f"left out: {error.message}", stacklevel=2)
        return
    told: set[str] = context.find_root().meta.setdefault(_HELD, set())
    if not told:
        context.find_root().call_on_close(lambda: _count(len(told)))
    if error.message not in told:
        told.add(error.message)
        click.echo(f"bench: left out: {one_line(error.message)}", err=True)


def _count(number: int) -> None:
    several = "results that cannot be read were" if number > 1 else "result that cannot be read was"
    click.echo(f"bench: {number} {several} left out, see above", err=True)
