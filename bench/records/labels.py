"""Which network a name means among those with results in a store."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bench.errors import BadValue
from bench.records.record import LOADED, Record

LABEL = r"[A-Za-z0-9_.-]{1,40}"
"""What a network that is loaded may be called."""


def is_label(name: str) -> bool:
    """Whether a loaded network's name was given by its user; else it says what the network is made of.

    >>> is_label("trades_lenet"), is_label("loaded[weights=f19167d8d20c]"), is_label("hf:me/net")
    (True, False, False)
    """
    return name != LOADED and re.fullmatch(LABEL, name) is not None


def loaded_labels(records: Iterable[Record]) -> set[str]:
    """The labels of networks that were loaded from files of a user's own."""
    labels = {r.defense for r in records if r.training is not None and r.training.recipe == LOADED}
    return {label for label in labels if ":" not in label.partition("[")[0]}  # not a zoo's or a hub's


def label_of(name: str, loaded: Iterable[str]) -> str:
    """The label that a name means: `loaded` means the only network that was loaded, any other name itself.

    >>> label_of("loaded", {"trades_lenet"}), label_of("pgd_at", {"trades_lenet"})
    ('trades_lenet', 'pgd_at')

    Raises:
        BadValue: several were loaded.
    """
    labels = sorted(loaded)
    if name != LOADED or not labels:
        return name
    if len(labels) > 1:
        raise BadValue(
            f"'loaded' may be any of {len(labels)} networks here ({', '.join(labels)}), expected one of "
            "their names",
            repr(labels[0]),
        )
    return labels[0]


def named_so(name: str, records: Iterable[Record]) -> list[Record]:
    """The records of the network that a name means; empty: it means none of them."""
    held = list(records)
    label = label_of(name, loaded_labels(held))
    return [record for record in held if record.defense == label]
