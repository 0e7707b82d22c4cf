"""How a control is judged: by `bench run`, and by `bench audit` of the record that it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zoo.animals import Control

from bench.api import Suite
from bench.core.progress import Progress, Silent
from bench.core.rules import RULE_OF, RULES
from bench.core.threat import Budget, Norm
from bench.plan import OF_ATTACKS, Request, RunSpec, plan_training
from bench.records.record import Record
from bench.records.store import Store
from bench.runner.audit import audit
from bench.runner.options import Options
from bench.runner.run import run

EXAMPLES = 100
"""Of the digits."""


@dataclass(frozen=True)
class Judged:
    """What was found about a control."""

    control: Control
    record: Record
    raised: frozenset[str]  # codes of findings, of the run and of the audit

    @property
    def missed(self) -> frozenset[str]:
        """Codes that name its fault and were not raised."""
        return frozenset(self.control.codes) - self.raised

    @property
    def false_alarms(self) -> frozenset[str]:
        """Codes that were raised and are no true sign of it."""
        return self.raised - {*self.control.codes, *self.control.also}


def judge(
    control: Control,
    store: Path,
    *,
    stale: Literal["refuse", "rerun", "accept"] = "refuse",
    progress: Progress | None = None,
) -> Judged:
    """Run a control on the digits as `bench run` does, and audit what came of it.

    A run of which a column failed is not stored, so there is nothing to audit: that column is its sentence.
    """
    options = Options(Store(store), stale=stale, progress=progress or Silent())
    record = run(spec_of(control), options)
    raised = {finding.code for finding in record.findings}
    if control.is_audited and record.status == "complete":
        record = audit(record, options)
        raised |= signs(record)
    return Judged(control, record, frozenset(raised))


def spec_of(control: Control) -> RunSpec:
    """What `bench run` is asked to do with it."""
    budget = Budget(Norm.LINF, control.eps)
    request = Request(
        defense=control.defense,
        settings={"recipe": {"epochs": str(control.epochs)}, "defense": control.fields},
        train_budget=budget,
    )
    suite = Suite(OF_ATTACKS, 1, control.trials, examples=EXAMPLES)
    return RunSpec(plan_training(request), suite, budget)


def signs(record: Record) -> set[str]:
    """The codes of the rules that an audit found broken; of a rule with several, the first.

    A15 stays open where the attack that it asks for was not made: that is the fault.
    """
    told = {RULE_OF[finding.code] for finding in record.findings if finding.code in RULE_OF}
    broken = {check.rule for check in record.audit if check.verdict == RULES[check.rule].severity}
    found = {RULES[rule].codes[0] for rule in broken - told - {"A15"} if RULES[rule].codes}
    if "A15" in broken:
        found.add("adaptive-is-weaker")
    if any(check.rule == "A15" and check.verdict == "open" for check in record.audit):
        found.add("no-adaptive-attack")
    return found
