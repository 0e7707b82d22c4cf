"""The record of one run: all that it established, and the only thing that reports may read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, Literal

from pydantic import ConfigDict

from bench.core.threat import Budget, Norm
from bench.records.kinds import (
    Amount,
    ColumnName,
    Command,
    Commit,
    Count,
    Id,
    NormName,
    PlainName,
    Radius,
    Sha256,
)
from bench.records.seal import sealed

SCHEMA = 1

LOADED = "loaded"
"""The recipe of weights that others trained."""

UNTRAINED = "nothing was trained"
"""What stands for a recipe where there is none."""

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Interval:
    """A share of n examples with its 95 % Wilson interval; fractions, never percent."""

    __pydantic_config__ = _STRICT

    value: float
    low: float
    high: float
    count: Count
    n: Count


@dataclass(frozen=True)
class Column:
    """One trial's summary."""

    __pydantic_config__ = _STRICT

    name: ColumnName
    attack: str  # with every parameter
    level: str  # white-box, gray-box, black-box
    knowledge: str  # the level with what distinguishes it: "gray-box, twin"
    robust: Interval | None  # over all n examples; None: skipped or failed, and why below
    attack_success_rate: float | None  # over the examples that it met; None: it met none
    forwards: Amount | None  # mean per example, over all n: so columns add up
    backwards: Amount | None
    queries_mean: Amount | None  # forwards to the first success, failures at all they spent, over what it met
    queries_median: Amount | None  # None, both: it met none, was answered nothing, or an old record lacks it
    seconds: Amount
    moved: Count = 0  # candidates outside budget or box, projected by the referee
    lost: Count = 0  # successes that the attack had and did not return
    invalid: Count = 0  # candidates that were not numbers
    skipped: str | None = None
    error: str | None = None
    adaptive: bool = False  # made against what this defense does: BPDA, EOT, its own loss, its detector
    answers: tuple[str, ...] = ()  # the traits of the defense that it was made to get past
    after: str | None = None  # the column that it goes on from: its accuracy is that of both
    met: Count | None = None  # examples that it attacked; None: skipped, failed, or made before it was noted
    broke: Count | None = None  # of those


@dataclass(frozen=True)
class Finding:
    """A sign that the evaluation may be too kind to the defense."""

    __pydantic_config__ = _STRICT

    code: str  # e.g. "black-box-beats-white-box"
    severity: Literal["warn", "block"]
    detail: str  # the figures, in one sentence


@dataclass(frozen=True)
class Check:
    """What one rule of an audit came to."""

    __pydantic_config__ = _STRICT

    rule: str  # "A5", an id of bench.records.rules
    verdict: Literal["pass", "warn", "block", "info", "open"]  # open: not computed yet
    detail: str  # the figures, in one sentence; where it is open, what is missing
    command: Command | None = None  # what investigates it
    code: str | None = None  # names the code that looked at the network; None: of records, or made before


@dataclass(frozen=True)
class Evidence:
    """The adversarial images of the worst case, kept beside the record and scored again from their file."""

    __pydantic_config__ = _STRICT

    file: PlainName  # its name in the run's folder
    sha256: Sha256
    images: Count  # examples that were broken, so are in it
    again: Interval  # robust accuracy by the stored images, in another batch size
    rounded: Interval  # the same after rounding to 8 bits
    left: Count = 0  # images that rounding carried out of the budget; they are not projected back


@dataclass(frozen=True)
class Verdicts:
    """What held, example by example, so that two records can be compared in pairs; see bench.core.bitmap."""

    __pydantic_config__ = _STRICT

    ids: Id  # names the examples' positions in the test set, in order
    clean: str  # right before any attack
    worst_case: str  # robust against every column


@dataclass(frozen=True)
class Balanced:
    """The mean of the accuracies of all classes, with its 95 % interval; see bench.core.by_class."""

    __pydantic_config__ = _STRICT

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class OfClass:
    """How many examples of one class there are, and of how many the defense holds."""

    __pydantic_config__ = _STRICT

    name: str
    n: int
    clean: int  # right before any attack
    robust: int | None  # robust against every column; None: the run has no worst case


@dataclass(frozen=True)
class ByClass:
    """What the defense keeps of each class that has an example, in the order of their labels."""

    __pydantic_config__ = _STRICT

    classes: tuple[OfClass, ...]
    clean: Balanced
    robust: Balanced | None  # None: the run has no worst case


@dataclass(frozen=True)
class Doubt:
    """By how much the worst case may be too kind, told by attackers that looked by themselves."""

    __pydantic_config__ = _STRICT

    attackers: int  # put on the same examples
    met: int  # those
    broke: int  # of them, broken by any
    alone: int  # of those, broken by only one
    at_most: float  # the share of all n examples that the same again would break, with 95 % confidence


@dataclass(frozen=True)
class Imported:
    """Images that others made against these very weights, judged like our own."""

    __pydantic_config__ = _STRICT

    file: PlainName  # its name, without folders
    sha256: Sha256
    note: str | None  # who made it and how, in the user's words
    outside: Count  # images beyond the budget, in the place of which the clean ones were judged
    alone: Interval  # robust accuracy under these images
    best_known: Interval  # under these, every column, and what was imported before
    robust: str  # what these left standing, example by example


@dataclass(frozen=True)
class Training:
    """How the weights came to be."""

    __pydantic_config__ = _STRICT

    training_id: Id
    recipe: str  # its name, with what was overridden
    checkpoint: str  # "best" or "last" epoch, by robust validation accuracy
    epoch: Count  # of that checkpoint, from 1
    epochs: Count
    seconds: Amount
    validation_robust_accuracy: float | None
    sha256: Sha256  # of the weights' file
    parameters: Count
    parents: Mapping[str, Id]  # role -> training id


@dataclass(frozen=True)
class Provenance:
    """Where the numbers came from."""

    __pydantic_config__ = _STRICT

    version: str
    commit: Commit | None
    dirty: bool | None
    sources: Mapping[str, str]  # module -> source digest
    packages: Mapping[str, str]
    python: str
    device: str
    started: str  # ISO 8601, UTC
    seconds: Amount
    threads: Count | None = None  # they order sums, so change weights; None: made before they were noted
    lock: str | None = None  # the digest of bench/requirements.lock; None: made before there was one
    unlocked: tuple[str, ...] = ()  # packages in another version than the lock's: "torch 2.13.0"
    notes: tuple[str, ...] = ()  # what a network of others needed, and which shortcuts it did not allow
    figures: str = ""  # digest of the code that made figures of cells; empty: made before it was noted
    card: Mapping[str, str] = field(default_factory=dict)  # of a GPU: driver, CUDA, cuDNN, what may round


@dataclass(frozen=True)
class Record:
    """One defense under one suite."""

    __pydantic_config__ = _STRICT

    schema: int
    run_id: Id
    status: Literal["complete", "failed"]
    defense: str  # the name, with what was overridden: agkd_bml[margin=0.05]
    paper: str  # what the defense implements
    reconstruction: str | None  # what had to be guessed because no text could be had
    suite: str  # whitebox@1
    custom: bool  # something differs from what is published: shown, never on a board
    data: str
    data_digest: Id
    architecture: str
    norm: NormName
    eps: Radius  # an exact fraction or decimal in pixel units: "8/255"
    seed: Count
    examples: Count
    clean: Interval
    worst_case: Interval | None
    columns: tuple[Column, ...]
    findings: tuple[Finding, ...]
    training: Training | None  # None: nothing was trained
    spec: Mapping[str, Any]  # the whole resolved run
    provenance: Provenance
    traits: tuple[str, ...] = ()  # what the defense is made of: bench.api.Trait
    draws: Count = 1  # answers that vote on each image of a randomized defense
    eot_samples: Count | None = (
        None  # passes that a gradient is the mean of; None: made before traits were noted
    )
    audit: tuple[Check, ...] = ()  # what bench audit found, by rule; empty: it was not audited
    evidence: Evidence | None = None  # None: its images were not kept
    robust_examples: Verdicts | None = None  # None: made before they were kept, or without a worst case
    imported: tuple[Imported, ...] = ()  # the last has the lowest number that is known
    files: Mapping[str, str] = field(default_factory=dict)  # SHA-256 of what lies beside it, by name
    doubt: Doubt | None = None  # None: the suite has no attackers that look independently
    differs: tuple[str, ...] = ()  # why it is custom, in words; empty, and custom: made before it was noted
    by_class: ByClass | None = None  # None: made before classes were counted

    @property
    def budget(self) -> str:
        """Norm and radius as papers print them."""
        return f"{self.norm} {self.eps}"

    @property
    def train_budget(self) -> Budget | None:
        """What attacks in training could do, and its epoch was chosen by; None: nothing was trained here."""
        return train_budget_of(self.spec, self.training)

    @property
    def trained_at(self) -> str | None:
        """The same in words where it is another budget than this run's; None where it is the same, too."""
        inside = self.train_budget
        if inside is None or inside == Budget(Norm(self.norm), Fraction(self.eps)):
            return None
        return f"trained at {inside.label}"

    @property
    def recipe(self) -> str:
        """How the weights came to be: the recipe with what was overridden, and `trained_at`."""
        told = self.training.recipe if self.training else UNTRAINED
        return ", ".join(part for part in (told, self.trained_at) if part)

    @property
    def why_custom(self) -> str | None:
        """Why it is custom, in words, as far as that is known; None: it is not."""
        if not self.custom:
            return None
        known = {
            "attacks were named one by one": self.suite.partition("@")[0] == "attacks",
            "the weights are those of the last epoch": self.spec.get("checkpoint", "best") != "best",
        }
        found = self.differs or tuple(told for told, holds in known.items() if holds)
        return ", ".join(found) or "its suite, numerics or surrogate are not the published ones"

    @property
    def best_known(self) -> Interval | None:
        """The lowest number that is known: the worst case, or what others' images left of it."""
        return self.imported[-1].best_known if self.imported else self.worst_case


def train_budget_of(run: Mapping[str, Any], training: Training | None) -> Budget | None:
    """The budget in training, from the whole resolved run; None: nothing was trained here."""
    held = run.get("training", {}).get("budget")
    if held is None or training is None or training.recipe == LOADED:
        return None
    return Budget(Norm(held["norm"]), Fraction(held["eps"]))


def to_json(record: Record) -> str:
    """The record as indented JSON with its digest, and a newline at the end."""
    return sealed(asdict(record))
