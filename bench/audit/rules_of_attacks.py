"""What the examples of a run, and of other runs of the same network, say about its attacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

import numpy as np

from bench.audit.case import Case, Tried, broken, is_of_others, kept, left_by, percent, spared_by, unknown
from bench.core import credit, metrics
from bench.core.names import as_published, current
from bench.core.paired import paired_difference
from bench.records.record import Check, Record
from bench.records.rules import RULE_OF
from bench.registry import has_ablations

FEW, LOST = 0.002, 0.01
"""The share of examples that only a weaker attacker may break, and of successes that may not be returned."""

RUNGS: tuple[tuple[str, frozenset[str]], ...] = (
    ("one step", frozenset({"FGSM", "UniformNoise"})),
    ("fixed steps", frozenset({"PGD", "MIFGSM"})),
    (
        "chosen steps",
        frozenset({"APGD", "TargetedAPGD", "AutoAttackComponent", "Ladder", "Siege", "TargetScout"}),
    ),
)
"""White-box attacks by their class, the stronger later."""


def telling_apart(case: Case) -> Check:
    """P8: clean images of several classes get several answers."""
    held = metrics.favourite(next(iter(case.outcomes.values())))
    if held is None:
        return kept("P8", "every clean image is refused")
    figures = (
        f"class {held.answer}, the most frequent answer, goes to {held.caught} of {held.others} clean images "
        "of other classes"
    )
    return broken("P8", figures) if held.is_all else kept("P8", figures)


def budget(case: Case) -> Check:
    """A1: what was judged lies within the budget, and what had to be moved there was little."""
    eps = _radius(case)
    farthest = max(float(held.distance.max()) for held in case.outcomes.values())
    moved = {c.name: c.moved for c in case.record.columns if c.moved > LOST * case.record.examples}
    invalid = {c.name: c.invalid for c in case.record.columns if c.invalid}
    if farthest > eps * (1 + 1e-6) + 1e-6:
        return broken("A1", f"an image at distance {farthest:.6g} was judged, and eps is {case.record.eps}")
    figures = f"the farthest image that was judged is at {farthest:.6g}, within {case.record.budget}"
    if moved or invalid:
        told = ", ".join(f"{name}: {count} moved" for name, count in moved.items())
        told += ", ".join(f"{name}: {count} invalid" for name, count in invalid.items())
        return Check("A1", "warn", f"{figures}; candidates that the referee put right ({told})")
    return kept("A1", figures)


def stored_images(case: Case) -> Check:
    """A2: the images that were kept are judged as they were when found."""
    evidence, worst = case.record.evidence, case.record.worst_case
    if evidence is None or worst is None:
        return unknown("A2", "the adversarial images were not kept", case.ask(case.attacked, "--rerun"))
    again, rounded = evidence.again, evidence.rounded
    figures = (
        f"{evidence.images} images leave {again.count} of {again.n} again, the run left {worst.count}, "
        f"rounded to 8 bits {rounded.count}"
    )
    if "randomized" in case.parts:
        return kept("A2", f"{figures}; a randomized defense may answer either way")
    return kept("A2", figures) if again.count == worst.count else broken("A2", figures)


def worst_case(case: Case) -> Check:
    """A3: the number is the example-wise worst case."""
    counted = int(np.logical_and.reduce([held.robust for held in case.outcomes.values()]).sum())
    told = None if case.record.worst_case is None else case.record.worst_case.count
    figures = f"{counted} of {case.record.examples} stand against all {len(case.outcomes)} columns"
    left_out = [column.name for column in case.record.columns if column.robust is None]
    if counted != told:
        return broken("A3", f"{figures}, and the record says {told}")
    return kept("A3", figures + (f"; without {', '.join(left_out)}" if left_out else ""))


def order(case: Case) -> Check:
    """A4: the stronger of two rungs is not significantly weaker."""
    rungs = [(name, [c for c in _white(case) if kinds & {*c.kinds}]) for name, kinds in RUNGS]
    present = [(name, columns) for name, columns in rungs if columns]
    if len(present) < 2:
        detail = "attacks of one strength only were run, so none can be compared"
        return unknown("A4", detail, case.ask("--suite whitebox"))
    for place, (weak, weaker) in enumerate(present[:-1]):
        above = [column for _, columns in present[place + 1 :] for column in columns]
        for column in weaker:
            spared = spared_by([column])
            if paired_difference(left_by(above), spared).low > 0:
                figures = (
                    f"{column.summary.name} ({weak}) leaves {percent(spared.mean())}, all "
                    f"stronger attacks together leave {percent(left_by(above).mean())}"
                )
                return broken("A4", figures, case.ask("--suite autoattack"))
    told = ", ".join(f"{name} {percent(left_by(columns).mean())}" for name, columns in present)
    return kept("A4", f"accuracy left by attacks of {told}")


def returned(case: Case) -> Check:
    """A9: what an attack found on the way it returned."""
    lost = {name: int(metrics.withheld(held).sum()) for name, held in case.outcomes.items()}
    worst = max(lost, key=lost.__getitem__)
    figures = f"{lost[worst]} of {case.record.examples} successes of {worst} were found and not returned"
    if lost[worst] > LOST * case.record.examples:
        return broken("A9", f"{figures}; the harness counted them", case.ask("--suite whitebox"))
    return kept("A9", figures if lost[worst] else "every success that was found was returned")


def knowing_less(case: Case) -> Check:
    """A11: who sees less breaks nothing that who sees all leaves."""
    columns = case.tried()
    white = [c for c in columns if c.gradients in ("deployed", "bpda") and "Square" not in _component(c)]
    less = [c for c in columns if c not in white]
    if not white or not less:
        missing = "blackbox" if white else "whitebox"
        told = "no transfer or query attack" if white else "no attack by gradients"
        return unknown("A11", f"{told} was run on these weights", case.ask(f"--suite {missing}"))
    left = left_by(white)
    counts = {c.summary.name: int((left & credit.broken(c.outcomes)).sum()) for c in less}
    only = int((left & ~spared_by(less)).sum())
    most = max(counts, key=counts.__getitem__)
    figures = f"{only} of {len(left)} examples are broken only by who knows less ({most}: {counts[most]})"
    if only > max(1.0, FEW * len(left)):
        return broken("A11", figures, case.ask("--suite autoattack"))
    return kept("A11", figures)


def decisions(case: Case) -> Check:
    """A12: an attack by labels alone was run."""
    runs = [c for c in case.tried() if c.feedback == "labels" and c.gradients == "nothing"]
    enough = [c for c in runs if c.summary.robust is not None and c.summary.robust.n >= 200]
    command = case.ask("--attack rays --knowledge decisions --examples 200")
    if not enough:
        few = f" on 200 examples, {runs[0].summary.name} on fewer" if runs else ""
        return unknown("A12", f"no decision-based attack was run{few}", command)
    best = min(enough, key=lambda c: spared_by([c]).mean())
    left, limit = percent(spared_by([best]).mean()), best.trial["knowledge"]["max_queries"]
    return kept("A12", f"{best.summary.name} leaves {left}, at most {limit} queries each")


def independence(case: Case) -> Check:
    """A14: the attackers' networks are others than the victim."""
    owned = case.record.spec.get("others", {})
    own = None if case.record.training is None else case.record.training.training_id
    same = [who for who, training in owned.items() if training == own]
    if same:
        return broken("A14", f"the {same[0]} is the victim itself ({own})")
    if not owned:
        return kept("A14", "no attacker of this suite owns a network")
    listed = ", ".join(f"{who} {training}" for who, training in owned.items())
    return kept("A14", f"{listed}; the victim is {own}, and their weights' digests were compared")


def adaptive(case: Case) -> Check:
    """A15: the parts that an attacker must get past were attacked, and not less strongly."""
    if not case.parts:
        return kept("A15", "the defense declares no part that asks for an attack of its own")
    parts = ", ".join(sorted(case.parts))
    columns = [c for c in case.tried() if c.gradients in ("deployed", "bpda")]
    made = [c for c in columns if c.is_adaptive]
    told = {trait for column in made for trait in column.summary.answers}
    unanswered = sorted(case.parts - told) if told or not made else []  # old records do not tell
    if unanswered:
        parts = ", ".join(unanswered)
        return unknown("A15", f"no attack was made against its {parts}", case.ask("--suite adaptive"))
    if all(c.gradients == "bpda" for c in made):  # through a purifier and past it: two ways of one attack
        made = columns if "preprocessing" in case.parts else made
    usual = [c for c in columns if c not in made]
    figures = f"{parts}: adaptive attacks leave {percent(left_by(made).mean())}"
    if usual:
        figures += f", the others {percent(spared_by(usual).mean())}"
        if paired_difference(left_by(made), spared_by(usual)).low > 0:
            return broken("A15", figures, case.ask("--suite adaptive"))
    return kept("A15", figures)


def aims(case: Case) -> Check:
    """A19: with and without a target."""
    columns = case.tried()
    targeted = [c for c in columns if c.is_targeted]
    rest = [c for c in columns if c.is_untargeted]
    if not targeted or not rest:
        detail = f"only {'un' if rest else ''}targeted attacks were run"
        return broken("A19", detail, case.ask("--suite whitebox"))
    left = [percent(spared_by(some).mean()) for some in (targeted, rest)]
    return kept("A19", f"targeted attacks leave {left[0]}, others {left[1]}")


def ablation(case: Case) -> Check:
    """A20: the same defense with other switches was measured."""
    record = case.record
    if is_of_others(record):
        return Check("A20", "info", "nothing was trained here, so no part can be turned off")
    family = [o.defense for o in case.others if o.defense != record.defense and _but_switches(o, record)]
    name = record.defense.partition("[")[0]
    if not family:
        detail = "no record of the same defense with a part turned off is in the store"
        listing = f"bench show defense {case.name}"  # whose fields may be such parts
        return broken("A20", detail, case.other(f"bench ablate {name}") if has_ablations(name) else listing)
    return kept("A20", f"also measured: {', '.join(sorted({*family}))}")


def other_threats(case: Case) -> Check:
    """A22: more than a ball around each image was looked at."""
    names = sorted({name for shift in case.shifts for name in shift.names})
    poses = max((shift.posed.poses for shift in case.shifts if shift.posed is not None), default=0)
    found = [f"{len(names)} corruption{'s' * (len(names) > 1)}"] * bool(names) + [f"{poses} poses"] * bool(
        poses
    )
    lacking = ["corruptions"] * (not names) + ["rotations and translations"] * (not poses)
    if not lacking:
        return kept("A22", f"also measured: {' and '.join(found)}")
    measured = f"{found[0]} measured, " if found else ""
    return broken(
        "A22",
        f"{measured}no {' and no '.join(lacking)} of these weights are in the store",
        case.study("shift", budgeted=False),
    )


def from_findings(case: Case) -> dict[str, Check]:
    """Broken rules that the run itself found, the worst finding of each."""
    checks: dict[str, Check] = {}
    for found in sorted(case.record.findings, key=lambda finding: finding.severity != "block"):
        rule = RULE_OF.get(found.code)
        if rule is not None and rule not in checks:
            checks[rule] = Check(rule, found.severity, f"{found.code}: {found.detail}", None)
    return checks


APPLIED: Mapping[str, Callable[[Case], Check]] = {
    "P8": telling_apart,
    "A1": budget,
    "A2": stored_images,
    "A3": worst_case,
    "A4": order,
    "A9": returned,
    "A11": knowing_less,
    "A12": decisions,
    "A14": independence,
    "A15": adaptive,
    "A19": aims,
    "A20": ablation,
    "A22": other_threats,
}
"""The rules that records and examples decide."""


def _white(case: Case) -> list[Tried]:
    return [column for column in case.tried() if column.gradients == "deployed"]


def _component(column: Tried) -> tuple[str, ...]:
    """The classes of its attack; an ensemble's component counts as what it is."""
    named = str(column.trial["attack"].get("component", ""))
    return (*column.kinds, *(("Square",) if named == "square" else ()))


def _radius(case: Case) -> float:
    return float(Fraction(case.record.eps))


def _but_switches(one: Record, other: Record) -> bool:
    """Whether two records are of one method, trained and attacked alike, whatever its fields are."""

    def ground(r: Record) -> tuple[object, ...]:
        training = dict(r.spec["training"])
        for name in ("seed", "id", "parents", "name"):
            training.pop(name, None)
        kind = current(training.pop("defense")["is"])
        return kind, as_published(training), r.data_digest, r.budget, r.spec["checkpoint"]

    return ground(one) == ground(other)
