"""Changes of code that were shown to change no result (docs/adr/0007-succession.md).

A result is stale as soon as one module behind it differs from what made it. Some changes only make room for
something new, and training everything again would prove what a few trainings show as well: such a change is
written down here, module by module and digest by digest, with what was compared. Whoever edits one of the
modules again has a digest that is not written down, and the results are stale as before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.core.behind import LEFT_OUT


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
            "bench.api": ("ed97d2966a5d", "eec1aad6bc47"),
            "bench.attacks.ascent": ("d5fa05a9b9fa", "92975bf04bf3"),
            "bench.attacks.fgsm": ("77fe31505c21", "0bfdae5dfec4"),
            "bench.attacks.geometry": ("21a1e16d323f", "c8ca36d8b2bd"),
            "bench.attacks.norms": (None, "4d1b008d7730"),
            "bench.attacks.pgd": ("45e2359b29cb", "5e00d550f949"),
            "bench.core.threat": ("e3e6e76bcd14", "5cc6fc959da2"),
            "defenses.alp": ("8168eefb82d8", "e678f09a7926"),
            "defenses.dbp": ("17b18ffa8c77", "19cdc8bd12d0"),
            "defenses.ensemble": ("5d6dfea1f7cf", "d61494bc3bbf"),
            "defenses.losses": ("5d122d4c22a8", "6092fe263a79"),
        },
    ),
    Succession(
        change="verdicts on randomized defenses from draws of their own (docs/adr/0009-*.md); images that a "
        "library asks about are judged pixel by pixel in every norm but Linf",
        shown="`bench verify --cells 2` of twelve MNIST runs of four suites, deterministic defenses: equal",
        digests={
            "bench.attacks.others.lent": ("f39f71fe2137", "db18216694e9"),
            "bench.attacks.streams": (None, "c3995de8865f"),
            "bench.evaluate.engine": ("72301ed98127", "ba01746d6639"),
            "bench.evaluate.ledger": ("d2baec1eebec", "bcb80e6ea67a"),
            "bench.evaluate.lending": ("a7be176141dd", "064c7b8670cf"),
            "bench.evaluate.oracle": ("7a9cfedb8409", "fa6c20d96095"),
            "bench.evaluate.referee": ("4796d72db88c", "97eb396acd23"),
        },
        of_randomized=False,
    ),
    Succession(
        change="the digest of a module is the same on Python 3.11, 3.12 and 3.13",
        shown="the digests of all 459 files by the function before, on 3.11, and by this one on each: equal",
        digests={"bench.core.digest": ("3348807f668d", "40595b6d5251")},
    ),
    Succession(
        change="attacks of trainings take a mode; who asks for none has eval mode as before",
        shown="the weights of seven defenses that ask for none (standard, trades, mart, alp, free_at, "
        "ensemble_at, agkd_bml) after two epochs on digits, equal",
        digests={
            "bench.api": ("adc1c70b2f87", "be8b70c3e8ce"),
            "bench.train.context": ("61fd148646af", "fe15f7a64f75"),
            "bench.train.inner": ("1870de065a93", "98e40f970828"),
            "bench.train.loop": ("a0efaab0ac33", "1b90f4ff1bb9"),
        },
    ),
    Succession(
        change="room for small_resnet; the content of one's own data is read once for all runs of a plan",
        shown="the weights of eight defenses (standard, pgd_at, trades, mart, alp, free_at, ensemble_at, "
        "agkd_bml) after two epochs on digits, equal, and the cells of the README's run by `bench verify`",
        digests={
            "bench.data.arrays": ("2e2a4b7d91df", "776bdbac580c"),
            "bench.data.identity": ("072f1b1e055a", "519f16c8ad0f"),
            "bench.data.npz": ("b38a480d9d07", "45b459cf7ea0"),
            "bench.data.pt": ("23c7b9acab7c", "03f858177b4c"),
            "bench.nn.architectures": ("8e7a6a36ab1b", "008007687275"),
            "bench.nn.resnet": ("fa85e2e8ecf6", "902279fb47ae"),
        },
    ),
    Succession(
        change="the log of a training is read for trackers while it is trained",
        shown="the weights of eight defenses (as above) after two epochs on digits, equal",
        digests={"bench.runner.weights": ("fbf24f4ffbb6", "919ee15a4ced")},
    ),
    Succession(
        change="readers of npz and pt files are behind results on such files alone",
        shown="what other data are read by does not import them",
        digests={"bench.data.npz": ("45b459cf7ea0", None), "bench.data.pt": ("03f858177b4c", None)},
    ),
)
"""In the order in which they were made."""


def changed_modules(
    then: Mapping[str, str],
    now: Mapping[str, str],
    successions: Sequence[Succession] = SUCCESSIONS,
    randomized: bool = False,
) -> list[str]:
    """The modules whose content the other does not have, sorted; known successions apart.

    What modules are called does not count, only what they hold: a file that was moved changes nothing.

    `randomized`: the result is of a randomized defense.

    >>> step = Succession("", "", {"a": ("1", "2"), "new": (None, "7")})
    >>> changed_modules({"a": "1"}, {"a": "2", "new": "7"}), changed_modules({"a": "1"}, {"a": "2"}, [step])
    (['a', 'new'], [])
    >>> changed_modules({"a": "1"}, {"moved": "1"}, [])
    []
    """
    known = [step for step in successions if step.of_randomized or not randomized]
    then, now = ({m: d for m, d in held.items() if m not in LEFT_OUT} for held in (then, now))
    names = {*then, *now, *(module for step in known for module in step.digests)}
    became = {name: _became(name, then.get(name), known) for name in names}
    reached, there = {None}.union(*became.values()), {None, *now.values()}
    lost = {name for name in then if not became[name] & there}
    return sorted(lost | {name for name, digest in now.items() if digest not in reached})


def _became(module: str, then: str | None, successions: Sequence[Succession]) -> set[str | None]:
    """The digest that a module had, and what known successions made of it; None: it is not behind results.

    A result need not know of every succession: one that came to the module before or after is passed over.
    """
    held, found = then, {then}
    for step in successions:
        before, after = step.digests.get(module, (held, held))
        if before == held:
            held = after
            found.add(held)
    return found
