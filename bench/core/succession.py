"""Changes of code that were shown to change no result (docs/adr/0007-succession.md).

A result is stale as soon as one module behind it differs from what made it. Some changes only make room for
something new, and training everything again would prove what a few trainings show as well: such a change is
written down here, module by module and digest by digest, with what was compared. Whoever edits one of the
modules again has a digest that is not written down, and the results are stale as before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Succession:
    """One change: which modules had which digest before and after, and how it was shown to change nothing."""

    change: str
    shown: str
    digests: Mapping[str, tuple[str | None, str | None]]  # module -> before, after; None: not behind results
    of_randomized: bool = True  # False: results on randomized defenses did change


SUCCESSIONS: tuple[Succession, ...] = (
    Succession(
        change="room for L1, L0, BPDA and for what a defense says it is made of; `noisy` in one place",
        shown="the weights of all 31 defenses after two epochs on digits (benchmarks/fingerprints.py), equal",
        digests={
            "bench.api": ("f4acd67ddb25", "8d20acee5df6"),
            "bench.attacks.ascent": ("be1b47792882", "1f0312253ddc"),
            "bench.attacks.fgsm": ("d9fbee978464", "acc4ea17e727"),
            "bench.attacks.geometry": ("c16f144e4082", "1c1559cbd3e9"),
            "bench.attacks.norms": (None, "3c7f8f126762"),
            "bench.attacks.pgd": ("d784d714d77a", "a5c59d2b6984"),
            "bench.core.threat": ("08d226e54bd8", "e3a3b58c4af9"),
            "defenses.alp": ("fafa707a42a0", "c46798d2ac3f"),
            "defenses.dbp": ("2c40b037ec03", "f169055800d0"),
            "defenses.ensemble": ("3fc58702fe95", "b9161666e8a0"),
            "defenses.losses": ("4b61d0615485", "55f18bc2e195"),
        },
    ),
    Succession(
        change="verdicts on randomized defenses from draws of their own (docs/adr/0009-*.md); images that a "
        "library asks about are judged pixel by pixel in every norm but Linf",
        shown="`bench verify --cells 2` of twelve MNIST runs of four suites, deterministic defenses: equal",
        digests={
            "bench.attacks.others.lent": ("8aff9c38b6fd", "7959f249ffa8"),
            "bench.attacks.streams": (None, "d98d711be77b"),
            "bench.evaluate.engine": ("5259d75242d8", "df42643fb115"),
            "bench.evaluate.ledger": ("a2febceb8b63", "e64f71a2669b"),
            "bench.evaluate.lending": ("242c5d72b1ea", "2a33d8d1cc8b"),
            "bench.evaluate.oracle": ("b0394dfffb2a", "50fd076d2d60"),
            "bench.evaluate.referee": ("129befbcbc44", "4f526aa381a2"),
        },
        of_randomized=False,
    ),
    Succession(
        change="the digest of a module is the same on Python 3.11, 3.12 and 3.13",
        shown="the digests of all 459 files by the function before, on 3.11, and by this one on each: equal",
        digests={"bench.core.digest": ("3348807f668d", "40595b6d5251")},
    ),
)
"""In the order in which they were made."""


def changed_modules(
    then: Mapping[str, str],
    now: Mapping[str, str],
    successions: Sequence[Succession] = SUCCESSIONS,
    randomized: bool = False,
) -> list[str]:
    """The modules whose digests differ, or that only one of them has, sorted; known successions apart.

    `randomized`: the result is of a randomized defense.

    >>> step = Succession("", "", {"a": ("1", "2"), "new": (None, "7")})
    >>> changed_modules({"a": "1"}, {"a": "2", "new": "7"}), changed_modules({"a": "1"}, {"a": "2"}, [step])
    (['a', 'new'], [])
    """
    known = [step for step in successions if step.of_randomized or not randomized]
    return sorted(name for name in {*then, *now} if not _same(name, then.get(name), now.get(name), known))


def _same(module: str, then: str | None, now: str | None, successions: Sequence[Succession]) -> bool:
    """Whether one digest is the other, or became it by known successions.

    A result need not know of every succession: one that came to the module before or after is passed over.
    """
    held = then
    for step in successions:
        if held == now:
            return True
        before, after = step.digests.get(module, (held, held))
        if before == held:
            held = after
    return held == now
