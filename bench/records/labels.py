"""Which network a name means among those with results in a store."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bench.core.digest import canonical
from bench.errors import BadValue
from bench.records.presets import without_preset
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
    """The records of the network that a name means; empty: it means none of them.

    `trades` means what is `trades[preset=mnist]` on MNIST, too.
    """
    held = list(records)
    label = label_of(name, loaded_labels(held))
    return [r for r in held if label in (r.defense, without_preset(r.defense, r.data))]


def network_named(name: str, records: Iterable[Record]) -> list[Record]:
    """The records of the one loaded network that a label, a run's id (or its beginning) or `loaded` means.

    The latest comes first; empty: the name means none.

    Raises:
        BadValue: it may mean several networks, or means one that is trained here.
    """
    held = list(records)
    mine = loaded_labels(held)
    label = label_of(name, mine)
    found = [record for record in held if record.defense == label and label in mine]
    if not found and re.fullmatch(r"[0-9a-f]{4,12}", name):
        found = [record for record in held if record.run_id.startswith(name)]
    for record in found:
        if record.defense not in mine:
            raise BadValue(
                f"run {record.run_id} is of {record.defense}, expected a loaded network's run or a name",
                record.defense,
            )
    if len({_weights_of(record) for record in found}) > 1:
        runs = ", ".join(sorted(record.run_id for record in found))
        raise BadValue(
            f"{name!r} may be any of several networks here (runs {runs}), expected the id of one's run",
            found[0].run_id,
        )
    return sorted(found, key=lambda record: record.provenance.started, reverse=True)


def _weights_of(record: Record) -> str:
    """What tells one loaded network from another: its weights and all that was said of it."""
    training = record.spec["training"]
    return canonical([training["defense"], training["architecture"], training.get("init")])
