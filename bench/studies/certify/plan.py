"""What `bench certify` will do: a network, a proof, attacks, radii, and the one id of all that."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from bench.api import Suite, Trial
from bench.attacks.apgd import APGD
from bench.attacks.others.signature import column_of
from bench.attacks.pgd import PGD
from bench.core.encoding import encode
from bench.core.exact import exact
from bench.core.listing import DEFAULT, listing
from bench.core.threat import WHITE_BOX, Budget, Norm, Source, parse_eps
from bench.data.catalog import source
from bench.errors import BadValue
from bench.plan import OF_ATTACKS, Request, RunSpec, attack_named, plan_each
from bench.registry import suite_named
from bench.studies.certify.record import BoundsName, MethodName
from bench.studies.spec import StudySpec

CLIMBS = Suite(
    name="climbs",
    version=1,
    trials=(
        Trial("apgd_ce", APGD(steps=40), WHITE_BOX),
        Trial("margin", PGD(steps=40, step_size=Fraction(1, 10), loss="margin"), WHITE_BOX),
    ),
)
"""What attacks votes: each answer costs as many passes as there are votes, so nobody searches by answers."""

CHUNK = 100
"""Examples that share a cell: so that what is stopped has lost little."""

MULTIPLES = tuple(Fraction(quarters, 4) for quarters in (1, 2, 3, 4, 6, 8))
"""The radii, in that of the run, where a user names none."""


@dataclass(frozen=True)
class Sampling:
    """How many noisy copies of an image are looked at, and with which certainty."""

    sigma: Fraction | None = None  # of the noise; None: the defense's own
    selection: int = 100  # copies that choose the class
    samples: int = 10_000  # other copies, which count it
    alpha: Fraction = Fraction(1, 1000)  # the chance that the count misleads


@dataclass(frozen=True)
class CertifySpec(StudySpec):
    """All that decides one certificate."""

    name: ClassVar[str] = "certify"

    run: RunSpec  # its suite holds the attacks
    method: MethodName
    bounds: BoundsName | None  # None: by smoothing
    sampling: Sampling | None  # None: by bounds
    radii: tuple[Fraction, ...]  # rising; that of the run is among them

    def encoded(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "run": self.run.encoded(),
            "method": self.method,
            "bounds": self.bounds,
            "sampling": self.sampling and encode(self.sampling),
            "radii": encode(self.radii),
        }

    @property
    def title(self) -> str:
        """What is measured, as progress says it."""
        return f"{self.run.training.named.label}, certified by {self.bounds or self.method}"

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """The budget of each radius."""
        return tuple(Budget(self.run.budget.norm, radius) for radius in self.radii)


def plan(
    names: Sequence[str],
    request: Request,
    method: MethodName | None = None,
    bounds: BoundsName | None = None,
    at: str | None = None,
    suite: str | None = None,
    attacks: Sequence[str] = (),
    sigma: str | None = None,
    samples: int | None = None,
    alpha: str | None = None,
) -> list[CertifySpec]:
    """A certificate for each network; names are NAME or NAME@ARCH, the rest is common to all.

    Raises:
        UnknownName, BadValue: a name leads nowhere, or a value cannot be.
    """
    budget = request.budget or source(request.data).budget
    radii = _radii(budget, at)
    sampling = _sampling(sigma, samples, alpha)
    chosen = None if suite is None and not attacks else _suite(suite, attacks)
    runs = plan_each(names, request, chosen or _usual(DEFAULT))
    specs = [_spec(run, method, bounds, sampling, radii) for run in runs]
    return specs if chosen is not None else [_attacked_by_climbs(spec) for spec in specs]


def _attacked_by_climbs(spec: CertifySpec) -> CertifySpec:
    """The same, with other attacks where it votes and the user named none."""
    if spec.sampling is None:
        return spec
    suite = dataclasses.replace(spec.run.suite, name=CLIMBS.name, version=1, trials=CLIMBS.trials)
    return dataclasses.replace(spec, run=dataclasses.replace(spec.run, suite=suite))


def _spec(
    run: RunSpec,
    method: MethodName | None,
    bounds: BoundsName | None,
    sampling: Sampling,
    radii: tuple[Fraction, ...],
) -> CertifySpec:
    """One network's certificate; what was not said depends on the network."""
    votes = getattr(run.training.named.defense, "certificate", "bounds") == "smoothing"
    label = run.training.named.label
    if votes and sampling.sigma is not None:
        raise BadValue(
            f"--sigma is {float(sampling.sigma):g}, but {label} votes on noisy images of its own, expected "
            "no --sigma",
            f"bench certify {run.training.named.name}[sigma={float(sampling.sigma):g}]",
        )
    chosen = method or ("smoothing" if votes or sampling.sigma is not None else "bounds")
    if chosen == "smoothing":
        if bounds is not None:
            raise BadValue(
                f"--bounds is {bounds!r}, but {label} is smoothed, expected no --bounds", "--method bounds"
            )
        if run.budget.norm is not Norm.L2:
            raise BadValue(
                f"the norm is {run.budget.norm.value}, but smoothing certifies under L2 alone, expected L2",
                "--norm L2 --eps 0.5",
            )
        return CertifySpec(run, chosen, None, sampling, radii)
    if sampling != Sampling():
        raise BadValue(
            f"--sigma, --samples and --alpha are of smoothing, but {label} is certified by bounds, expected "
            "none of them",
            "--method smoothing --sigma 0.25 --norm L2 --eps 0.5",
        )
    return CertifySpec(run, chosen, bounds or "crown", None, radii)


def _radii(budget: Budget, at: str | None) -> tuple[Fraction, ...]:
    if not budget.eps:
        raise BadValue("--eps is 0, which leaves nothing to prove, expected a radius above 0", "--eps 0.05")
    if at is None:
        named = [budget.eps * multiple for multiple in MULTIPLES]
        if budget.norm is Norm.L0:
            named = [radius for radius in named if radius.denominator == 1]
    else:
        try:
            named = [parse_eps(part) for part in at.split(",")]
        except BadValue:
            named = [Fraction(0)]
        if min(named) <= 0:
            raise BadValue(f"--at is {at!r}, expected radii above 0 with commas between them", "--at 0.1,0.2")
    if budget.norm is Norm.L0 and any(radius.denominator != 1 for radius in named):
        raise BadValue(f"--at is {at!r}, expected whole numbers under L0, which counts values", "--at 1,2")
    wide = budget.norm is Norm.LINF
    if at is not None and wide and max(named) > 1:
        raise BadValue(f"--at is {at!r}, expected at most 1 under Linf, because pixels go from 0 to 1")
    return tuple(sorted({*(radius for radius in named if not wide or radius <= 1), budget.eps}))


def _sampling(sigma: str | None, samples: int | None, alpha: str | None) -> Sampling:
    chosen = Sampling()
    if sigma is not None:
        chosen = dataclasses.replace(chosen, sigma=_number(sigma, "--sigma", "0.25", None))
    if samples is not None:
        chosen = dataclasses.replace(chosen, samples=samples)
    if alpha is not None:
        chosen = dataclasses.replace(chosen, alpha=_number(alpha, "--alpha", "0.001", Fraction(1)))
    return chosen


def _number(text: str, option: str, example: str, below: Fraction | None) -> Fraction:
    try:
        found = exact(text)
    except ValueError:
        found = Fraction(0)
    if found <= 0 or (below is not None and found >= below):
        wanted = "a number above 0" if below is None else f"a share between 0 and {below}"
        raise BadValue(f"{option} is {text!r}, expected {wanted}", f"{option} {example}")
    return found


def _usual(name: str) -> Suite:
    return dataclasses.replace(suite_named(name), examples=1000, chunk=CHUNK)


def _suite(name: str | None, attacks: Sequence[str]) -> Suite:
    """The attacks, all of whom see the network itself."""
    if attacks:
        if name is not None:
            raise BadValue(f"--suite is {name!r} and --attack is {attacks[0]!r}, expected one of them")
        trials = {
            column_of(attack): Trial(column_of(attack), attack_named(attack), WHITE_BOX) for attack in attacks
        }
        if len(trials) < len(attacks):
            raise BadValue(f"--attack gives {attacks[-1]!r} twice, expected every attack once")
        return Suite(OF_ATTACKS, 1, tuple(trials.values()), chunk=CHUNK)
    found = suite_named(name or DEFAULT)
    if (command := listing(found.name).command) is not None:
        raise BadValue(
            f"the suite is {name!r}, which has a command of its own, expected one of attacks", command
        )
    theirs = {Source.TWIN, Source.UNDEFENDED, Source.SURROGATE}
    if any(trial.knowledge.gradients in theirs for trial in found.trials):
        raise BadValue(
            f"the suite is {name!r}, whose attackers own networks of their own, expected one that attacks "
            "the network itself",
            f"--suite {DEFAULT}",
        )
    return _usual(name or DEFAULT)
