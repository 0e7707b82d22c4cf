"""What a user can get wrong: one sentence each, with what was expected and what to type next."""

from __future__ import annotations


class BenchError(Exception):
    """A mistake that its user can mend; printed without a traceback, exit code 2.

    >>> print(BenchError("eps is '8/25x', expected a number like 8/255 or 0.03", "bench run --eps 8/255"))
    eps is '8/25x', expected a number like 8/255 or 0.03; try: bench run --eps 8/255
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; try: {self.hint}" if self.hint else self.message


class UnknownName(BenchError):
    """A name that no table holds."""


class BadValue(BenchError):
    """A parameter outside its range or of the wrong type."""


class BadData(BenchError):
    """A data set that is missing, unreadable, or not images in [0, 1] with labels."""


class BadCheckpoint(BenchError):
    """Weights that cannot be read or do not fit the network."""


class StaleRecord(BenchError):
    """A record whose code has changed since it was made."""


class MissingExtra(BenchError):
    """An optional package that is not installed."""


class TrainingFailed(BenchError):
    """Training stopped by its guard: diverged, not a number, or catastrophically overfitted."""


class AccessDenied(Exception):
    """An attack asked its oracle for what its knowledge forbids: a fault of the attack, not of the user."""


class QueriesSpent(AccessDenied):
    """An attack asked for more answers than its knowledge allows."""
