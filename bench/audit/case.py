"""A run as an audit sees it: its record, what it did to each example, and what else the store knows of it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.credit import broken as broken_by
from bench.core.listing import typed_as
from bench.core.names import class_of
from bench.core.outcomes import Outcomes
from bench.records.record import LOADED, Check, Column, Record
from bench.records.rules import RULE_OF, RULES
from bench.studies.shift.record import Shift

LEAST = 100
"""A run of the same network with fewer examples says too little to be joined with a larger one."""


@dataclass(frozen=True)
class Tried:
    """A column of a run on the examples that all joined runs share."""

    run_id: str
    summary: Column
    trial: Mapping[str, Any]  # as the spec of its run has it
    outcomes: Outcomes

    @property
    def gradients(self) -> str:
        """Whose gradients its attacker saw: a value of bench.core.threat.Source."""
        return str(self.trial["knowledge"]["gradients"])

    @property
    def feedback(self) -> str:
        """What the defense answered: a value of bench.core.threat.Feedback."""
        return str(self.trial["knowledge"]["feedback"])

    @property
    def kinds(self) -> tuple[str, ...]:
        """The classes of its attack and of those that it is made of."""
        return tuple(class_of(str(part["is"])) for part in _attacks(self.trial["attack"]))

    @property
    def is_targeted(self) -> bool:
        """Whether it aims at a class."""
        return any(
            "argeted" in class_of(str(part["is"]))
            or part.get("target", "none") != "none"
            or part.get("component", "") in ("apgd-t", "fab-t")
            or part.get("targets", 0)
            for part in _attacks(self.trial["attack"])
        )

    @property
    def is_untargeted(self) -> bool:
        """Whether it climbs away from the true class: a ladder does before it aims."""
        return not self.is_targeted or "Ladder" in self.kinds

    @property
    def is_adaptive(self) -> bool:
        """Whether it was made against what this defense does."""
        own = any(part.get("loss") == "adaptive" for part in _attacks(self.trial["attack"]))
        return self.summary.adaptive or own or self.gradients == "bpda"


@dataclass(frozen=True)
class Case:
    """What the rules are applied to."""

    record: Record
    outcomes: Mapping[str, Outcomes]
    kin: tuple[tuple[Record, Mapping[str, Outcomes]], ...] = ()  # other runs of the same weights and budget
    others: tuple[Record, ...] = ()  # every other record of the store
    shifts: tuple[Shift, ...] = ()  # of the same weights
    command: str = "bench run"  # what ran it, without its suite
    suite: str = ""  # the options of it that say how it was attacked; empty: --suite NAME
    ground: str = ""  # the options of it that say on which data, within which budget
    which: tuple[str, ...] = ()  # the words of it that name the network besides
    changed: tuple[str, ...] = ()  # modules behind the record that have changed since
    traits: tuple[str, ...] = ()  # of the deployed defense; empty: those of the record

    @property
    def parts(self) -> frozenset[str]:
        """What the defense is made of that an attacker must get past."""
        return frozenset(self.traits or self.record.traits)

    def tried(self) -> list[Tried]:
        """Every column of this run and of its kin, cut to the examples that they share.

        Kin is left out where it has other examples, or fewer than both this run and `LEAST`; a shorter run
        than this one shortens all, so it is joined only if its attackers know what no others do.
        """
        ids = next(iter(self.outcomes.values())).ids
        runs, known = [(self.record, self.outcomes)], _seen(self.record)
        for record, held in sorted(self.kin, key=lambda run: -run[0].examples):
            theirs = next(iter(held.values())).ids
            n = min(len(ids), len(theirs))
            is_same = n >= min(len(ids), LEAST) and np.array_equal(theirs[:n], ids[:n])
            if is_same and (n == len(ids) or not _seen(record) <= known):
                runs.append((record, held))
                known |= _seen(record)
        n = min(len(next(iter(held.values()))) for _, held in runs)
        return [
            Tried(record.run_id, column, trial, first(held[column.name], n))
            for record, held in runs
            for column, trial in zip(record.columns, record.spec["suite"]["trials"], strict=False)
            if column.name in held
        ]

    @property
    def name(self) -> str:
        """The defense as it is asked for, ready to be typed."""
        return shlex.quote(self.which[0] if self.which else self.record.defense)

    @property
    def attacked(self) -> str:
        """The options that attack another network as this one was."""
        return self.suite or f"--suite {typed_as(self.record.suite)}"

    def study(self, study: str, budgeted: bool = True) -> str:
        """The command of a study of the same network: "curve --over eps"."""
        command, *options = study.split(" ")
        ground = self.ground if budgeted else re.sub(r" --(norm|eps) \S+", "", self.ground)
        words = ["bench", command, self.name, *map(shlex.quote, self.which[1:]), ground, *options]
        return " ".join(word for word in words if word)

    def other(self, command: str) -> str:
        """A command for another defense on the same ground."""
        return f"{command} {self.ground}"

    def kept(self, command: str) -> str:
        """A command for what is kept of the run: "verify"."""
        where = re.search(r"--store .*", self.ground)
        return " ".join(["bench", command, self.record.run_id, *([where[0]] if where else [])])

    def ask(self, *words: str) -> str:
        """The command that runs the same defense otherwise."""
        return " ".join([self.command, *words])


def is_of_others(record: Record) -> bool:
    """Whether its weights are those of others, of which nothing was trained here."""
    return record.training is not None and record.training.recipe == LOADED


def first(outcomes: Outcomes, n: int) -> Outcomes:
    """What was done to the first n examples."""
    part: dict[str, Any] = {name: held[:n] for name, held in outcomes.arrays().items()}
    return Outcomes(**part)


def left_by(columns: Iterable[Tried]) -> NDArray[np.bool_]:
    """What all of them, and those that they go on from, leave standing, [n]; there must be one."""
    held: NDArray[np.bool_] = np.logical_and.reduce([column.outcomes.robust for column in columns])
    return held


def spared_by(columns: Iterable[Tried]) -> NDArray[np.bool_]:
    """What is right when clean and none of them broke itself, [n]; there must be one.

    Where none goes on from others, that is what they leave; else it also holds what others broke before them.
    """
    spared = [column.outcomes.correct & ~broken_by(column.outcomes) for column in columns]
    held: NDArray[np.bool_] = np.logical_and.reduce(spared)
    return held


def kept(rule: str, detail: str, command: str | None = None) -> Check:
    """The rule holds, or does not concern this defense."""
    return Check(rule, "pass", detail, command)


def broken(rule: str, detail: str, command: str | None = None) -> Check:
    """The rule does not hold; what that means is for the catalogue to say."""
    return Check(rule, RULES[rule].severity, detail, command)


def named(code: str, detail: str) -> Check:
    """A rule is broken, and a finding's code says how."""
    return broken(RULE_OF[code], f"{code}: {detail}")


def unknown(rule: str, detail: str, command: str | None) -> Check:
    """What the rule needs is not in the store."""
    return Check(rule, "open", detail, command)


def percent(share: float) -> str:
    """A share as people read it.

    >>> percent(0.4567)
    '45.7 %'
    """
    return f"{100 * share:.1f} %"


def _seen(record: Record) -> set[tuple[str, bool]]:
    """What the attackers of its columns know, and whether they use it against what the defense does."""
    return {(column.knowledge, column.adaptive) for column in record.columns if column.robust is not None}


def _attacks(attack: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    yield attack
    for value in attack.values():
        for part in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(part, Mapping) and "is" in part:
                yield from _attacks(part)
