"""What detectors established, as the fields of a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.api import Trial
from bench.core import detection as metrics
from bench.core.encoding import describe
from bench.core.outcomes import REFUSED, Outcomes
from bench.core.threat import format_eps
from bench.data.catalog import source
from bench.records.documents import sha256
from bench.records.presets import without_preset
from bench.runner.subject import Subject
from bench.runner.summary import interval_of, training_of
from bench.studies.detect.plan import DetectSpec
from bench.studies.detect.record import (
    Area,
    Attacked,
    Calibration,
    Claimed,
    Guard,
    Scores,
    Separation,
)
from bench.suites.detection import COMPARED, PUBLISHED, Protocol


@dataclass(frozen=True)
class Found:
    """All that was computed, by the name of the set of images or of the detector."""

    subject: Subject
    sets: Mapping[str, Scores]  # validation, clean, and each unseen attack
    thresholds: Mapping[str, float]  # in the order of the scores
    aware: Mapping[str, Outcomes | str]  # or why there is none
    left_out: Mapping[str, str]
    chosen_on: Calibration


def fields_of(spec: DetectSpec, found: Found, content: bytes) -> dict[str, Any]:
    """The fields of a detection besides its heading; `content` is the file of its scores."""
    run, protocol = spec.run, spec.protocol
    unseen = [trial.column for trial in spec.unseen]
    subject = found.subject
    return {
        "suite": run.suite.id,
        "custom": spec.custom,
        "fit_examples": min(protocol.fit_examples, len(subject.data.train)),
        "validation_examples": len(found.sets["validation"].ids),
        "false_positives": format_eps(protocol.false_positives),
        "attacks": tuple(_attacked(found, trial) for trial in spec.unseen),
        "aware_attack": describe(spec.aware.attack),
        "guards": tuple(
            _guard(found, place, name, unseen, protocol) for place, name in enumerate(found.thresholds)
        ),
        "separations": tuple(separated(found, unseen)),
        "claim": None if spec.custom else _claim(found),
        "left_out": dict(found.left_out),
        "training": training_of(run, subject.trained, subject.net),
        "scores_sha256": sha256(content),
        "chosen_on": found.chosen_on,
    }


def separated(found: Found, unseen: Sequence[str]) -> list[Separation]:
    """Every detector on every attack in both tasks; against successes alone where attacks are to be found."""
    clean, rows = found.sets["clean"], []
    was_right = clean.classes == clean.labels
    for place, detector in enumerate(found.thresholds):
        for attack in unseen:
            adv = found.sets[attack]
            right = adv.classes == adv.labels
            before, after = clean.scores[place], adv.scores[place]
            ids, both = clean.ids, np.concatenate([clean.ids, adv.ids])
            joined, correct = np.concatenate([before, after]), np.concatenate([was_right, right])
            fooled = was_right & ~right & (adv.classes != REFUSED)
            rows += [
                _separation(detector, attack, "adversarial", "all", after, before, ids, ids),
                _separation(
                    detector, attack, "adversarial", "successes", after[fooled], before, ids[fooled], ids
                ),
                _separation(
                    *(detector, attack, "wrong", "all"),
                    *(joined[~correct], joined[correct], both[~correct], both[correct]),
                ),
            ]
    return rows


def _separation(
    detector: str,
    attack: str,
    task: Any,
    images: Any,
    positives: NDArray[np.float64],
    negatives: NDArray[np.float64],
    positive_ids: NDArray[np.int64],
    negative_ids: NDArray[np.int64],
) -> Separation:
    m, n = len(positives), len(negatives)
    if not m or not n:
        return Separation(detector, attack, task, images, m, n, None, None, None, None)
    area = metrics.auroc(positives, negatives, positive_ids, negative_ids)
    return Separation(
        *(detector, attack, task, images, m, n),
        auroc=Area(round(area.value, 6), round(area.low, 6), round(area.high, 6)),
        aupr=round(metrics.average_precision(positives, negatives), 6),
        aupr_negatives=round(metrics.average_precision(-negatives, -positives), 6),
        fpr95=round(metrics.false_positives_at(positives, negatives), 6),
    )


def _guard(found: Found, place: int, name: str, unseen: Sequence[str], protocol: Protocol) -> Guard:
    clean, threshold = found.sets["clean"], found.thresholds[name]
    refused = clean.scores[place] > threshold
    held = (clean.classes == clean.labels) & ~refused
    robust = {}
    for attack in unseen:
        adv = found.sets[attack]
        turned_away = (adv.scores[place] > threshold) | (adv.classes == REFUSED)
        robust[attack] = held & ((adv.classes == adv.labels) | turned_away)
    aware = found.aware[name]
    known = aware.robust if isinstance(aware, Outcomes) else None
    worst = np.logical_and.reduce([*robust.values(), *([] if known is None else [known])])
    detector = protocol.detectors.get(name)
    return Guard(
        detector=name,
        fitted="the defense's own" if detector is None else f"{describe(detector)}, {detector.paper}",
        threshold=threshold,
        validation_refused=interval_of(found.sets["validation"].scores[place] > threshold),
        clean_refused=interval_of(refused),
        clean=interval_of(held),
        robust={attack: interval_of(each) for attack, each in robust.items()},
        aware=None if known is None else interval_of(known),
        worst=interval_of(worst),
        left_out=aware if isinstance(aware, str) else None,
    )


def _attacked(found: Found, trial: Trial) -> Attacked:
    """An attack, and what the network keeps under it without any detector."""
    robust = interval_of(_plain(found, trial.column))
    return Attacked(trial.column, describe(trial.attack), trial.knowledge.label, robust)


def _plain(found: Found, attack: str) -> NDArray[np.bool_]:
    """Right when clean and under an attack, or refused by the defense itself: no other detector."""
    clean, adv = found.sets["clean"], found.sets[attack]
    held: NDArray[np.bool_] = (adv.classes == adv.labels) | (adv.classes == REFUSED)
    right: NDArray[np.bool_] = clean.classes == clean.labels
    return held & right


def _claim(found: Found) -> Claimed | None:
    """What was published of this defense on this data set, at its customary budget."""
    run = found.subject.spec
    data = found.subject.data.name
    claim = PUBLISHED.get((data, without_preset(run.training.named.label, data)))
    if claim is None or run.budget != source(run.training.data).budget:
        return None
    detector, attack, task = COMPARED
    if detector not in found.thresholds:
        return None
    return Claimed(claim.auroc, claim.source, claim.reconstruction, detector, attack, task)
