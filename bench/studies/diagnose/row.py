"""Diagnostics: what papers draw of a network, seen inside a deployed defense, clean and under attack."""

from __future__ import annotations

from bench.studies.study import Figure, Study

STUDY = Study(
    name="diagnose",
    does="Look inside a defense: attention, features, purifier.",
    result="diagnosis",
    former="diagnostics.json",
    results="diagnostics",
    folder="diagnostics",
    writes="the table as markdown, and every figure with its numbers (CSV) and its caption as PNG and PDF",
    example="bench diagnose NAME",
    examples=200,
    figures={
        "attention": Figure("where teacher and student look", "report:attention", together=False),
        "embedding": Figure("features of clean and adversarial images", "report:embedding"),
        "contributions": Figure("how many features count (N_90)", "report:contributions"),
        "purification": Figure("images before and after a purifier", "report:purification", together=False),
        "training": Figure("loss, accuracies and learning rate over epochs", "report:training"),
        "gallery": Figure(
            "images: clean, change, adversarial, purified, and answers", "report:gallery", together=False
        ),
        "landscape": Figure("loss around images, towards an attack and at random", "report:landscape"),
    },
)
