"""Rules that records and examples decide, on outcomes made by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.attacks.fgsm import FGSM
from bench.attacks.pgd import PGD
from bench.attacks.square import Square
from bench.audit import rules_of_attacks, rules_of_records
from bench.audit.audit import is_outdone, strongest
from bench.audit.case import Case
from bench.core.bitmap import packed
from bench.core.encoding import encode
from bench.core.outcomes import NEVER, REFUSED, Outcomes
from bench.evaluate import diagnostics
from bench.records.record import Check, Column, Finding, Interval, Record, Verdicts
from bench.records.rules import INDICATOR_OF, INDICATORS, RULE_OF, RULES
from bench.report.audit import audit_table, catalogue, indicators, signs, tally
from bench.train.recipes import LOADED

N = 200
PAGE = Path(__file__).parents[3] / "docs" / "audit.md"

WHITE = {"level": "white-box", "gradients": "deployed", "feedback": "logits", "max_queries": None}
SCORES = {"level": "black-box", "gradients": "nothing", "feedback": "logits", "max_queries": 5000}
LABELS = {"level": "black-box", "gradients": "nothing", "feedback": "labels", "max_queries": 5000}
BPDA = {**WHITE, "gradients": "bpda"}

Maker = Callable[..., Record]
Tried = tuple[str, str, dict[str, Any], int]
"""(column, class of its attack, knowledge, how many of the first examples it leaves)"""


def left(count: int, n: int = N) -> Outcomes:
    """An attack that leaves the first `count` of n examples, all right when clean."""
    integers, no = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool)
    attacked = np.where(np.arange(n) < count, 0, 1)
    distance = np.full(n, 8 / 255)
    return Outcomes(
        np.arange(n),
        integers,
        integers,
        attacked,
        distance,
        integers + 20,
        integers + 20,
        integers,
        no,
        no,
        no,
    )


def test_the_strongest_pgd_is_the_one_that_broke_most_itself(make_record: Maker) -> None:
    long, short = PGD(steps=100), PGD(steps=20)
    first, rest = left(40), left(30)
    met_few = dataclasses.replace(rest, first_success=np.where(np.arange(N) < 40, rest.first_success, NEVER))
    trials = [
        {"column": name, "attack": encode(attack), "knowledge": {"gradients": "deployed"}}
        for name, attack in (("first", short), ("goes_on", long))
    ]
    record = make_record(spec={"suite": {"trials": trials}})
    assert strongest(record, {"first": first, "goes_on": met_few}) == (short, 1)
    assert strongest(record, {"first": first, "goes_on": rest}) == (long, 1)


def test_a_pgd_is_outdone_by_columns_that_broke_more_than_a_few_of_what_it_left(make_record: Maker) -> None:
    trials = [
        {"column": "pgd_20", "attack": encode(PGD()), "knowledge": {"gradients": "deployed"}},
        {"column": "square", "attack": encode(Square()), "knowledge": {"gradients": "nothing"}},
    ]
    record = make_record(spec={"suite": {"trials": trials}})
    for square, expected in ((100, False), (98, False), (97, True)):  # 1 % of 200 may be
        assert is_outdone(record, {"pgd_20": left(100), "square": left(square)}) is expected
    assert is_outdone(record, {"square": left(100)}), "there is no PGD"
    trials[1] = {**trials[1], "column": "square", "attack": encode(FGSM())}
    assert not is_outdone(record, {"pgd_20": left(100), "square": left(50)}), "one step is no excuse"


@pytest.fixture
def make_case(make_record: Maker, make_trial: Callable[..., Column]) -> Callable[..., Case]:
    def run(tried: tuple[Tried, ...], n: int = N, **changes: Any) -> tuple[Record, dict[str, Outcomes]]:
        trials = [
            {"column": name, "knowledge": knowledge, "attack": {"is": f"somewhere:{kind}"}}
            for name, kind, knowledge, _ in tried
        ]
        columns = tuple(
            make_trial(name, count, n, level=knowledge["level"]) for name, _, knowledge, count in tried
        )
        worst = min(count for *_, count in tried)
        made = make_record(
            examples=n,
            worst=worst,
            columns=columns,
            clean=make_trial("clean", n, n).robust,
            spec={"suite": {"trials": trials}, "others": {}},
            **changes,
        )
        return made, {name: left(count, n) for name, _, _, count in tried}

    def make(
        *tried: Tried, kin: tuple[Tried, ...] = (), traits: tuple[str, ...] = (), **changes: Any
    ) -> Case:
        record, outcomes = run(tried, **changes)
        others = (run(kin, run_id="b" * 12),) if kin else ()
        return Case(record, outcomes, others, tuple(held for held, _ in others), traits=traits)

    return make


PGD20: Tried = ("pgd_20", "PGD", WHITE, 100)
APGD: Tried = ("apgd_ce", "APGD", WHITE, 95)


def verdict(rule: str, case: Case) -> str:
    applied = {**rules_of_records.APPLIED, **rules_of_attacks.APPLIED}
    check = applied[rule](case)
    assert check.rule == rule and check.detail
    return check.verdict


def test_an_orderly_run_breaks_no_rule(make_case: Callable[..., Case]) -> None:
    case = make_case(("fgsm", "FGSM", WHITE, 120), PGD20, APGD, ("apgd_t", "TargetedAPGD", WHITE, 94))
    for rule in ("P1", "A1", "A3", "A4", "A9", "A14", "A15", "A19", "S1", "S4", "S5", "S6", "S7", "S8"):
        assert verdict(rule, case) == "pass", rule
    for rule in ("A2", "A11", "A12", "S2", "S3"):
        check = {**rules_of_records.APPLIED, **rules_of_attacks.APPLIED}[rule](case)
        assert check.verdict == "open" and str(check.command).startswith("bench run "), rule


def test_an_image_outside_the_budget_blocks(make_case: Callable[..., Case]) -> None:
    case = make_case(PGD20)
    far = dataclasses.replace(left(100), distance=np.full(N, 9 / 255))  # left by 1/255
    assert verdict("A1", dataclasses.replace(case, outcomes={"pgd_20": far})) == "block"


def test_a_miscounted_worst_case_blocks(make_case: Callable[..., Case], make_record: Maker) -> None:
    case = make_case(PGD20, APGD)
    kinder = dataclasses.replace(case.record, worst_case=case.record.columns[0].robust)
    assert verdict("A3", dataclasses.replace(case, record=kinder)) == "block"


@pytest.mark.parametrize(("weak", "expected"), [(99, "pass"), (60, "warn")])
def test_one_step_that_beats_iterations_warns(
    make_case: Callable[..., Case], weak: int, expected: str
) -> None:
    assert verdict("A4", make_case(("fgsm", "FGSM", WHITE, weak), PGD20)) == expected


def test_successes_that_are_not_returned_warn(make_case: Callable[..., Case]) -> None:
    case, at_once, late = make_case(PGD20), np.full(N, 20), np.full(N, 18)  # of 20 passes
    for lost, told, expected in ((2, at_once, "pass"), (3, at_once, "warn"), (100, late, "pass")):
        held = dataclasses.replace(left(100), lost=np.arange(N) >= N - lost, first_success=told)
        assert verdict("A9", dataclasses.replace(case, outcomes={"pgd_20": held})) == expected


@pytest.mark.parametrize(("square", "expected"), [(100, "pass"), (99, "pass"), (98, "warn")])
def test_a_query_attack_of_another_run_that_breaks_more_warns(
    make_case: Callable[..., Case], square: int, expected: str
) -> None:
    assert verdict("A11", make_case(PGD20, kin=(("square", "Square", SCORES, square),))) == expected


def test_a_shorter_run_is_joined_only_for_what_no_other_knows(make_case: Callable[..., Case]) -> None:
    case = make_case(PGD20)
    short, held = make_case(("pgd_10", "PGD", WHITE, 60), n=120).record, {"pgd_10": left(60, 120)}
    assert {len(c.outcomes) for c in dataclasses.replace(case, kin=((short, held),)).tried()} == {N}
    query, held = make_case(("square", "Square", SCORES, 60), n=120).record, {"square": left(60, 120)}
    query = dataclasses.replace(query, columns=(dataclasses.replace(query.columns[0], knowledge="scores"),))
    assert [len(c.outcomes) for c in dataclasses.replace(case, kin=((query, held),)).tried()] == [120, 120]


def test_a_decision_based_attack_closes_its_rule(make_case: Callable[..., Case]) -> None:
    assert verdict("A12", make_case(PGD20, kin=(("rays", "RayS", LABELS, 150),))) == "pass"
    assert verdict("A12", make_case(PGD20, n=N, kin=(("square", "Square", SCORES, 150),))) == "open"


def test_a_surrogate_that_is_the_victim_blocks(make_case: Callable[..., Case]) -> None:
    case = make_case(PGD20)
    assert case.record.training is not None
    spec = {**case.record.spec, "others": {"twin": case.record.training.training_id}}
    assert (
        verdict("A14", dataclasses.replace(case, record=dataclasses.replace(case.record, spec=spec)))
        == "block"
    )


def test_special_parts_ask_for_attacks_that_are_not_weaker(make_case: Callable[..., Case]) -> None:
    own = ("apgd_bpda", "APGD", BPDA, 80)
    assert verdict("A15", make_case(PGD20, traits=("preprocessing",))) == "open"
    assert verdict("A15", make_case(PGD20, own, traits=("preprocessing",))) == "pass"
    assert verdict("A15", make_case(PGD20, ("b", "APGD", BPDA, 160), traits=("preprocessing",))) == "pass"
    assert (
        verdict("A15", make_case(PGD20, ("b", "APGD", BPDA, 160), traits=("non-differentiable",))) == "block"
    )


def test_refused_examples_count_as_standing(make_case: Callable[..., Case]) -> None:
    refusing = dataclasses.replace(left(100), attacked=np.where(np.arange(N) < 100, REFUSED, 1))
    assert verdict("A3", dataclasses.replace(make_case(PGD20), outcomes={"pgd_20": refusing})) == "pass"


def test_an_interval_that_is_not_wilsons_blocks(make_case: Callable[..., Case]) -> None:
    case = make_case(PGD20)
    wald = Interval(0.5, 0.5 - 0.0693, 0.5 + 0.0693, 100, N)
    assert (
        verdict("S1", dataclasses.replace(case, record=dataclasses.replace(case.record, clean=wald)))
        == "block"
    )


def test_counts_that_do_not_follow_from_the_examples_block(make_case: Callable[..., Case]) -> None:
    assert verdict("S8", dataclasses.replace(make_case(PGD20), outcomes={"pgd_20": left(101)})) == "block"
    assert verdict("S8", dataclasses.replace(make_case(PGD20), changed=("bench.api",))) == "warn"


def test_defenses_are_compared_by_mcnemars_test(make_case: Callable[..., Case]) -> None:
    def holding(record: Record, count: int) -> Record:
        bits = packed(np.arange(N) < count)
        return dataclasses.replace(
            record, robust_examples=Verdicts("ids", packed(np.ones(N, dtype=bool)), bits)
        )

    def rival(count: int, seed: int = 3) -> Record:
        other = make_case(("pgd_20", "PGD", WHITE, count)).record
        return dataclasses.replace(trained(holding(other, count), seed), defense="trades")

    def compared(*others: Record) -> Check:
        return rules_of_records.comparison(dataclasses.replace(case, others=others))

    case = make_case(PGD20)
    case = dataclasses.replace(case, record=holding(case.record, 100))
    for count, told in ((94, "better than trades"), (95, "better than none")):  # 6 coins: p 0.031; 5: 0.063
        check = compared(rival(count))
        assert (check.verdict, told in check.detail) == ("pass", True)
    both = compared(rival(90, 1), rival(100, 2)).detail
    assert both.startswith("2 comparisons") and "better than none" in both, "better than one of two networks"
    again = dataclasses.replace(rival(90, 1), run_id="e" * 12, seed=7)
    assert compared(rival(90, 1), again).detail.startswith("1 comparison"), "one network, measured twice"
    bits = packed(np.arange(N) < 90)
    shuffled = dataclasses.replace(rival(90), robust_examples=Verdicts("others", bits, bits))
    check = compared(shuffled)
    assert check.verdict == "open" and "other examples" in check.detail


def test_three_seeds_close_their_rule(make_case: Callable[..., Case]) -> None:
    case = make_case(PGD20)
    more = tuple(trained(case.record, seed) for seed in (1, 2))
    assert verdict("S3", dataclasses.replace(case, others=more[:1])) == "open"
    assert verdict("S3", dataclasses.replace(case, others=more)) == "pass"
    elsewhere = {"training": {"budget": {"norm": "Linf", "eps": "1/255"}}}
    trained_otherwise = tuple(dataclasses.replace(other, spec={**other.spec, **elsewhere}) for other in more)
    assert verdict("S3", dataclasses.replace(case, others=trained_otherwise)) == "open"


def test_what_differs_in_more_than_the_seed_is_no_other_seed(make_case: Callable[..., Case]) -> None:
    """Another architecture, inner radius, checkpoint or attack, and a seed that changes no weights."""
    case = make_case(PGD20)
    one, two = (trained(case.record, seed) for seed in (1, 2))
    spec = two.spec
    for odd in (
        dataclasses.replace(two, architecture="lenet"),
        dataclasses.replace(two, spec={**spec, "training": {"budget": {"eps": "4/255"}, "seed": 2}}),
        dataclasses.replace(two, spec={**spec, "checkpoint": "last"}),
        dataclasses.replace(two, spec={**spec, "suite": {"trials": []}}),
        dataclasses.replace(two, training=one.training),
    ):
        check = rules_of_records.seeds(dataclasses.replace(case, others=(one, odd)))
        assert (check.verdict, check.detail[:12]) == ("open", "2 of 3 seeds")


def test_weights_of_others_are_one_training(make_case: Callable[..., Case]) -> None:
    case = make_case(PGD20)
    loaded = dataclasses.replace(trained(case.record, 0).training, recipe=LOADED.name)  # type: ignore[type-var]
    more = tuple(dataclasses.replace(trained(case.record, seed), training=loaded) for seed in (1, 2))
    case = dataclasses.replace(case, record=dataclasses.replace(case.record, training=loaded), others=more)
    assert verdict("S3", case) == verdict("A20", case) == "info"


def test_a_seed_that_changes_no_weights_is_none(make_case: Callable[..., Case]) -> None:
    case = make_case(PGD20)
    again = dataclasses.replace(case.record, seed=1, run_id="1" * 12)
    check = rules_of_records.seeds(dataclasses.replace(case, others=(again,)))
    assert (check.verdict, check.detail[:26]) == ("info", "2 seeds have the same weig")


def trained(record: Record, seed: int) -> Record:
    """The same with another training seed, so with other weights."""
    assert record.training is not None
    training = dataclasses.replace(record.training, training_id=f"seed-{seed}", sha256=f"{seed}" * 64)
    return dataclasses.replace(record, seed=seed, run_id=str(seed) * 12, training=training)


def test_what_a_run_found_breaks_its_rule(make_case: Callable[..., Case]) -> None:
    found = (Finding("zero-gradients", "warn", "d"), Finding("train-mode", "block", "e"))
    checks = rules_of_attacks.from_findings(make_case(PGD20, findings=found))
    assert {rule: check.verdict for rule, check in checks.items()} == {"P5": "warn", "P2": "block"}


def test_an_audit_marks_what_findings_do_not(make_record: Maker) -> None:
    record = make_record(
        findings=(Finding("zero-gradients", "warn", "d"),),
        audit=(Check("P5", "warn", "d"), Check("A8", "warn", "d"), Check("A12", "open", "d", "bench run")),
    )
    assert signs(record) == {"zero-gradients", "rule A8"}
    table = audit_table(record)
    assert [row[:2] for row in table.rows] == [("warn", "P5"), ("warn", "A8"), ("open", "A12")]
    assert tally(record.audit) == "2 warn, 0 block, 1 open of 3"


@pytest.mark.parametrize(
    ("labels", "answers", "verdict"),
    [
        ([0] * 90 + [1] * 110, [1] * 200, "block"),  # right on 55 %, and nothing can be taken from it
        ([0] * 90 + [1] * 110, [0] * 4 + [1] * 196, "block"),  # 4 of 90 told apart: 95.6 % are not
        ([0] * 90 + [1] * 110, [0] * 5 + [1] * 195, "pass"),  # 5 of 90: 94.4 %
        ([0] * 191 + [1] * 9, [0] * 200, "pass"),  # nine of another class say nothing yet
        ([0] * 190 + [1] * 10, [0] * 200, "block"),
        ([0] * 200, [0] * 200, "pass"),  # one class alone was asked about
        ([0, 1] * 100, [REFUSED] * 200, "pass"),
        ([0, 1] * 100, [REFUSED, 0] * 100, "block"),  # who refuses the rest tells nothing apart either
    ],
)
def test_one_answer_for_all_is_no_classifier(make_case, labels, answers, verdict) -> None:
    case = make_case(("pgd_20", "PGD", WHITE, 50))
    outcomes = dataclasses.replace(
        case.outcomes["pgd_20"], labels=np.array(labels), clean=np.array(answers), attacked=np.array(answers)
    )
    case = dataclasses.replace(case, outcomes={"pgd_20": outcomes})
    assert rules_of_attacks.APPLIED["P8"](case).verdict == verdict
    found = [f for f in diagnostics.from_outcomes(case.outcomes, {}) if f.code == "one-answer"]
    assert [f.severity for f in found] == ["block"] * (verdict == "block")
    assert RULE_OF["one-answer"] == "P8"


def test_the_catalogue_is_that_of_the_page() -> None:
    assert catalogue() in PAGE.read_text(encoding="utf-8")
    assert indicators() in PAGE.read_text(encoding="utf-8")
    assert [*RULES] == [
        *(f"P{number}" for number in range(1, 9)),
        *(f"A{number}" for number in range(1, 23)),
        *(f"S{number}" for number in range(1, 9)),
    ]
    assert {rule.indicator for rule in RULES.values()} - {None} == {*INDICATORS} == {*INDICATOR_OF.values()}
    assert all(rule in RULES for rule in RULE_OF.values())


def goes_on(count: int, met: int, n: int = N) -> Outcomes:
    """The same on the first `met` of n, which the column before it left."""
    whole, attacked = left(count, n), np.arange(n) < met
    fell = attacked & (np.arange(n) >= count)
    return dataclasses.replace(whole, first_success=np.where(fell, 0, NEVER))


def test_a_column_is_credited_with_what_it_broke_itself(make_case: Callable[..., Case]) -> None:
    """PGD breaks 100 of 200, APGD 90 of the 100 that it left, Square none of the last 10."""
    case = make_case(PGD20, ("apgd_ce", "APGD", WHITE, 10), ("square", "Square", SCORES, 10))
    outcomes = {"pgd_20": left(100), "apgd_ce": goes_on(10, 100), "square": goes_on(10, 10)}
    columns = [dataclasses.replace(case.record.columns[0], after="a column"), *case.record.columns[1:]]
    record = dataclasses.replace(case.record, columns=tuple(columns))
    case = dataclasses.replace(case, record=record, outcomes=outcomes)
    told = rules_of_records.optimality(case).detail
    assert told.startswith("of 190 broken examples pgd_20 breaks 52.6 %, square 0.0 %"), "not 100 % all three"
    assert "met only what those had left" in told
    assert rules_of_attacks.knowing_less(case).detail.startswith("0 of 200 examples are broken only by who")


def test_an_attack_by_labels_after_others_is_not_credited_with_their_work(
    make_case: Callable[..., Case],
) -> None:
    case = make_case(PGD20, ("rays", "RayS", LABELS, 98))
    case = dataclasses.replace(case, outcomes={"pgd_20": left(100), "rays": goes_on(98, 100)})
    assert rules_of_attacks.decisions(case).detail.startswith("rays leaves 99.0 %"), "it broke 2 of 200"


def test_a_weak_attack_after_strong_ones_does_not_beat_them(make_case: Callable[..., Case]) -> None:
    """FGSM on what PGD left breaks none of it: what both leave is PGD's work."""
    case = make_case(("apgd_ce", "APGD", WHITE, 150), PGD20, ("fgsm", "FGSM", WHITE, 100))
    held = {"apgd_ce": left(150), "pgd_20": goes_on(100, 150), "fgsm": goes_on(100, 100)}
    assert verdict("A4", dataclasses.replace(case, outcomes=held)) == "pass"


def test_what_a_record_cannot_know_it_does_not_tell(make_case: Callable[..., Case]) -> None:
    case = make_case(PGD20, APGD)
    for met, expected in ((0, "pass"), (5, "info")):
        last = dataclasses.replace(case.record.columns[1], met=met, queries_mean=None, queries_median=None)
        record = dataclasses.replace(case.record, columns=(case.record.columns[0], last))
        check = rules_of_records.costs(dataclasses.replace(case, record=record))
        assert check.verdict == expected
    assert "apgd_ce does not tell what it cost" in check.detail and "--rerun" in str(check.command)


def test_a_ladder_aims_and_does_not(make_case: Callable[..., Case]) -> None:
    case = make_case(("ladder", "Ladder", WHITE, 100))
    assert verdict("A19", case) == "info", "with no targets"
    case.record.spec["suite"]["trials"][0]["attack"]["targets"] = 3
    assert verdict("A19", case) == "pass"
    assert verdict("A19", make_case(("apgd_t", "TargetedAPGD", WHITE, 100))) == "info"


def test_an_ablation_differs_in_its_switches_alone(make_case: Callable[..., Case]) -> None:
    def method(record: Record, name: str, kind: str = "Fdml", alpha: float = 1.0, **more: Any) -> Record:
        training = {"defense": {"is": f"defenses:{kind}", "alpha": alpha}, "architecture": "lenet", **more}
        spec = {**record.spec, "training": training, "checkpoint": "best"}
        return dataclasses.replace(record, defense=name, spec=spec)

    case = make_case(PGD20)
    record = method(case.record, "fdml")
    for other, expected in (
        (method(record, "fdml[alpha=0]", alpha=0.0, seed=1), "pass"),
        (method(record, "fdml[alpha=0]", alpha=0.0, architecture="small_cnn"), "info"),
        (method(record, "fdml[alpha=0]", alpha=0.0, budget="another inner radius"), "info"),
        (method(record, "fdml[x=1]", kind="AnotherOfThisName"), "info"),
    ):
        assert verdict("A20", dataclasses.replace(case, record=record, others=(other,))) == expected


def test_each_part_asks_for_an_attack_of_its_own(
    make_case: Callable[..., Case], make_trial: Callable[..., Column]
) -> None:
    case = make_case(PGD20, traits=("detector", "randomized"))
    for answers, expected in ((("randomized",), "open"), (("detector", "randomized"), "pass")):
        column = make_trial("pgd_20", 100, N, adaptive=True, answers=answers)
        told = dataclasses.replace(case, record=dataclasses.replace(case.record, columns=(column,)))
        assert verdict("A15", told) == expected


def test_shares_of_other_examples_block(
    make_case: Callable[..., Case], make_trial: Callable[..., Column]
) -> None:
    case = make_case(PGD20)
    fewer = dataclasses.replace(case.record, columns=(make_trial("pgd_20", 50, N // 2),))
    assert verdict("S1", dataclasses.replace(case, record=fewer)) == "block"
    miscounted = dataclasses.replace(case.record, clean=make_trial("clean", N - 1, N).robust)
    assert verdict("S8", dataclasses.replace(case, record=miscounted)) == "block"
