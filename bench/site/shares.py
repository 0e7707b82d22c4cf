"""Shares as the page writes and draws them, in percent: of one training, and of several seeds."""

from __future__ import annotations

from dataclasses import dataclass

from bench.records.record import Interval
from bench.report.over_seeds import OverSeeds


@dataclass(frozen=True)
class Share:
    """A share in percent: its bar begins at 0 and ends at `at`, its whisker lies from `left` on."""

    value: str
    ends: str  # of its interval, or its deviation over seeds
    told: str  # what the ends are, in words
    at: float
    left: float
    width: float


def share(found: Interval) -> Share:
    """An interval, ready to be drawn."""
    value, low, high = (100 * part for part in (found.value, found.low, found.high))
    told = f"95 % Wilson interval, {found.count} of {found.n}"
    return _drawn(f"{value:.1f}", f"{low:.1f}–{high:.1f}", told, value, low, high)


def over_seeds(found: OverSeeds) -> Share:
    """Mean and standard deviation, ready to be drawn; the whisker is one deviation to each side."""
    value, deviation = 100 * found.value, 100 * (found.deviation or 0.0)
    ends = "one seed" if found.deviation is None else f"± {deviation:.1f}"
    ends += "" if found.n == found.asked else f" ({found.n} of {found.asked})"
    told = f"mean and standard deviation of the sample, {found.n} seeds"
    low, high = max(0.0, value - deviation), min(100.0, value + deviation)
    return _drawn(f"{value:.1f}", ends, told, value, low, high)


def alone(value: float) -> Share:
    """A fraction of which no interval is known."""
    return _drawn(f"{100 * value:.1f}", "", "no interval is known", 100 * value, 100 * value, 100 * value)


def _drawn(value: str, ends: str, told: str, at: float, low: float, high: float) -> Share:
    return Share(value, ends, told, round(at, 2), round(low, 2), round(high - low, 2))
