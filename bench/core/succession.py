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
)
"""In the order in which they were made."""


def changed_modules(
    then: Mapping[str, str], now: Mapping[str, str], successions: Sequence[Succession] = SUCCESSIONS
) -> list[str]:
    """The modules whose digests differ, or that only one of them has, sorted; known successions apart.

    >>> step = Succession("", "", {"a": ("1", "2"), "new": (None, "7")})
    >>> changed_modules({"a": "1"}, {"a": "2", "new": "7"}), changed_modules({"a": "1"}, {"a": "2"}, [step])
    (['a', 'new'], [])
    """
    return sorted(
        name for name in {*then, *now} if not _same(name, then.get(name), now.get(name), successions)
    )


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
