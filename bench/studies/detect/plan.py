"""What `bench detect` will do: a network, attacks on it, detectors, and the one id of all that."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from bench.api import Suite, Trial
from bench.attacks.others.signature import column_of
from bench.core.encoding import encode, override
from bench.core.exact import exact
from bench.core.grammar import variant
from bench.core.threat import WHITE_BOX
from bench.errors import BadValue, unknown
from bench.evaluate.detectors import Detector
from bench.evaluate.numerics import Numerics
from bench.plan import Request, RunSpec, attack_named, plan_each
from bench.studies.spec import StudySpec
from bench.suites.detection import AWARE, DETECTION, DETECTORS, Protocol


@dataclass(frozen=True)
class DetectSpec(StudySpec):
    """All that decides one detection record."""

    name: ClassVar[str] = "detect"

    run: RunSpec
    protocol: Protocol

    def encoded(self) -> dict[str, Any]:
        """As JSON."""
        return {"run": self.run.encoded(), "protocol": encode(self.protocol)}

    @property
    def title(self) -> str:
        """What is measured, as progress says it."""
        return f"{self.run.training.named.label} {self.run.suite.id}"

    @property
    def unseen(self) -> tuple[Trial, ...]:
        """What makes images that no detector was fitted on."""
        return tuple(trial for trial in self.run.suite.trials if trial.column != AWARE)

    @property
    def aware(self) -> Trial:
        """What attacks the defense and a detector together."""
        return next(trial for trial in self.run.suite.trials if trial.column == AWARE)

    @property
    def custom(self) -> bool:
        """Whether attacks, detectors or numerics differ from what is published; the number of images may."""
        suite = dataclasses.replace(self.run.suite, examples=DETECTION.examples)
        other = self.run.numerics != Numerics() or self.run.checkpoint != "best"
        return suite != DETECTION or self.protocol != Protocol() or other


def plan(
    names: Sequence[str],
    request: Request,
    detectors: Sequence[str] = (),
    attacks: Sequence[str] = (),
    fpr: str | None = None,
    fit_examples: int | None = None,
) -> list[DetectSpec]:
    """A detection for each network; names are NAME or NAME@ARCH, detectors NAME or NAME[field=value].

    Raises:
        UnknownName, BadValue: a name leads nowhere, or a value cannot be.
    """
    protocol = _protocol(detectors, fpr, fit_examples)
    return [DetectSpec(run, protocol) for run in plan_each(names, request, _suite(attacks))]


def _protocol(detectors: Sequence[str], false_positives: str | None, fit_examples: int | None) -> Protocol:
    """The protocol of detection@1, with what a user changes."""
    usual = Protocol()
    rate = usual.false_positives
    if false_positives is not None:
        try:
            rate = exact(false_positives)
        except ValueError:
            rate = Fraction(-1)
        if not 0 < rate < 1:
            raise BadValue(
                f"--fpr is {false_positives!r}, expected a share of clean images between 0 and 1",
                "--fpr 0.05",
            )
    chosen = dict(_detector(text) for text in detectors) if detectors else dict(DETECTORS)
    if len(chosen) < len(detectors):
        raise BadValue(f"--detector gives {detectors[-1]!r} twice, expected every detector once")
    return dataclasses.replace(
        usual,
        detectors=chosen,
        false_positives=rate,
        fit_examples=usual.fit_examples if fit_examples is None else fit_examples,
    )


def _suite(attacks: Sequence[str]) -> Suite:
    """The attacks; named ones take the place of the unseen ones of detection@1."""
    trials: dict[str, Trial] = {}
    for name in attacks:
        chosen, column = attack_named(name), column_of(name)
        if column in trials or column in (AWARE, "clean", "validation"):
            raise BadValue(f"--attack gives the column {column}, which is there already, expected another")
        trials[column] = Trial(column, chosen, WHITE_BOX)
    if not trials:
        return DETECTION
    aware = next(trial for trial in DETECTION.trials if trial.column == AWARE)
    return dataclasses.replace(DETECTION, trials=(*trials.values(), aware))


def _detector(text: str) -> tuple[str, Detector]:
    name, settings = variant(text, "the detector", "--detector knn")
    if name not in DETECTORS:
        raise unknown("detector", name, DETECTORS)
    try:
        changed: Detector = override(DETECTORS[name], settings)
    except BadValue as error:  # it would name the option --set
        raise BadValue(f"--detector {text!r}: {error.message}", f"--detector {name}") from None
    return text.strip() if settings else name, changed
