"""Tables that lie beside the defenses, whose modules are not imported for them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from importlib.resources import files


def rows(name: str) -> Sequence[dict[str, str]]:
    """The rows of `defenses/NAME`, each by the header's names."""
    text = files("defenses").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
