"""The rules that an audit applies to an evaluation, and the signs by which each is seen to be broken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Severity = Literal["block", "warn", "info"]
"""What a broken rule does: keeps a row off boards, marks it, or only tells."""

INDICATORS: Mapping[int, str] = MappingProxyType(
    {
        1: "unavailable gradients",
        2: "unstable predictions",
        3: "silent success",
        4: "incomplete optimisation",
        5: "transfer failure",
        6: "unconstrained attack failure",
    }
)
"""The six Indicators of Attack Failure (Pintor et al., NeurIPS 2022) by their number there."""


@dataclass(frozen=True)
class Rule:
    """What must hold for an evaluation to be believed."""

    id: str
    title: str  # what must hold, with its threshold
    computed: str  # what is computed, on how many examples
    severity: Severity
    source: str
    indicator: int | None = None  # a key of INDICATORS
    codes: tuple[str, ...] = ()  # the findings that break it

    @property
    def short(self) -> str:
        """What must hold, in few words.

        >>> RULES["A1"].short, RULES["A11"].short
        ('every adversarial image is in the box and within eps (1 + 1e-6)', 'what knows less breaks less')
        """
        return self.title.partition(":")[0].partition(",")[0]


CARLINI = "Carlini et al. 2019"
ATHALYE = "Athalye et al., ICML 2018"
AUTOATTACK = "AutoAttack's flags (Croce & Hein, ICML 2020)"
ROBUSTBENCH = "RobustBench's rules (Croce et al., NeurIPS 2021)"
ATTACKBENCH = "AttackBench (Cinà et al., AAAI 2025)"
PINTOR = "Pintor et al., NeurIPS 2022"
TRAMER = "Tramèr et al., NeurIPS 2020"
HOUSE = "this benchmark"

_ALL = (
    Rule(
        "P1",
        "the threat model is complete: norm, eps, box, goal, knowledge, budget",
        "the record's fields and each column's knowledge",
        "block",
        CARLINI,
    ),
    Rule(
        "P2",
        "the network is in eval mode and answers the same alone, in a batch, shuffled, with gradients, and "
        "after the attacks",
        "logits of 32 test images and of 32 near them, differences of at most 1e-3; after the attacks those "
        "of the same defense deployed anew",
        "block",
        f"{ROBUSTBENCH}; {ATTACKBENCH}",
        codes=(
            "batch-dependent",
            "train-mode",
            "answers-depend-on-gradients",
            "answers-depend-on-history",
        ),
    ),
    Rule(
        "P3",
        "the network takes pixels from 0 to 1 as they are",
        "labels of 32 test images as they are, standardised, in [-1, 1] and in [0, 255]; none is "
        "significantly better (exact McNemar, p < 0.001)",
        "block",
        "AutoAttack's questions (issue 13)",
        codes=("normalised-outside",),
    ),
    Rule(
        "P4",
        "the outputs are logits, not probabilities",
        "outputs for 32 test images: not all rows in [0, 1] with sum 1",
        "warn",
        AUTOATTACK,
        codes=("probabilities-for-logits",),
    ),
    Rule(
        "P5",
        "gradients are there: finite, zero on at most 1 % of attacked images (or one of few), and those of "
        "the network",
        "gradients of cross-entropy, DLR and margin on 32 test images, and the margin's slope by central "
        "differences (median within a factor of 2); every gradient of the white-box columns",
        "warn",
        f"{AUTOATTACK}; {PINTOR}",
        1,
        ("zero-gradients", "no-gradients", "gradients-not-finite", "gradients-disagree"),
    ),
    Rule(
        "P6",
        "no optimisation at inference",
        "calls of autograd during a forward pass of 2 test images without gradients: none",
        "warn",
        f"{ROBUSTBENCH}; {AUTOATTACK}",
        codes=("optimises-at-inference",),
    ),
    Rule(
        "P7",
        "the randomness declared is the randomness measured",
        "ten answers to the same 32 test images and to 32 near them: equal unless randomized",
        "block",
        ROBUSTBENCH,
        2,
        ("undeclared-randomness", "declared-randomness-absent"),
    ),
    Rule(
        "P8",
        "the network tells classes apart: not one answer for all, and none of classes in another order",
        "the run's clean answers: of at least 10 examples of other classes, fewer than 95 % get the most "
        "frequent answer, too. It only warns where fewer are right than a guess makes it (exact binomial "
        "test, p < 0.001), and where another order of the classes, chosen by half of them, doubles those "
        "that are right among the rest (exact McNemar, p < 0.001)",
        "block",
        HOUSE,
        codes=("one-answer", "classes-permuted"),
    ),
    Rule(
        "A1",
        "every adversarial image is in the box and within eps (1 + 1e-6)",
        "the referee's distance for each example; how many candidates it had to move, at most 1 %",
        "block",
        ATTACKBENCH,
        codes=("outside-budget", "left-budget", "not-a-number"),
    ),
    Rule(
        "A2",
        "the stored images fool the defense again, in another batch and from their file",
        "all stored adversarial images of the worst case; the verdicts are equal",
        "block",
        "issues of DiffBreak (1) and of others",
        codes=("evidence-disagrees",),
    ),
    Rule(
        "A3",
        "the number is the example-wise worst case over all columns and all examples",
        "recounted from the examples of the run",
        "block",
        CARLINI,
        codes=("worst-case-miscounted",),
    ),
    Rule(
        "A4",
        "weak attacks are not stronger than strong ones",
        "examples that one-step attacks break and every iterative attack leaves: at most 1 %; accuracies "
        "FGSM >= PGD >= APGD within their paired 95 % intervals, over all runs of the training",
        "warn",
        CARLINI,
        codes=("weak-beats-strong", "one-step-overfitted"),
    ),
    Rule(
        "A5",
        "success grows with eps, and not all at once",
        "APGD with 20 steps, and the defense's own loss, at eight radii from eps/4 to 2 eps, on 100 "
        "examples; no accuracy above one at a smaller radius by more than its paired 95 % interval; and, "
        "where it falls most, at radii in between: no third of what is right when clean falls within 1 % of "
        "one radius",
        "warn",
        f"{CARLINI}; {HOUSE}",
        codes=("success-falls-with-eps", "cliff-at-a-radius"),
    ),
    Rule(
        "A6",
        "an attack without limit breaks everything: accuracy at most 1 % in the whole box",
        "APGD, PGD on the margin and on the defense's own loss, 40 steps each, in the whole box, on 100 "
        "examples",
        "warn",
        f"{ATHALYE}; {PINTOR}",
        6,
        ("unconstrained-attack-fails",),
    ),
    Rule(
        "A7",
        "twice the steps change accuracy by at most 0.5 points, twice the restarts by at most 0.3",
        "on what all columns of the run left of 200 examples: its strongest PGD, or PGD with 50 steps where "
        "it has none, once with twice the steps, and as often again as it was run; a change that one "
        "example makes is allowed",
        "warn",
        CARLINI,
        codes=("more-steps-help", "more-restarts-help"),
    ),
    Rule(
        "A8",
        "the attack has converged: its loss changes by at most 5 % over its last 10 steps",
        "the best loss so far of the strongest PGD of the run, run once on what all columns left of 100 "
        "examples, relative to its rise over the whole attack, which is more than none; on most that stand, "
        "by the 95 % interval of their share; of a randomized defense by 20 fresh draws (t test, p < 0.001). "
        "Open where the run has no PGD, or other columns broke more",
        "warn",
        PINTOR,
        4,
        ("not-converged",),
    ),
    Rule(
        "A9",
        "an attack returns the successes that it has on the way",
        "confirmed successes of which the attack was told, and it returned an image that fails, in each "
        "column: at most 1 % of examples",
        "warn",
        PINTOR,
        3,
        ("silent-success",),
    ),
    Rule(
        "A10",
        "the loss is smooth around the images",
        "relative change of the margin by 100 random steps within eps/100, capped at 1, mean over 20 "
        "examples: at most 10 %; and within eps",
        "warn",
        PINTOR,
        2,
        ("unstable-loss",),
    ),
    Rule(
        "A11",
        "what knows less breaks less: examples that only a transfer or query attack breaks, at most 0.2 %",
        "example by example over all runs of the training; 1 example is allowed",
        "warn",
        f"{AUTOATTACK}; {ATHALYE}",
        codes=("black-box-beats-white-box", "gradients-mislead"),
    ),
    Rule(
        "A12",
        "a decision-based attack was run on at least 200 examples",
        "columns that see labels only, over all runs of the training",
        "warn",
        CARLINI,
    ),
    Rule(
        "A13",
        "random noise finds nothing that gradients do not",
        "1,000 uniform draws around each of 20 examples that the run left: none is broken",
        "info",
        CARLINI,
        codes=("noise-beats-gradients",),
    ),
    Rule(
        "A14",
        "the attackers' networks are trained independently of the victim",
        "training ids in the record: all differ from the victim's; the run compared the weights' digests",
        "block",
        "TRS (issue 8)",
        codes=("surrogate-is-victim",),
    ),
    Rule(
        "A15",
        "a defense of special parts was attacked adaptively, and that attack is at least as strong",
        "traits of the record, each with a column made to get past it, and the accuracy under adaptive "
        "columns over all runs of the training: not above that of the default columns by more than its "
        "paired 95 % interval",
        "block",
        TRAMER,
        codes=("no-adaptive-attack", "adaptive-is-weaker"),
    ),
    Rule(
        "A16",
        "the differentiable stand-in leads to what fools the defense itself",
        "PGD on the stand-in, on 100 examples: at most 10 % of those that fool the stand-in fail on the "
        "defense, and at least one fools it; the difference of their logits",
        "warn",
        f"{CARLINI}; {PINTOR}",
        5,
        ("transfer-failure",),
    ),
    Rule(
        "A17",
        "gradients of a randomized defense are averaged over enough samples",
        "cosine of two averaged gradients on 32 test images, median at least 0.5; accuracy under PGD, "
        "randomness varying and fixed, on 20",
        "warn",
        CARLINI,
        codes=("too-few-eot-samples",),
    ),
    Rule(
        "A18",
        "the attack climbs the detector too, and what nobody attacked is not refused",
        "whether the defense states a suspicion with a slope, or an adaptive loss; the share refused of what "
        "the network itself gets right of the run's first 200 images: at most a tenth of them as they are, "
        "and half of them moved by 1/32 at random, both by the 95 % interval",
        "block",
        CARLINI,
        codes=("detector-not-attacked", "refuses-clean-images", "refuses-any-change"),
    ),
    Rule(
        "A19",
        "targeted and untargeted attacks are both reported",
        "the columns of all runs of the training",
        "info",
        CARLINI,
    ),
    Rule(
        "A20",
        "the defense is compared with itself, each part turned off",
        "records of the same defense with other switches and all else the same, in the store",
        "info",
        CARLINI,
    ),
    Rule(
        "A21",
        "the attacks reach their known number where it is known",
        "accuracy of a linear classifier under PGD and APGD against its closed form, on 200 points: equal "
        "within 0.5 points",
        "block",
        CARLINI,
        codes=("attack-misses-closed-form",),
    ),
    Rule(
        "A22",
        "other threats were looked at once: rotations, translations, corruptions",
        "what `bench shift` measured of the same weights, in the store: corruptions and poses",
        "info",
        CARLINI,
    ),
    Rule(
        "S1",
        "every accuracy has its 95 % Wilson interval, and its n",
        "recomputed for the clean accuracy, each column and the worst case",
        "block",
        HOUSE,
        codes=("wrong-interval",),
    ),
    Rule(
        "S2",
        "two defenses are compared on the same examples by an exact test",
        "records of other defenses with the same data, budget, attacks and examples, in the store, each "
        "network once: McNemar, Holm; better is who is better than every network of a defense",
        "warn",
        HOUSE,
    ),
    Rule(
        "S3",
        "a claim of improvement has at least three training seeds",
        "records with other seeds and other weights, and all else the same, in the store; weights that "
        "nobody trained here are one training",
        "warn",
        "issue 30 of the checklist of Carlini et al. 2019",
    ),
    Rule(
        "S4",
        "the epoch is chosen by a rule, without the test set",
        "the record's training: last epoch, or best on held-out training images",
        "block",
        "AWP (issue 2)",
    ),
    Rule(
        "S5",
        "the record says what the number is of: eps, n, commit, data, attacks, seed and device",
        "the record's fields",
        "block",
        HOUSE,
    ),
    Rule(
        "S6",
        "what each attack cost is told, failures counted at all they spent",
        "forwards, backwards, queries and seconds of each column",
        "info",
        ATTACKBENCH,
    ),
    Rule(
        "S7",
        "each attack is compared with the best of all on every example",
        "the share of examples broken by any column that each column breaks",
        "info",
        ATTACKBENCH,
    ),
    Rule(
        "S8",
        "the table follows from the stored examples, and the code is that of the record",
        "counts of every column recounted from the examples; digests of the code",
        "block",
        HOUSE,
        codes=("counts-disagree",),
    ),
)

RULES: Mapping[str, Rule] = MappingProxyType({rule.id: rule for rule in _ALL})
"""The catalogue, in its order: evaluation (P), attacks (A), statistics and store (S)."""

RULE_OF: Mapping[str, str] = MappingProxyType({code: rule.id for rule in _ALL for code in rule.codes})
"""The rule that each finding breaks."""

INDICATOR_OF: Mapping[str, int] = MappingProxyType(
    {
        code: rule.indicator
        for rule in _ALL
        for code in rule.codes
        if rule.indicator is not None and code != "declared-randomness-absent"
    }
)
"""The Indicator of Attack Failure that each finding shows, where it shows one."""


def rule_of(code: str) -> Rule:
    """The rule that a finding breaks.

    >>> rule_of("zero-gradients").id, INDICATORS[INDICATOR_OF["zero-gradients"]]
    ('P5', 'unavailable gradients')
    """
    return RULES[RULE_OF[code]]
