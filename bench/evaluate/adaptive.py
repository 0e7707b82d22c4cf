"""Which trials apply to a defense, and what of a defense each of them was made to get past."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from bench.api import Attack, Deployed, Trait, Trial, nested
from bench.attacks.losses import stands_in
from bench.attacks.norms import norms_of, told
from bench.attacks.others.signature import OthersAttack
from bench.attacks.pgd import PGD
from bench.core.threat import Feedback, Source
from bench.core.traits import CLIMBS_VICTIM
from bench.evaluate.bypass import lends_features, passing_over
from bench.evaluate.engine import Arena


@runtime_checkable
class _Climbs(Protocol):
    """An attack of which a loss is named."""

    @property
    def loss(self) -> str: ...


def why_skipped(trial: Trial, arena: Arena) -> str | None:
    """Why a trial says nothing about this defense; None: it does."""
    deployed, source = arena.deployed, trial.knowledge.gradients
    if arena.budget.norm not in (norms := norms_of(trial.attack)):
        return f"it has {told(norms)}, and the budget's norm is {arena.budget.norm.value}"
    least = max(part.least_classes for part in nested(trial.attack))
    if arena.num_classes < least:
        return f"its loss is defined for {least} classes or more, and there are {arena.num_classes}"
    if source is Source.TWIN and Source.TWIN not in arena.others:
        return "nobody trained a twin of this network"
    if source is Source.CLASSIFIER and deployed.classifier is None:
        return "the defense is its classifier: nothing around it is hidden"
    if source is Source.BPDA and passing_over(deployed) is None:
        return _nothing_to_pass_over(deployed)
    if climbs_own_loss(trial.attack) and (deployed.adaptive_loss is None or source not in CLIMBS_VICTIM):
        return "the defense states no adaptive loss"
    if climbs_suspicion(trial.attack) and (deployed.suspicion is None or source not in CLIMBS_VICTIM):
        return _nothing_suspected(deployed)
    if any(part.of_features for part in nested(trial.attack)):
        climbed = arena.access(trial.knowledge).climbed
        if climbed is None or not lends_features(climbed, arena.num_classes):
            name = "nothing" if climbed is None else type(climbed).__name__
            lacking = f"no forward_features, no linear layer with {arena.num_classes} outputs"
            return f"{name} lends no features: {lacking}"
    return None


def replaced_in(trial: Trial, classes: int) -> str | None:
    """That another loss stands in for one of ours which so few classes leave undefined; None: none does."""
    for loss in filter(None, map(_own_loss, nested(trial.attack))):
        if (other := stands_in(loss, classes)) is not None:
            return f"{trial.column}: with {classes} classes {loss} is not defined; it climbs {other}"
    return None


def answered_by(trial: Trial, arena: Arena, climbed: bool) -> frozenset[Trait]:
    """The traits of a defense that a trial was made to get past; `climbed`: it asked for gradients."""
    deployed, access = arena.deployed, arena.access(trial.knowledge)
    own, end_to_end = climbs_own_loss(trial.attack), access.climbs_victim and climbed
    stand_in = end_to_end and (trial.knowledge.gradients is Source.BPDA or deployed.attackable is not None)
    searches = trial.knowledge.gradients is Source.NOTHING and trial.knowledge.feedback is Feedback.LOGITS
    got_past = {
        Trait.PREPROCESSING: own or stand_in,
        Trait.NON_DIFFERENTIABLE: own or stand_in or searches,
        Trait.RANDOMIZED: end_to_end and access.samples > 1,
        Trait.DETECTOR: own or climbs_suspicion(trial.attack),
        Trait.ENSEMBLE: end_to_end,
        Trait.DISTANCE_LIMITED: end_to_end,
    }
    return frozenset(trait for trait in deployed.traits if got_past[trait])


def climbs_own_loss(attack: Attack) -> bool:
    """Whether an attack, or one that it is made of, climbs the defense's `adaptive_loss`."""
    return any(part.climbs_adaptive_loss for part in nested(attack))


def climbs_suspicion(attack: Attack) -> bool:
    """Whether an attack, or one that it is made of, climbs past a detector's suspicion."""
    return any(part.of_suspicion for part in nested(attack))


def _own_loss(attack: Attack) -> str | None:
    """Which loss of our tables an attack of ours climbs; None: it is not ours, or climbs none."""
    match attack:
        case OthersAttack():
            return None
        case PGD(loss=loss, target=target) if target != "none":
            return f"targeted_{loss}"
        case _Climbs(loss=str() as loss) if type(attack).__module__.startswith("bench.attacks."):
            return loss
    return None


def _nothing_to_pass_over(deployed: Deployed) -> str:
    if Trait.PREPROCESSING not in deployed.traits:
        return "nothing is done to the images before the classifier, so there is nothing to pass over"
    return "the defense states neither its purifier and classifier nor an attackable stand-in"


def _nothing_suspected(deployed: Deployed) -> str:
    if deployed.detector is None:
        return "the defense refuses nothing"
    return "the detector says yes or no: without a suspicion, its refusals have no gradient to climb"
