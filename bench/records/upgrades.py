"""Older results read as if they were made today, step by step; newer ones told as such."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bench.errors import BadData

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
"""The JSON of one schema -> that of the next; it may change what it is given."""

NEWER = "pip install -U robust-bench-harness"
"""What to type where a newer bench wrote a file."""


NOT_NOTED = "not noted"
"""What stands for a paper that a result of an older schema does not name."""


def upgraded(
    data: dict[str, Any], newest: int, upgrades: Mapping[int, Upgrade], origin: str, what: str
) -> dict[str, Any]:
    """The data in the newest schema; `upgrades` has a step from each older one to the next.

    Raises:
        BadData: they are of a newer schema, or of none.
    """
    schema = data.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < min([*upgrades, newest]):
        raise BadData(f"{origin} has schema {schema!r:.40}, expected a {what} of schema {newest} or before")
    if schema > newest:
        raise BadData(
            f"{origin} was made by a newer bench (schema {schema}, this one reads up to {newest}), expected "
            "one that is as new",
            NEWER,
        )
    try:
        for older in range(schema, newest):
            data = {**upgrades[older](data), "schema": older + 1}
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise BadData(
            f"{origin} is not a valid {what} of schema {schema} ({type(error).__name__}: {error})"
        ) from None
    return data


def with_networks(data: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 of a study of one network -> its heading in schema 2: what it is of, in one list.

    A detection and a diagnosis told of their network in fields of their own, others in a field `network`.
    """
    network = data.pop("network", None)
    if network is None:
        trained = data["training" if "scores_sha256" in data else "weights"]
        network = {name: trained[name] for name in ("recipe", "training_id", "sha256")}
        network |= {name: data.pop(name) for name in ("defense", "architecture", "clean")}
        network |= {name: data.pop(name) for name in ("paper", "reconstruction")}
    run = data["spec"]["run"]
    return with_budget(data, run) | {"networks": [noted(network, run)]}


def noted(network: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """A network of schema 1, with what it did not say."""
    return {"paper": NOT_NOTED, "reconstruction": None, "checkpoint": run["checkpoint"], **network}


def with_budget(data: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """What headings of schema 1 left out where it did not matter."""
    budget = run["budget"]
    return {"norm": budget["norm"], "eps": budget["eps"], "seconds": None, **data}
