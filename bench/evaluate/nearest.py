"""A trial that goes on after the first success: its distances are those of the nearest mistakes found."""

from __future__ import annotations

from dataclasses import dataclass

from bench.api import Attack, Trial
from bench.core.threat import Feedback, Knowledge, Source


@dataclass(frozen=True)
class Nearest(Trial):
    """A trial of an attack that looks for the nearest mistake of each example.

    Nothing is ever known to be broken, so the attack spends all its steps. Of all images that it asks about
    or returns, projected to the budget, the referee keeps the nearest that fools the defense. Who is broken
    is the same as in other trials; distances are, too, what they are elsewhere called: of the judged image.
    """


def goes_on(attack: Attack, knowledge: Knowledge) -> bool:
    """Whether an attack that is named alone is worth going on with after its first success.

    An attack says so by `minimal`. Where every query counts, the first success is what was asked for; where
    the defense answers nothing, nothing is ever confirmed anyway.
    """
    sees = knowledge.feedback is Feedback.LOGITS and knowledge.gradients is not Source.NOTHING
    return attack.minimal and sees
