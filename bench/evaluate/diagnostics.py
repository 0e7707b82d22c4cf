"""Signs that an evaluation was too kind to a defense, computed from its own cells at no further cost."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from bench.api import Deployed
from bench.core.credit import broken, met
from bench.core.metrics import below_chance, favourite, reordered, withheld
from bench.core.outcomes import REFUSED, Outcomes
from bench.core.threat import Budget, Norm
from bench.evaluate import checks, consistency
from bench.nn.tf32 import tf32
from bench.records.record import Finding

SLACK = 0.01
"""The share of examples by which a weak attack may beat a strong one before it is called a sign."""

ONE_STEP, ITERATIVE = ("fgsm", "noise"), ("pgd", "cw", "apgd", "mi_fgsm")
AT_LEAST = 3
"""Examples that must fall so, besides SLACK of what was met, before gradients are blamed: one may be luck."""

QUERYING = ("square", "nes", "simba", "hop_skip_jump", "rays", "transfer")

FEW = 0.002
"""The share of examples that an attacker who knows less may break alone; one example always may be."""


RESISTS, LEAVES = 0.5, 0.25
"""Shares: what one step leaves of the examples, at least; what iterative attacks leave of that, at most."""


def from_outcomes(
    outcomes: Mapping[str, Outcomes], flat: Mapping[str, int], climbing: Container[str] = ()
) -> list[Finding]:
    """What the columns of one run say about each other; `flat` counts examples without any gradient.

    `climbing` are columns that climb the defense from the clean images on, whatever they are called.
    """
    findings: list[Finding] = [*_by_one_answer(outcomes)]
    strong = [name for name in outcomes if name.startswith(ITERATIVE)]
    for weak in (name for name in outcomes if name.startswith(ONE_STEP)):
        if not strong:
            break
        left = np.logical_and.reduce([outcomes[name].robust for name in strong])
        only = int((broken(outcomes[weak]) & left).sum())
        if only > SLACK * len(outcomes[weak]):
            detail = (
                f"{weak} breaks {only} of {len(outcomes[weak])} examples that every iterative attack leaves"
            )
            findings.append(Finding("weak-beats-strong", "warn", detail))
    if strong:
        findings += [*_by_less(outcomes, climbing), *_by_one_step(outcomes, strong)]
    for name, column in outcomes.items():
        findings += _of_column(name, column, flat.get(name, 0))
    return findings


def from_order(outcomes: Mapping[str, Outcomes], classes: int, of_others: bool = False) -> Iterable[Finding]:
    """Where clean answers are those of a network whose classes are in another order than the data's.

    `of_others`: the user can say what the outputs are.
    """
    advice = ": if its outputs are in another order, --classes FILE names them" * of_others
    for column in list(outcomes.values())[:1]:  # clean answers are those of every column
        n, right = int((column.clean != REFUSED).sum()), int(column.correct.sum())
        other = reordered(column)
        if n and below_chance(right, n, classes):
            detail = f"{right} of {n} clean images are right, and a guess among {classes} classes makes it "
            yield Finding("classes-permuted", "warn", f"{detail}{n / classes:.0f}{advice}")
        elif other is not None and other.is_better:
            detail = (
                f"{other.right} of {other.n} clean images are right, and {other.right_then} were if the "
                "classes had the order that suits the answers to the other images"
            )
            yield Finding("classes-permuted", "warn", f"{detail}{advice}")


def from_gates(gates: Iterable[str], outcomes: Mapping[str, Outcomes]) -> Iterable[Finding]:
    """Where a probe broke much that a sure attack had left: gradients from the clean image mislead."""
    for name in gates:
        probed, broke = broken_by(name, outcomes) if name in outcomes else (0, 0)
        if broke >= AT_LEAST and broke > SLACK * probed:
            detail = f"{name} breaks {broke} of {probed} examples that the steps before it left"
            yield Finding("gradients-mislead", "warn", detail)


def from_scouts(scouts: Sequence[str], outcomes: Mapping[str, Outcomes]) -> Iterable[Finding]:
    """Where random search broke much that attackers who climb, put on the same examples, left."""
    searching = [
        name for name in scouts if outcomes[name].backwards.sum() < outcomes[name].forwards.sum() / 5
    ]
    climbing = [broken(outcomes[name]) for name in scouts if name not in searching]
    if not climbing:
        return
    for name in searching:
        probed, _ = broken_by(name, outcomes)
        alone = int((broken(outcomes[name]) & ~np.logical_or.reduce(climbing)).sum())
        if alone >= AT_LEAST and alone > SLACK * probed:
            detail = f"{name} breaks {alone} of {probed} examples that those beside it who climb leave"
            yield Finding("gradients-mislead", "warn", detail)


def from_lending(outcomes: Mapping[str, Outcomes], shared: Mapping[str, int]) -> Iterable[Finding]:
    """Where other people's attacks asked about images that several examples could be changed into."""
    for name, count in shared.items():
        if count:
            detail = (
                f"{name}: on {count} of {int(outcomes[name].correct.sum())} attacked examples it asked about "
                "images that are within the radius of another's clean image as well; whose they were is a "
                "guess, so who was charged for them may be wrong (--set suite.chunk=1: each example alone)"
            )
            yield Finding("shared-images", "warn", detail)


def broken_by(column: str, outcomes: Mapping[str, Outcomes]) -> tuple[int, int]:
    """How many examples a column found standing, and how many of them it broke."""
    return int(met(outcomes[column]).sum()), int(broken(outcomes[column]).sum())


@tf32(False)
def from_network(
    deployed: Deployed,
    x: Tensor,
    y: Tensor | None = None,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> list[Finding]:
    """What the deployed network itself gives away on a few clean images [n, C, H, W].

    Whether they come scaled as it wants them is seen by their labels [n] and the data's mean and std of each
    channel; None: it is not looked at.
    """
    both = torch.cat([x, consistency.nearby(x)])  # a defense may treat what no camera made in its own way
    findings = [
        *checks.steadiness(deployed, both),
        *checks.numbers(deployed, both),
        *checks.outputs(deployed, x),
    ]
    steady = not deployed.randomized and not any(f.code == "undeclared-randomness" for f in findings)
    if y is not None and steady:  # else two calls differ by more than the scaling
        findings += checks.scaling(deployed, x, y, mean, std)
    findings += [*checks.slopes(deployed, x), *checks.labour(deployed, both[[0, -1]])]
    if any(finding.severity == "block" for finding in findings):
        return findings  # no one function answers, so no slope of it can be measured
    return [*findings, *consistency.whoever_asks(deployed, both), *consistency.own_slope(deployed, x)]


@tf32(False)
def from_history(deployed: Deployed, fresh: Deployed, x: Tensor) -> list[Finding]:
    """What the attacks changed in a defense, by one that was deployed anew, on images [n, C, H, W]."""
    return [*consistency.whatever_was_asked(deployed, fresh, x)]


def from_budget(outcomes: Mapping[str, Outcomes], budget: Budget) -> Iterable[Finding]:
    """Images that were judged although they lie outside the budget: a fault of the harness itself."""
    for name, column in outcomes.items():
        # eps as the projection knows it, in float32, and the rounding there: of one subtraction, or of all
        rounding = 1e-6 if budget.norm is Norm.LINF else 1e-5
        outside = int((column.distance > budget.radius * (1 + 1e-6) + rounding).sum())
        if outside:
            detail = f"{name}: {outside} of {len(column)} judged images lie outside {budget.label}"
            yield Finding("outside-budget", "block", detail)


def _by_one_answer(outcomes: Mapping[str, Outcomes]) -> Iterable[Finding]:
    """A network that answers one class to nearly everything: no attack can take what it never told apart."""
    for column in list(outcomes.values())[:1]:  # clean answers are those of every column
        held = favourite(column)
        if held is not None and held.is_all:
            detail = (
                f"the network answers class {held.answer} to {held.given} of {len(column)} clean images, and "
                f"to {held.caught} of the {held.others} that are of other classes: what stands under attack "
                "is the share of that class, and no robustness"
            )
            yield Finding("one-answer", "block", detail)


def _by_less(outcomes: Mapping[str, Outcomes], climbing: Container[str]) -> Iterable[Finding]:
    """What a query or transfer attack breaks, and nothing that came before it or sees gradients."""
    names = list(outcomes)
    for place, name in enumerate(names):
        if not name.startswith(QUERYING):
            continue
        seeing = [n for i, n in enumerate(names) if n.startswith(ITERATIVE) or n in climbing or i < place]
        left = np.logical_and.reduce([outcomes[n].robust for n in seeing if not n.startswith(QUERYING)])
        only = int((left & broken(outcomes[name])).sum())
        if only > max(1, FEW * len(left)):
            detail = f"{name} breaks {only} of {len(left)} examples that every attack by gradients leaves"
            yield Finding("black-box-beats-white-box", "warn", detail)


def _by_one_step(outcomes: Mapping[str, Outcomes], strong: Sequence[str]) -> Iterable[Finding]:
    """A network that stands against one step and against nothing else: it was overfitted to that step."""
    if "fgsm" not in outcomes:
        return
    one = outcomes["fgsm"]
    left = np.logical_and.reduce([outcomes[name].robust for name in strong])
    attacked, held, kept = int(met(one).sum()), int(one.robust.sum()), int((one.robust & left).sum())
    if held > RESISTS * attacked and kept < LEAVES * held:
        detail = (
            f"fgsm leaves {held} of {attacked} examples, and iterative attacks leave {kept} of those: the "
            "network resists a single step and nothing else (catastrophic overfitting, or masked gradients?)"
        )
        yield Finding("one-step-overfitted", "warn", detail)


def _of_column(name: str, column: Outcomes, flat: int) -> Iterable[Finding]:
    n = len(column)
    attacked = int(met(column).sum())
    if attacked and flat > 0.1 * attacked:
        detail = f"{name} met only zero gradients on {flat} of {attacked} attacked examples"
        yield Finding("zero-gradients", "warn", detail)
    for code, flags, what in (
        ("left-budget", column.moved, "candidates lay outside budget or box and were projected"),
        ("silent-success", withheld(column), "successes were found on the way and not returned"),
        ("not-a-number", column.invalid, "candidates were not numbers"),
    ):
        if int(flags.sum()) > (0 if code == "not-a-number" else SLACK * n):
            yield Finding(code, "warn", f"{name}: {int(flags.sum())} of {n} {what}")
