"""The settings that authors have for a data set: `trades[preset=mnist]`, known without loading torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from bench.core.grammar import variant
from bench.errors import unknown
from bench.records.beside import rows

PRESET = "preset"
"""What stands in a defense's brackets: the data set whose settings it has, or `none`."""

NONE = "none"
"""Its own defaults, whatever the data."""


@dataclass(frozen=True)
class Preset:
    """What one defense has for one data set."""

    defense: str
    data: str  # whose settings they are, and what they are called by
    beside: tuple[str, ...]  # data that no source has settings for, which takes these
    fields: Mapping[str, str]  # as they are typed in brackets
    source: str


def presets_of(defense: str) -> tuple[Preset, ...]:
    """All that there are for a defense, by its name.

    >>> [preset.fields["beta"] for preset in presets_of("trades")], presets_of("standard")
    (['1'], ())
    """
    return tuple(preset for preset in _presets() if preset.defense == defense)


def usual_preset(defense: str, data: str) -> str:
    """The preset that a defense has on a data set where none is named; empty: its defaults.

    >>> [usual_preset("trades", data) for data in ("mnist", "fashion_mnist", "digits")]
    ['mnist', 'mnist', '']
    """
    known = presets_of(defense)
    return next((found.data for found in known if data == found.data or data in found.beside), "")


def fields_of(defense: str, preset: str) -> Mapping[str, str]:
    """What a preset sets, as it is typed.

    Raises:
        UnknownName: the defense has none of that name.
    """
    if preset in ("", NONE):
        return {}
    known = {found.data: found for found in presets_of(defense)}
    if preset not in known:
        raise unknown("preset", preset, [*known, NONE], owner=defense)
    return known[preset].fields


def without_preset(label: str, data: str) -> str:
    """The label of a defense that has the settings of this very data set, as it is elsewhere; else as it is.

    >>> [without_preset("trades[preset=mnist]", data) for data in ("mnist", "fashion_mnist")]
    ['trades', 'trades[preset=mnist]']
    """
    name, sign, _ = label.partition("[")
    return name if sign and label == f"{name}[{PRESET}={data}]" else label


@cache
def _presets() -> tuple[Preset, ...]:
    return tuple(
        Preset(
            defense=row["defense"],
            data=row["data"],
            beside=tuple(row["beside"].split()),
            fields=variant(f"{row['defense']}[{row['fields']}]", "the preset", row["defense"])[1],
            source=row["source"],
        )
        for row in rows("presets.csv")
    )
