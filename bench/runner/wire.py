"""What driver and workers say to each other, as bytes.

They are processes of one account that run the same code, so a pickle is trusted: nobody else can write to the
pipes and folders on which it travels.
"""

from __future__ import annotations

import pickle  # noqa: TID251 (the reason is above)
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.errors import BadValue


@dataclass(frozen=True)
class Message:
    """What a worker is asked: one task of an assignment, packed, because its classes may have to be sent."""

    key: str = ""  # digest of the assignment; empty: is anybody there?
    task: bytes = b""
    contents: Mapping[str, bytes] = field(default_factory=dict)  # what it lacked, by digest


@dataclass(frozen=True)
class Lacks:
    """A worker needs contents before it can begin."""

    digests: tuple[str, ...]


@dataclass(frozen=True)
class Answered:
    """The first result of a task, packed; empty: the worker is there."""

    by: str  # which process, on which machine
    result: bytes = b""
    seconds: float = 0.0  # that the worker computed, opening included


@dataclass(frozen=True)
class Raised:
    """What a worker could not deal with: a user's mistake, or a fault of ours."""

    error: Exception
    told: str  # where in the worker it came from


def packed(held: object) -> bytes:
    """An object as bytes.

    Raises:
        BadValue: it holds what cannot be sent.
    """
    try:
        return pickle.dumps(held, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # whatever classes of the user's make of being pickled
        raise BadValue(
            f"the work cannot be handed to other processes ({error}), expected classes at the top level of a "
            "module",
            "--on here",
        ) from None


def unpacked(content: bytes) -> object:
    """The object in bytes that `packed` gave."""
    return pickle.loads(content)
