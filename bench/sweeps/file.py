"""A sweep as a TOML file: what holds for all blocks, and blocks, each of them a product."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from bench.core.files import at_home, read_text, why
from bench.errors import BadData, BadValue

BLOCKS = "sweep"
"""The key of the blocks: [[sweep]]."""

Blocks = list[tuple[str, Mapping[str, object]]]
"""Of each block its place, as sentences name it, and its keys."""


def read_blocks(path: Path) -> Blocks:
    """The blocks of a file.

    Raises:
        BadData: it cannot be read, or is no TOML.
        BadValue: its blocks are no tables.
    """
    try:
        held = tomllib.loads(read_text(at_home(path)))
    except (OSError, ValueError, RecursionError) as error:
        raise BadData(
            f"{str(path)!r} cannot be read as TOML ({why(error)}), expected a file of axes",
            'a file with defense = ["pgd_at", "trades"] and seed = [0, 1, 2]',
        ) from None
    return blocks_of(held, path.name)


def blocks_of(held: Mapping[str, object], name: str) -> Blocks:
    """The blocks of what a file says; keys before the first hold for all, unless a block has its own.

    Raises:
        BadValue: its blocks are no tables.
    """
    common = {key: value for key, value in held.items() if key != BLOCKS}
    if BLOCKS not in held:
        return [(name, common)]
    blocks = held[BLOCKS]
    if not isinstance(blocks, list) or not blocks or not all(isinstance(one, Mapping) for one in blocks):
        raise BadValue(f"{name}: {BLOCKS} holds no tables, expected blocks, each below [[{BLOCKS}]]")
    return [
        (f"{name}, [[{BLOCKS}]] {place}", _merged(common, block)) for place, block in enumerate(blocks, 1)
    ]


def _merged(first: Mapping[str, object], then: Mapping[str, object]) -> dict[str, object]:
    """The second over the first; tables of both, which hold overrides, entry by entry."""
    merged = {**first, **then}
    for key, value in then.items():
        held = first.get(key)
        if isinstance(held, Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(held, value)
    return merged
