"""How a control is judged: by `bench run`, and by `bench audit` of the record that it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from zoo.animals import Control

from bench.api import Suite
from bench.attacks.streams import seeded
from bench.audit.audit import audit
from bench.core.progress import Progress, Silent
from bench.core.seeds import seed_for
from bench.core.threat import Budget, Norm
from bench.plan import OF_ATTACKS, Request, RunSpec, plan_training
from bench.records.record import Record
from bench.records.rules import RULE_OF, RULES
from bench.records.store import Store
from bench.runner.options import Options
from bench.runner.run import run

EXAMPLES = 100
"""Of the digits."""


@dataclass(frozen=True)
class Judged:
    """What was found about a control whose network was trained, attacked and audited from one seed."""

    control: Control
    seed: int
    told: Mapping[str, str]  # code -> what the finding said, of the run and of the audit

    @property
    def raised(self) -> frozenset[str]:
        """The codes of all findings."""
        return frozenset(self.told)

    @property
    def missed(self) -> frozenset[str]:
        """Codes that name its fault and were not raised."""
        return frozenset(self.control.codes) - self.raised

    @property
    def false_alarms(self) -> frozenset[str]:
        """Codes that were raised and are no true sign of it."""
        return self.raised - {*self.control.codes, *self.control.also}


def judge(control: Control, store: Path, seed: int = 0, progress: Progress | None = None) -> Judged:
    """Run a control on the digits as `bench run --rerun` does, and audit what came of it.

    The seed decides the network's training, every attack (a run's streams have its name, in which the seed
    is), and what an undeclared randomness draws. Networks are taken from the store; attacks are not, for what
    a control remembers of them is part of what is looked at. A run of which a column failed is not stored, so
    there is nothing to audit: that column is its sentence.
    """
    options = Options(Store(store), stale="rerun", progress=progress or Silent())
    with seeded(seed_for("control", control.name, seed), torch.device("cpu")):
        record = run(spec_of(control, seed), options)
        if control.is_audited and record.status == "complete":
            record = audit(record, options)
    told = {finding.code: finding.detail for finding in record.findings}
    return Judged(control, seed, {**signs(record), **told})


def spec_of(control: Control, seed: int = 0) -> RunSpec:
    """What `bench run` is asked to do with it."""
    budget = Budget(Norm.LINF, control.eps)
    request = Request(
        defense=control.defense,
        settings={"recipe": {"epochs": str(control.epochs)}, "defense": control.fields},
        train_budget=budget,
        seed=seed,
    )
    suite = Suite(OF_ATTACKS, 1, control.trials, examples=EXAMPLES)
    return RunSpec(plan_training(request), suite, budget)


def signs(record: Record) -> dict[str, str]:
    """The codes of the rules that an audit found broken, and what it said; the first where it names none.

    A15 stays open where the attack that it asks for was not made: that is the fault.
    """
    named = {RULE_OF[finding.code] for finding in record.findings if finding.code in RULE_OF}
    found = {}
    for check in record.audit:
        rule = RULES[check.rule]
        if check.rule == "A15" and check.verdict in ("open", rule.severity):
            found["no-adaptive-attack" if check.verdict == "open" else "adaptive-is-weaker"] = check.detail
        elif check.verdict == rule.severity and check.rule not in named and rule.codes:
            said = check.detail.partition(": ")[0]
            found[said if said in rule.codes else rule.codes[0]] = check.detail
    return found
