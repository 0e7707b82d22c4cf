"""What a defense is made of, which attacks answer it, and which are owed (Tramèr et al., NeurIPS 2020).

Tramèr, Carlini, Brendel & Madry, "On Adaptive Attacks to Adversarial Example Defenses": an attack that was
not made against what a defense does says little about it. Traits are the values of `bench.api.Trait`, as
records keep them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from bench.core.threat import Source

CLIMBS_VICTIM = frozenset({Source.DEPLOYED, Source.BPDA})
"""Whose gradients are the deployed defense's own: successes are known at once, gradients are EOT's means."""

ANSWERED_BY: Mapping[str, str] = {
    "preprocessing": "gradients through the purifier and past it (BPDA)",
    "randomized": "gradients averaged over several samples (EOT)",
    "non-differentiable": "a differentiable stand-in (BPDA), or a search on scores",
    "detector": "an attack that climbs past the detector's suspicion",
    "ensemble": "gradients of all members at once",
    "distance-limited": "gradients of the whole defense, at the distance that the row is about",
}
"""Trait -> what answers it; the defense's own `adaptive_loss`, climbed, answers each of them."""


def owed(traits: Collection[str], answered: Collection[str]) -> tuple[str, ...]:
    """The traits that no attack was made against, in the order of `ANSWERED_BY`.

    >>> owed({"randomized", "detector"}, {"randomized"})
    ('detector',)
    """
    return tuple(trait for trait in ANSWERED_BY if trait in traits and trait not in answered)


def told(traits: Collection[str]) -> str:
    """Traits with what answers each, in one line.

    >>> told(["randomized"])
    'randomized: gradients averaged over several samples (EOT)'
    """
    return "; ".join(f"{trait}: {ANSWERED_BY[trait]}" for trait in ANSWERED_BY if trait in traits)
