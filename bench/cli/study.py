"""`bench curve`, `bench shift`, ...: one command for each row of `bench.studies`, with one set of options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bench.cli import options
from bench.errors import BadValue
from bench.studies.study import Study
from bench.studies.table import study as row


def command(name: str) -> click.Command:
    """The command of a study: what all share, and the options of its own."""
    study = row(name)
    own = study.module("command")
    shared = (
        *((options.norm, options.eps) if study.budgeted else ()),
        *(options.examples_or(study.examples), options.of_others),
        *(options.batch_size, options.compiled, options.on, options.workers, options.network),
        *(options.also_out(study.writes), options.as_json),
    )

    def not_here(_: click.Context, __: click.Parameter, value: str | None) -> None:
        if value is not None:
            raise BadValue(
                f"--defense is {value!r}, but `bench {name}` takes networks as they are, expected no option",
                f"bench {name} {value}",
            )

    misplaced = click.option("--defense", hidden=True, expose_value=False, is_eager=True, callback=not_here)

    def called(names: tuple[str, ...], **typed: Any) -> int:
        mine = {parameter.name for parameter in _parameters(own.OPTIONS)}
        given = {name: typed.pop(name) for name in list(typed) if name in mine}
        return _measured(study, names, given, **typed)

    decorated = options.several(options.networks, misplaced, *own.OPTIONS, *shared)(called)
    return options.command(name, help=own.__doc__)(decorated)


def _measured(
    study: Study,
    names: Sequence[str],
    given: dict[str, Any],
    out: Path | None,
    as_json: bool,
    **typed: Any,
) -> int:
    """Plan all, compute each, print and write them."""
    from bench.cli.board import width
    from bench.cli.requests import as_options, as_request
    from bench.records.documents import to_json
    from bench.records.store import require_writable
    from bench.report.render import terminal
    from bench.runner.trainings import engaged, train_ahead
    from bench.studies.compute import compute

    how = as_options(**typed)
    specs = study.module("plan").plan(names, as_request(names[0], **typed), **given)
    if out is not None:  # known now, not after hours
        require_writable(out, f"folder of the {study.results}", "--out FOLDER")
    with engaged(how) as engine:
        train_ahead([run for spec in specs for run in spec.runs], engine)
        found = [compute(spec, engine) for spec in specs]
    if as_json:
        click.echo("[" + ",\n".join(to_json(one).rstrip() for one in found) + "]")
    else:
        tables = study.module("report").tables(found)
        click.echo("\n".join(terminal(table, width()) for table in tables), nl=False)
    if out is not None:
        whole = [study.whole(one, how.store.root) for one in found]
        for path in study.module("report").write(whole, out):
            click.echo(f"wrote {path}", err=True)
    return 0


def _parameters(decorators: Sequence[Any]) -> list[click.Parameter]:
    """The parameters that these decorators add."""
    probe = options.several(*decorators)(lambda: None)
    held: list[click.Parameter] = probe.__click_params__
    return held
