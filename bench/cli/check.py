"""`bench check`: does a defense or an attack keep its contract?"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from bench.cli import options
from bench.errors import BadValue

if TYPE_CHECKING:
    from bench.check import Checked


@options.command()
@click.argument("name")
@options.settings
@options.as_json
def check(name: str, settings: tuple[str, ...], as_json: bool) -> int:
    """Examine a defense (NAME or PATH.py:CLASS) or an attack, clause by clause, on tiny data."""
    found = []
    for checked in _clauses(name, settings):
        found.append(checked)
        if not as_json:
            mark = "ok  " if checked.kept else "FAIL"
            click.echo(f"{mark} {checked.clause}" + (f" ({checked.detail})" if checked.detail else ""))
    broken = [checked for checked in found if not checked.kept]
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(checked) for checked in found], indent=1))
    else:
        click.echo(f"{name}: {len(found) - len(broken)} of {len(found)} clauses kept")
    return 1 if broken else 0


def _clauses(name: str, settings: tuple[str, ...]) -> Iterator[Checked]:
    from bench.attacks.others.signature import column_of
    from bench.check import check_attack, check_defense
    from bench.core.encoding import override
    from bench.registry import ATTACKS, DEFENSES

    given = options.parse_settings(settings)
    is_attack = (name in ATTACKS.names() and name not in DEFENSES.names()) or ATTACKS.scheme(name) is not None
    part = f"attack.{column_of(name)}" if is_attack else "defense"
    other = [key for key in given if key != part]
    if other:
        raise BadValue(f"--set {other[0]}.PARAMETER is no part of {name!r}, expected {part}.PARAMETER=VALUE")
    if is_attack:
        yield from check_attack(override(ATTACKS.get(name), given.get(part, {})))
    else:
        yield from check_defense(name, given.get(part, {}))
