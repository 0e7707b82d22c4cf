"""What a program gives as the words of a command, so that its options check and type them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

from bench.core.progress import Progress, Silent
from bench.core.threat import format_eps

FINEST = 10_000
"""The largest denominator of a radius that is taken for a fraction: 8 / 255 is 8/255, not 0.0313725."""


def settings_of(settings: Mapping[str, object] | None) -> list[str]:
    """What `--set` is given for {"defense.margin": 0.05}."""
    return [f"{key}={_text(value)}" for key, value in (settings or {}).items() if value is not None]


def radius(eps: object) -> str | None:
    """A radius as it is typed; a float that is a fraction becomes that fraction again.

    >>> radius(8 / 255), radius(0.3), radius("8/255"), radius(None)
    ('8/255', '0.3', '8/255', None)
    """
    if not isinstance(eps, float) or not math.isfinite(eps):
        return None if eps is None else str(eps)
    near = Fraction(str(eps)).limit_denominator(FINEST)
    return format_eps(near) if float(near) == eps else str(eps)


def progress_of(shown: bool) -> Progress | None:
    """Where work is told of: on the terminal, which is the default, or nowhere."""
    return None if shown else Silent()


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
