"""What a certificate says of its examples: brackets, sums of the votes, what cannot be, what is empty."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bench.api import Smoothed
from bench.core.threat import format_eps
from bench.records.record import Finding
from bench.runner.summary import interval_of
from bench.studies.certify.plan import CertifySpec, Sampling
from bench.studies.certify.record import ABSTAINED, Bracket, Examples, Smoothing


def told(
    spec: CertifySpec, smoothed: Smoothed | None, examples: Examples, notes: Sequence[str]
) -> dict[str, Any]:
    """The fields of a record that follow from its examples."""
    brackets = tuple(_bracket(spec, examples, place) for place in range(len(spec.radii)))
    sampling = spec.sampling
    counted = None if sampling is None or smoothed is None else _smoothing(sampling, smoothed, examples)
    return {
        "method": spec.method,
        "bounds": spec.bounds,
        "smoothing": counted,
        "suite": spec.run.suite.id,
        "brackets": brackets,
        "findings": tuple(_findings(spec, brackets, examples)),
        "notes": (*_notes(spec, brackets), *notes),
    }


def _bracket(spec: CertifySpec, examples: Examples, place: int) -> Bracket:
    radius = spec.radii[place]
    certified = examples.certified(float(radius), spec.sampling is not None)
    stands = examples.stands[:, place]
    contradicted = examples.contradicted[:, : place + 1].any(axis=1) & certified & ~stands
    return Bracket(
        value=format_eps(radius),
        at=float(radius),
        certified=interval_of(certified),
        stands=interval_of(stands),
        undecided=int((stands & ~certified).sum()),
        contradicted=int(contradicted.sum()),
        by_luck=int((certified & ~stands & ~contradicted).sum()),
    )


def _smoothing(sampling: Sampling, smoothed: Smoothed, examples: Examples) -> Smoothing:
    right = examples.answers == examples.labels
    return Smoothing(
        sigma=smoothed.sigma,
        selection=sampling.selection,
        samples=sampling.samples,
        alpha=float(sampling.alpha),
        abstained=int((examples.answers == ABSTAINED).sum()),
        mean_radius=round(float(np.where(right, examples.radius, 0.0).mean()), 6),
    )


def _findings(spec: CertifySpec, brackets: Sequence[Bracket], examples: Examples) -> Iterator[Finding]:
    """What cannot be: an example that is proven and broken."""
    for place, held in enumerate(brackets):
        if held.contradicted:
            rows = np.flatnonzero(examples.contradicted[:, : place + 1].any(axis=1))
            first = ", ".join(str(number) for number in examples.ids[rows][:5]) + ", ..." * (len(rows) > 5)
            detail = (
                f"{held.contradicted} of {held.certified.n} examples are certified at {_at(spec, held)} and "
                f"were broken there (test images {first}): the certificate or the judge is wrong"
            )
            yield Finding("certified-and-broken", "block", detail)


def _notes(spec: CertifySpec, brackets: Sequence[Bracket]) -> Iterator[str]:
    for held in brackets:
        if not held.certified.count and spec.bounds is not None:
            nobody = f"{spec.bounds} certifies none of {held.certified.n} examples"
            yield f"bounds are empty at {_at(spec, held)}: {nobody}"
        if held.by_luck:
            yield (
                f"at {_at(spec, held)} {held.by_luck} certified examples do not stand by the votes that are "
                "deployed, which are near a half: a certificate is of infinitely many"
            )


def _at(spec: CertifySpec, held: Bracket) -> str:
    return f"{spec.run.budget.norm.value} {held.value}"
