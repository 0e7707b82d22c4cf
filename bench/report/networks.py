"""Networks by method and seed, and which of them differ beyond chance."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from bench.core.paired import holm
from bench.records.record import Record
from bench.report.over_seeds import OverSeeds
from bench.report.significance import Pair, pairs

Held = NDArray[np.bool_]


@dataclass(frozen=True)
class ComparedNetwork:
    """One record with what is known of its single examples."""

    record: Record
    name: str  # as tables print it
    held: Held | None  # [n] in the worst case; None: it is not known by example
    columns: Mapping[str, Held]  # [n] against each column, as far as a table of examples is there

    @property
    def accuracy(self) -> float:
        """In the worst case, in percent."""
        return 100 * self.record.worst_case.value if self.record.worst_case else float("nan")


@dataclass(frozen=True)
class Method:
    """The networks that differ in their seed alone."""

    name: str
    networks: tuple[ComparedNetwork, ...]

    @property
    def told(self) -> str:
        """Mean, standard deviation and all values of the worst case, in percent.

        The deviation is that of the sample, with n - 1.
        """
        values = [network.accuracy for network in self.networks]
        each = ", ".join(f"{value:.1f}" for value in values)
        if len(values) < 2:
            return f"{each} (one seed)"
        return f"{OverSeeds.of([value / 100 for value in values])} ({len(values)} seeds: {each})"


@dataclass(frozen=True)
class Contest:
    """Two methods of several seeds each: Welch's test of their means over seeds, on these examples."""

    one: Method
    other: Method
    difference: float  # of the means, as a fraction
    p: float | None  # None: no seed differs from another, so there is no scale to measure by
    adjusted: float | None  # by Holm over all contests


def methods(networks: Sequence[ComparedNetwork]) -> list[Method]:
    """The networks by what they have in common but the seed, in the order of their first."""
    found: dict[tuple[str, str, str], list[ComparedNetwork]] = {}
    for network in networks:
        record = network.record
        found.setdefault((record.defense, record.architecture, record.recipe), []).append(network)
    several = {name for name, _, _ in found if sum(key[0] == name for key in found) > 1}
    return [
        Method(f"{key[0]}@{key[1]}, {key[2]}" if key[0] in several else key[0], tuple(group))
        for key, group in found.items()
    ]


def asked(groups: Sequence[Method]) -> Iterator[tuple[str, str]]:
    """Every two networks of different methods, by name; of one method alone, every two of its own."""
    if len(groups) == 1:
        yield from combinations([network.name for network in groups[0].networks], 2)
    for first, second in combinations(groups, 2):
        for one, other in product(first.networks, second.networks):
            yield one.name, other.name


def all_pairs(groups: Sequence[Method]) -> list[Pair]:
    """Every two networks of different methods (of one alone: every two), with Holm over all of them."""
    networks = [network for group in groups for network in group.networks]
    known = {network.name: network.held for network in networks if network.held is not None}
    return pairs(known, [names for names in asked(groups) if all(name in known for name in names)])


def contests(groups: Sequence[Method]) -> list[Contest]:
    """Every two methods of several seeds each, by Welch's unequal variances t test (Biometrika 34, 1947).

    The unit is a training, the examples are the same for all: this is what says something of methods.
    """
    from scipy.stats import ttest_ind_from_stats

    found: list[tuple[Method, Method, float, float | None]] = []
    for one, other in combinations([group for group in groups if len(group.networks) > 1], 2):
        ours, theirs = ([n.accuracy / 100 for n in group.networks] for group in (one, other))
        spread = statistics.stdev(ours), statistics.stdev(theirs)
        means = statistics.mean(ours), statistics.mean(theirs)
        welch = (means[0], spread[0], len(ours), means[1], spread[1], len(theirs))
        p = float(ttest_ind_from_stats(*welch, equal_var=False).pvalue) if any(spread) else None
        found.append((one, other, means[0] - means[1], p))
    adjusted = iter(holm([p for *_, p in found if p is not None]))
    return [
        Contest(one, other, difference, p, None if p is None else next(adjusted))
        for one, other, difference, p in found
    ]
