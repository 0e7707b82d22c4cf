"""Several trained defenses that answer together (Hansen and Salamon, Neural Network Ensembles, TPAMI 1990).

Nothing is trained: each member is a run of its own, and its weights are copied. That members which are weak
alone need not be strong together is the finding of He, Wei, Chen, Carlini, Song, "Adversarial Example
Defenses: Ensembles of Weak Defenses are not Strong", WOOT 2017: an attacker climbs all of them at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.api import Defense, Deployed, FitContext, Objective, Task, Trait
from bench.errors import BadValue

Aggregation = Literal["logits", "probabilities", "vote"]


@dataclass(frozen=True)
class Ensemble:
    """z = mean_m z_m, or log mean_m softmax(z_m), or the class that most members name.

    The same member twice is the same weights twice: members differ by their defense or its parameters, not by
    a seed. An image is refused where any member refuses it, by its detector or by its suspicion.
    """

    paper: ClassVar[str] = "ensemble of trained defenses (no paper)"
    reconstruction: ClassVar[str | None] = None

    members: tuple[Defense | str, ...] = ("pgd_at", "trades")  # typed as pgd_at+trades[beta=3]
    aggregation: Aggregation = "logits"  # vote: most labels, ties by the mean probability

    def __post_init__(self) -> None:
        if len(self.members) < 2:
            count = "one defense" if self.members else "empty"
            raise BadValue(f"members is {count}, expected at least two defenses", "members=pgd_at+trades")

    @property
    def requires(self) -> Mapping[str, Defense | str]:
        """Every member."""
        return {f"member_{place}": member for place, member in enumerate(self.members)}

    def build(self, task: Task) -> nn.Module:
        """The modules of every member."""
        return nn.ModuleList(member.build(task) for member in self._members)

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Take over the members' weights."""
        for place, own in enumerate(cast(nn.ModuleList, net)):
            own.load_state_dict(context.parents[f"member_{place}"].state_dict())

    def deploy(self, net: nn.Module) -> Deployed:
        """Every member as it is deployed, asked together; each view combines the members' views."""
        pairs = zip(self._members, cast(nn.ModuleList, net), strict=True)
        parts = [member.deploy(own) for member, own in pairs]
        whole = [part.predict for part in parts]
        inner = [part.classifier or part.predict for part in parts]
        climbed = [part.attackable or part.predict for part in parts]
        return Deployed(
            predict=Together(whole, self.aggregation),
            classifier=None if inner == whole else Together(inner, self.aggregation),
            attackable=None if climbed == whole else Together(climbed, self.aggregation),
            adaptive_loss=_mean_of([part.adaptive_loss for part in parts]),
            detector=_any_of(parts),
            randomized=any(part.randomized for part in parts),
            eot_samples=max((part.eot_samples for part in parts if part.eot_samples), default=None),
            suspicion=_highest_of(parts),
            declared=tuple(sorted({Trait.ENSEMBLE, *(trait for part in parts for trait in part.traits)})),
        )

    @property
    def _members(self) -> list[Defense]:
        named = [member for member in self.members if isinstance(member, str)]
        if named:
            raise TypeError(f"the member {named[0]!r} is a name, which only bench.plan can resolve")
        return [member for member in self.members if not isinstance(member, str)]


class Together(nn.Module):
    """Networks that answer the same images, and one answer made of theirs."""

    def __init__(self, members: Sequence[nn.Module], aggregation: Aggregation) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.aggregation: Aggregation = aggregation

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K] of x [n, C, H, W] in [0, 1]."""
        return combine([member(x) for member in self.members], self.aggregation)


def combine(logits: Sequence[Tensor], aggregation: Aggregation) -> Tensor:
    """One answer [n, K] from the logits [n, K] of each member.

    A vote is the number of members that name a class, plus half its mean probability: that breaks ties and
    nothing else. It has no gradient; backwards it passes for the logarithm of the mean probability.

    >>> combine([torch.tensor([[0.0, 4.0]]), torch.tensor([[2.0, 0.0]])], "logits")
    tensor([[1., 2.]])
    """
    each = torch.stack([part.float() for part in logits])
    if aggregation == "logits":
        return each.mean(dim=0)
    probable = torch.logsumexp(F.log_softmax(each, dim=-1), dim=0) - math.log(len(logits))
    if aggregation == "probabilities":
        return probable
    named = torch.zeros_like(each).scatter(-1, each.argmax(dim=-1, keepdim=True), 1.0)
    votes = named.sum(dim=0) + probable.exp() / 2
    return probable - probable.detach() + votes.detach()  # the first two cancel exactly


def _mean_of(losses: Sequence[Objective | None]) -> Objective | None:
    """The mean of the members' own adaptive losses; None where one of them states none."""
    stated = [loss for loss in losses if loss is not None]
    if len(stated) < len(losses):
        return None

    def mean(x: Tensor, y: Tensor) -> Tensor:
        return torch.stack([loss(x, y) for loss in stated]).mean(dim=0)

    return mean


def _any_of(parts: Sequence[Deployed]) -> Callable[[Tensor], Tensor] | None:
    """Refuses what any member refuses; None where none has a detector, and suspicions say all there is."""
    if all(part.detector is None for part in parts):
        return None
    refusals = [
        refuses for part in parts if (refuses := part.detector or _beyond(part.suspicion)) is not None
    ]
    return lambda x: torch.stack([refuses(x) for refuses in refusals]).any(dim=0)


def _beyond(suspicion: Callable[[Tensor], Tensor] | None) -> Callable[[Tensor], Tensor] | None:
    """A member that states a suspicion alone refuses what is above 0."""
    return None if suspicion is None else lambda x: suspicion(x) > 0


def _highest_of(parts: Sequence[Deployed]) -> Callable[[Tensor], Tensor] | None:
    """The highest suspicion of any member: above 0 where one refuses; None where a detector states none."""
    stated = [part.suspicion for part in parts if part.suspicion is not None]
    if not stated or any(part.detector is not None and part.suspicion is None for part in parts):
        return None
    return lambda x: torch.stack([suspicion(x) for suspicion in stated]).amax(dim=0)


_: Defense = Ensemble()
