"""Signs that an evaluation was too kind to a defense, computed from its own cells at no further cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from bench.api import Deployed
from bench.core.outcomes import Outcomes
from bench.records.record import Finding

SLACK = 0.01
"""The share of examples by which a weak attack may beat a strong one before it is called a sign."""

ONE_STEP, ITERATIVE = ("fgsm", "noise"), ("pgd", "cw", "apgd", "mi_fgsm")


def from_outcomes(outcomes: Mapping[str, Outcomes], flat: Mapping[str, int]) -> list[Finding]:
    """What the columns of one run say about each other; `flat` counts examples without any gradient."""
    findings: list[Finding] = []
    strong = [name for name in outcomes if name.startswith(ITERATIVE)]
    for weak in (name for name in outcomes if name.startswith(ONE_STEP)):
        if not strong:
            break
        left = np.logical_and.reduce([outcomes[name].robust for name in strong])
        only = int((~outcomes[weak].robust & left).sum())
        if only > SLACK * len(outcomes[weak]):
            detail = (
                f"{weak} breaks {only} of {len(outcomes[weak])} examples that every iterative attack leaves"
            )
            findings.append(Finding("weak-beats-strong", "warn", detail))
    for name, column in outcomes.items():
        findings += _of_column(name, column, flat.get(name, 0))
    return findings


def from_gates(gates: Iterable[str], outcomes: Mapping[str, Outcomes]) -> Iterable[Finding]:
    """Where a probe broke what a sure attack had left: gradients from the clean image mislead."""
    for name in gates:
        probed, broke = broken_by(name, outcomes) if name in outcomes else (0, 0)
        if broke:
            detail = f"{name} breaks {broke} of {probed} examples that the steps before it left"
            yield Finding("gradients-mislead", "warn", detail)


def broken_by(column: str, outcomes: Mapping[str, Outcomes]) -> tuple[int, int]:
    """How many examples a column found standing, and how many of them it broke; columns in their order."""
    names = list(outcomes)
    place, here = names.index(column), outcomes[column]
    found = int((outcomes[names[place - 1]].robust if place else here.correct).sum())
    return found, found - int(here.robust.sum())


def from_network(deployed: Deployed, x: Tensor) -> list[Finding]:
    """What the deployed network itself gives away on a few clean images [n, C, H, W]."""
    network = deployed.predict
    findings: list[Finding] = []
    with torch.no_grad():
        first, second = network(x), network(x)
        alone = torch.cat([network(x[i : i + 1]) for i in range(min(4, len(x)))])
        after_training = [module for module in network.modules() if module.training]
    if not deployed.randomized and not torch.allclose(first, second, atol=1e-5):
        detail = "two calls on the same images disagree, and the defense does not say that it is randomized"
        findings.append(Finding("undeclared-randomness", "block", detail))
    elif not deployed.randomized and not torch.allclose(first[: len(alone)], alone, atol=1e-3, rtol=1e-3):
        detail = "the answer for an image depends on the images beside it: BatchNorm in train mode?"
        findings.append(Finding("batch-dependent", "block", detail))
    if after_training:
        detail = (
            f"{type(after_training[0]).__name__} is in train mode although the defense was put in eval mode"
        )
        findings.append(Finding("train-mode", "block", detail))
    sums = first.sum(dim=1)
    if bool((first >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all()):
        detail = "the outputs are probabilities, not logits: gradients vanish where the network is sure"
        findings.append(Finding("probabilities-for-logits", "warn", detail))
    return findings


def _of_column(name: str, column: Outcomes, flat: int) -> Iterable[Finding]:
    n = len(column)
    attacked = int(column.correct.sum())
    if attacked and flat > 0.1 * attacked:
        detail = f"{name} met only zero gradients on {flat} of {attacked} attacked examples"
        yield Finding("zero-gradients", "warn", detail)
    for code, flags, what in (
        ("left-budget", column.moved, "candidates lay outside budget or box and were projected"),
        ("silent-success", column.lost, "successes were found on the way and not returned"),
        ("not-a-number", column.invalid, "candidates were not numbers"),
    ):
        if int(flags.sum()) > (0 if code == "not-a-number" else SLACK * n):
            yield Finding(code, "warn", f"{name}: {int(flags.sum())} of {n} {what}")
