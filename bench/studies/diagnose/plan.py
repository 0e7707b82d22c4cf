"""What `bench diagnose` will do: a network, the attack on it, how features are shown, and the id of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from bench.api import Suite, Trial
from bench.attacks.pgd import PGD
from bench.core.encoding import describe
from bench.core.threat import GRAY_BOX_CLASSIFIER, WHITE_BOX
from bench.errors import BadValue
from bench.plan import Request, RunSpec, plan_each
from bench.studies.diagnose.record import Method
from bench.studies.spec import StudySpec

SHOWN = 6
"""Examples whose pictures are kept: the first of each class, as many as there are, then the first others."""

ATTACK = PGD(steps=20, step_size=Fraction(1, 4))

ATTACKS = Suite(
    name="diagnose",
    version=1,
    trials=(Trial("pgd_20", ATTACK, WHITE_BOX), Trial("classifier_pgd_20", ATTACK, GRAY_BOX_CLASSIFIER)),
    examples=200,
)
"""What makes the adversarial images; the second is for purifiers only."""


@dataclass(frozen=True)
class DiagnoseSpec(StudySpec):
    """All that decides one diagnosis."""

    name: ClassVar[str] = "diagnose"

    run: RunSpec
    embedding: Method = "pca"
    stage: int = -1  # whose feature map gives the attention; -1: the last

    def encoded(self) -> dict[str, Any]:
        """As JSON."""
        return {"run": self.run.encoded(), "embedding": self.embedding, "stage": self.stage, "shown": SHOWN}

    @property
    def title(self) -> str:
        """What is measured, as progress says it."""
        return f"looking into {self.run.training.named.label}"


def plan(
    names: Sequence[str], request: Request, embedding: Method = "pca", stage: int = -1
) -> list[DiagnoseSpec]:
    """A diagnosis of each network; names are NAME or NAME@ARCH, the rest is common to all.

    Raises:
        UnknownName, BadValue: a name leads nowhere, or a value cannot be.
    """
    other = [part for part in request.settings if part not in ("defense", "recipe")]
    if other:
        raise BadValue(
            f"--set {other[0]}.… is no part of a diagnosis, whose attack is {describe(ATTACK)}, "
            "expected defense.NAME or recipe.NAME"
        )
    return [DiagnoseSpec(run, embedding, stage) for run in plan_each(names, request, ATTACKS)]
