"""How tables list suites: in which order, by which short name, and of whom they are asked.

It is no part of what a suite is, so it stands in no specification and changes no run's name. It is here, and
not where trials are, because boards are made without loading torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Listing:
    """What tables must know of a suite besides its name."""

    name: str
    short: str  # where there is no room
    asked_of: Literal["all", "owing"] = "all"  # owing: of defenses that owe an adaptive attack
    command: str | None = None  # what plays it, where it does more than attack; so it is no columns of a run
    tries: bool = False  # whether it only shows that everything works: too weak for a published board


LISTED = (
    Listing("whitebox", "white"),
    Listing("graybox", "gray"),
    Listing("blackbox", "black"),
    Listing("adaptive", "adaptive", asked_of="owing"),
    Listing("fast", "fast"),
    Listing("autoattack", "AutoAttack"),
    Listing("autoattack_plus", "autoattack_plus"),
    Listing("autoattack_rand", "autoattack_rand"),
    Listing("detection", "detection", command="bench detect"),
    Listing("smoke", "smoke", tries=True),
)
"""Attackers who see less come later, ensembles after them; suites of others come last, by their names."""


def listing(suite: str) -> Listing:
    """How a suite is listed, by its name, id or label; one of others is asked of all.

    >>> listing("graybox@1").short, listing("mine@2")
    ('gray', Listing(name='mine', short='mine', asked_of='all', command=None, tries=False))
    """
    name = suite.partition("@")[0]
    return next((listed for listed in LISTED if listed.name == name), Listing(name, name))


def place(suite: str) -> tuple[int, str]:
    """What suites are sorted by.

    >>> sorted(["autoattack@1", "smoke@1", "blackbox@1", "whitebox@1"], key=place)
    ['whitebox@1', 'blackbox@1', 'autoattack@1', 'smoke@1']
    """
    listed = listing(suite)
    return (LISTED.index(listed) if listed in LISTED else len(LISTED)), suite


DEFAULT = "fast"
"""The suite of a run that names none."""

OTHER_VERSIONS = ("fast@1", "whitebox@1")
"""Suites beside that which the name alone means; each is typed by its id."""


def typed_as(suite: str) -> str:
    """How the suite of an id is typed: by its name alone, unless that means another version.

    >>> typed_as("fast@1"), typed_as("fast@2")
    ('fast@1', 'fast')
    """
    return suite if suite in OTHER_VERSIONS else suite.partition("@")[0]


def version(suite: str) -> int:
    """The version in the id or label of a suite; 0: there is none.

    >>> version("fast@2"), version("fast@2[chunk=5]"), version("mine")
    (2, 2, 0)
    """
    number = suite.partition("@")[2].partition("[")[0]
    return int(number) if number.isdecimal() else 0
