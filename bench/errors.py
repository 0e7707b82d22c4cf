"""What a user can get wrong: one sentence each, with what was expected and what to type next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """A mistake that its user can mend; printed without a traceback, exit code 2.

    >>> print(BenchError("eps is '8/25x', expected a number like 8/255 or 0.03", "bench run --eps 8/255"))
    eps is '8/25x', expected a number like 8/255 or 0.03; try: bench run --eps 8/255
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = _sentence(message)
        self.hint = None if hint is None else _sentence(hint)

    def __str__(self) -> str:
        return f"{self.message}; try: {self.hint}" if self.hint else self.message


def _sentence(text: str) -> str:
    r"""The text in one line of printable letters, its middle left out where it is too long to be read.

    >>> print(_sentence("a\nb\x1b[31m é"))
    a\nb\x1b[31m é
    """
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST - _END]}[...]{text[-_END:]}"


LONGEST, _END = 3000, 800
"""Letters of a sentence, and how many of its end are kept: what was typed may stand in it."""


class UnknownName(BenchError):
    """A name that no table holds."""


def near(name: str, known: Iterable[str]) -> str | None:
    """The known name that a mistyped one resembles most, whatever its capitals; None: it resembles none.

    >>> near("PDG", ["fgsm", "pgd"]), near("pgd", ["square"])
    ('pgd', None)
    """
    plain = {other.lower(): other for other in known}
    found = difflib.get_close_matches(name.lower(), plain, n=1)
    return plain[found[0]] if found else None


def unknown(
    kind: str,
    name: str,
    known: Iterable[str],
    *,
    owner: str | None = None,
    prefix: str = "",
    hint: str | None = None,
) -> UnknownName:
    """The error for a name that no table holds: what was meant, else where or which the names are.

    `owner` is what holds the names, `prefix` what is typed before each, `hint` the command that lists them.

    >>> print(unknown("attack", "pdg", ["pgd", "square"]))
    no attack is named 'pdg'; did you mean 'pgd'?
    >>> print(unknown("recipe", "quick", ["paper", "short"], owner="cifar10"))
    cifar10 has no recipe 'quick', expected one of paper, short
    >>> print(unknown("defense", "x", ["pgd_at"], hint="bench list defenses"))
    no defense is named 'x'; try: bench list defenses
    """
    names = list(known)
    meant = near(name, names)
    wrong = f"{owner} has no {kind} {name!r}" if owner else f"no {kind} is named {name!r}"
    if meant is not None:
        return UnknownName(f"{wrong}; did you mean {prefix + meant!r}?")
    if hint is not None or not names:
        return UnknownName(wrong, hint)
    more = ", ..." if len(names) > _LISTED else ""
    return UnknownName(f"{wrong}, expected one of {', '.join(prefix + n for n in names[:_LISTED])}{more}")


_LISTED = 24
"""How many names a sentence lists."""


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
