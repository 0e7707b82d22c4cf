"""Values as the words of a command, so that its own options check and type them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from bench.cli.main import check_words, sentence_of
from bench.errors import BenchError


def words_of(command: click.Command, given: Mapping[str, object]) -> dict[str, Any]:
    """The words of a command with its defaults for what is not given (None).

    Raises:
        BenchError: what the command line would say of them.
    """
    options = {option.name: option for option in command.params if isinstance(option, click.Option)}
    arguments = [
        argument for name, value in given.items() for argument in _arguments(options.get(name, name), value)
    ]
    check_words(arguments)
    try:
        return dict(command.make_context(f"bench {command.name}", arguments).params)
    except click.ClickException as error:
        raise BenchError(sentence_of(error)) from None


def _arguments(option: click.Option | str, value: object) -> Iterator[str]:
    """What is typed for one option; of an unknown one, what the command will refuse."""
    name = f"--{option.replace('_', '-')}" if isinstance(option, str) else option.opts[0]
    if value is None or value is False:
        return
    if value is True:
        yield name
        return
    if isinstance(value, (list, tuple)):
        yield from (f"{name}={one}" for one in value)
    else:
        yield f"{name}={value}"
