"""Detection: detectors before a defense, attacks that they never saw, and an attacker who knows them."""

from __future__ import annotations

from bench.studies.study import Figure, Study

STUDY = Study(
    name="detect",
    does="Do detectors find attacks, and what if attackers know them?",
    result="detection",
    results="detections",
    folder="detection",
    writes="the tables as CSV and markdown, and the ROC curves",
    example="bench detect NAME",
    figures={
        "roc": Figure(
            "what detectors find against what they flag in error", "report:roc_curves", together=False
        )
    },
)
