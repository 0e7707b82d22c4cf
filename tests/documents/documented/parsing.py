"""Whether a command line could be typed: its command, its options and their fixed words exist."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click

from bench.cli.main import bench


def found(words: Sequence[str]) -> tuple[click.Command, list[str]]:
    """The command, or the command below it, and the words that are left for it.

    Raises click.UsageError where there is none of this name.
    """
    command: click.Command = bench
    left = list(words)
    while isinstance(command, click.Group) and left and not left[0].startswith("-"):
        _, below, left = command.resolve_command(click.Context(command), left)
        assert below is not None
        command = below
    return command, left


def parse(words: Sequence[str]) -> None:
    """Read a line as the command would, but for files and numbers, which may be placeholders.

    Raises click.UsageError for what it does not take.
    """
    command, left = found(words)
    if left == ["--help"]:
        return
    context = click.Context(command)
    values, _, _ = command.make_parser(context).parse_args(left)
    values = {name: value for name, value in values.items() if isinstance(value, (str, tuple)) and value}
    for parameter in command.params:
        value = values.get(parameter.name or "")
        if isinstance(parameter.type, click.Choice) and value is not None:
            parameter.type_cast_value(context, value)
        if isinstance(parameter, click.Argument) and parameter.required and not value:
            raise click.MissingParameter(ctx=context, param=parameter)


def unknown_options(words: Iterable[str]) -> list[str]:
    """Options among some words that the command does not have; the words may be a synopsis."""
    command, left = found(list(words))
    with click.Context(command) as context:
        known = {option for parameter in command.get_params(context) for option in parameter.opts}
    known |= {"--version"} if command is bench else set()
    return [word for word in left if word.startswith("--") and word.partition("=")[0] not in known]
