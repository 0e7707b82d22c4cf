"""Whole numbers on the command line."""

from __future__ import annotations

import re
from typing import Any

import click

from bench.core.exact import LARGEST


class Count(click.IntRange):
    """A whole number, in digits that everybody reads and no more of them than a number here has."""

    def __init__(self, least: int, most: int = LARGEST) -> None:
        super().__init__(min=least, max=most)
        self.name = f"number of at least {least}"  # click's word for it is "integer range"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; click's error for anything else."""
        if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,19}", value.strip(), re.ASCII) is None:
            self.fail(f"{value!r} is not a valid {self.name}.", param, ctx)
        return super().convert(value, param, ctx)
