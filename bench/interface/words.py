"""What a program gives as the words of a command, so that its options check and type them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import click

from bench.cli.console import Console
from bench.cli.main import check_words, sentence_of
from bench.core.progress import Progress, Silent
from bench.core.threat import format_eps
from bench.errors import BenchError

FINEST = 10_000
"""The largest denominator of a radius that is taken for a fraction: 8 / 255 is 8/255, not 0.0313725."""


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


def settings_of(settings: Mapping[str, object] | None) -> list[str]:
    """What `--set` is given for {"defense.margin": 0.05}."""
    return [f"{key}={_text(value)}" for key, value in (settings or {}).items() if value is not None]


def radius(eps: object) -> str | None:
    """A radius as it is typed; a float that is a fraction becomes that fraction again.

    >>> radius(8 / 255), radius(0.3), radius("8/255"), radius(None)
    ('8/255', '0.3', '8/255', None)
    """
    if not isinstance(eps, float) or not math.isfinite(eps):
        return None if eps is None else str(eps)
    near = Fraction(str(eps)).limit_denominator(FINEST)
    return format_eps(near) if float(near) == eps else str(eps)


def progress_of(shown: bool) -> Progress | None:
    """Where work is told of: on the terminal, which is the default, or nowhere."""
    return None if shown else Silent()


@contextmanager
def tidy(progress: Progress) -> Iterator[None]:
    """What is drawn within is taken down at the end, so that an error starts on a clean line."""
    try:
        yield
    finally:
        if isinstance(progress, Console):
            progress.close()


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


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
