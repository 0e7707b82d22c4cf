"""The catalogue: what each control is, who showed it, and which finding must name it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from bad_attacks import NotANumber
from zoo import broken_attacks as attacks

from bench.api import Attack, Suite, Trial
from bench.attacks.apgd import TargetedAPGD
from bench.attacks.aware import DetectorAware
from bench.attacks.fgsm import FGSM
from bench.attacks.noise import UniformNoise
from bench.attacks.pgd import PGD
from bench.attacks.rays import RayS
from bench.attacks.square import Square
from bench.core.threat import DECISIONS, SCORES, WHITE_BOX, WHITE_BOX_BPDA
from bench.records.rules import RULE_OF
from bench.suites.autoattack import AUTOATTACK
from bench.suites.fast import FAST, FAST_1

ATHALYE = "Athalye, Carlini & Wagner, ICML 2018"
TRAMER = "Tramèr, Carlini, Brendel & Madry, NeurIPS 2020"
DISTILLATION = "Carlini & Wagner, S&P 2017"
PINTOR = "Pintor et al., NeurIPS 2022"
ROBUSTBENCH = "Croce et al., NeurIPS 2021"
HARMLESS = "–"
OURS = "this benchmark"


CHEATS = f"{Path(__file__).with_name('cheats.py')}:Cheating"
TRAINED = f"{Path(__file__).with_name('cheats.py')}:Trained"
"""The two classes of broken defenses, as `--defense` takes them."""

USUAL, WITH_ROOM = Fraction(1, 5), Fraction(1, 10)
"""The customary radius of the digits; and that of defenses that work, who must be beyond doubt from any seed.

At the customary one the loss around them bends so much that Square finds an image or two that no gradient led
to: a network with a flaw that A11 is right to name.
"""

STEP = Fraction(1, 4)
"""Of PGD, in shares of eps."""

NOISE = Trial("noise", UniformNoise(draws=10), WHITE_BOX)
ONE_STEP = Trial("fgsm", FGSM(), WHITE_BOX)
PGD_20 = Trial("pgd_20", PGD(steps=20, step_size=STEP), WHITE_BOX)
CW_80 = Trial("cw_80", PGD(steps=80, step_size=Fraction(1, 10), loss="margin"), WHITE_BOX)
APGD_T = Trial("apgd_t", TargetedAPGD(steps=20, targets=9), WHITE_BOX)
SQUARE = Trial("square", Square(queries=400), SCORES)
ADAPTIVE = Trial("adaptive", PGD(steps=20, step_size=STEP, loss="adaptive"), WHITE_BOX)
BPDA = Trial("bpda", PGD(steps=20, step_size=STEP), WHITE_BOX_BPDA)
OWN_LOSS = Trial("adaptive", PGD(steps=80, step_size=Fraction(1, 10), loss="adaptive"), WHITE_BOX)
BPDA_T = Trial("bpda", TargetedAPGD(steps=20, targets=9), WHITE_BOX_BPDA)
AWARE = Trial("aware", DetectorAware(steps=40, rule="selective"), WHITE_BOX)
RAYS = Trial("rays", RayS(), DECISIONS)

SUITE = (NOISE, ONE_STEP, PGD_20, CW_80, APGD_T, SQUARE)
"""What every defense is attacked with."""


AUDITED = ("A5", "A6", "A7", "A8", "A10", "A13", "A15", "A16", "A17", "A18")
"""The rules for which an audit attacks or probes; the others every run applies."""


@dataclass(frozen=True)
class Control:
    """One row of the confusion table."""

    name: str
    fault: str  # in one sentence
    shown_by: str
    codes: tuple[str, ...] = ()  # findings that name the fault, each of which must be raised; honest: none
    also: tuple[str, ...] = ()  # true consequences, which may be raised besides
    defense: str = CHEATS
    fields: Mapping[str, str] = field(default_factory=dict)
    trials: tuple[Trial, ...] = SUITE
    eps: Fraction = USUAL  # of training and attacks, Linf
    epochs: int = 10

    @property
    def is_honest(self) -> bool:
        """Nothing is wrong with it."""
        return not self.codes

    @property
    def is_audited(self) -> bool:
        """An audit is to name it, or to find nothing: attacks of its own take seconds more."""
        return self.is_honest or any(RULE_OF[code] in AUDITED for code in self.codes)


def _cheat(
    name: str,
    fault: str,
    shown_by: str,
    *codes: str,
    also: tuple[str, ...] = (),
    of: str = "standard",
    more: tuple[Trial, ...] = (),
    eps: Fraction = USUAL,
) -> Control:
    return Control(name, fault, shown_by, codes, also, CHEATS, {"cheat": name, "of": of}, SUITE + more, eps)


def _trained(
    name: str,
    fault: str,
    shown_by: str,
    *codes: str,
    also: tuple[str, ...] = (),
    eps: Fraction = USUAL,
    epochs: int = 10,
) -> Control:
    return Control(name, fault, shown_by, codes, also, TRAINED, {"kind": name}, eps=eps, epochs=epochs)


def _plain(kind: str, what: str, against: str = "") -> Control:
    """An honest network of another kind."""
    name, fields = f"{kind}_{against}" if against else kind, {"kind": kind, "against": against}
    return Control(name, f"none: {what}", HARMLESS, defense=TRAINED, fields=fields, eps=WITH_ROOM)


def _under(defense: str, suite: Suite) -> Control:
    """An honest network under a suite that has no PGD of the audit's kind."""
    name = f"{defense}_{suite.name}_{suite.version}"
    fault = f"none: {defense}, as {suite.name}@{suite.version} attacks it"
    return Control(name, fault, HARMLESS, defense=defense, trials=suite.trials, eps=WITH_ROOM)


def _attack(
    name: str, fault: str, shown_by: str, attack: Attack, *codes: str, also: tuple[str, ...] = ()
) -> Control:
    trials = (NOISE, ONE_STEP, Trial("pgd_20", attack, WHITE_BOX))
    return Control(name, fault, shown_by, codes, also, "standard", trials=trials)


COMPANY = ("silent-success", "evidence-disagrees")
"""What else is seen where the same image gets another answer in other company."""

RANDOM = (*COMPANY, "answers-depend-on-history")
"""The same, where it does at another time."""

LUCKY = (*RANDOM, "one-step-overfitted")
"""The same of randomness that nobody declares: whoever asks often wins by a draw, and one step asks once."""

DETECTOR = ("no-adaptive-attack", "success-falls-with-eps")
"""What else is seen of a detector that no attack climbs and that knows clean pixels by their sixteenths."""

HIDDEN = (
    "one-step-overfitted",
    "more-steps-help",
    "zero-gradients",
    "unconstrained-attack-fails",
    "black-box-beats-white-box",
    "noise-beats-gradients",
    "weak-beats-strong",
    "not-converged",
)
"""What attackers who climb meet where gradients are hidden."""


HONEST = (
    Control("standard", "none: undefended, and that is what is measured", HARMLESS, defense="standard"),
    Control("pgd_at", "none: adversarial training", HARMLESS, defense="pgd_at", eps=WITH_ROOM),
    Control("trades", "none: adversarial training", HARMLESS, defense="trades", eps=WITH_ROOM),
    Control("linear", "none: a linear network", HARMLESS, defense=TRAINED, fields={"kind": "linear"}),
    _cheat(
        "honest_noise",
        "none: noise that is declared, and averaged over",
        HARMLESS,
        of="pgd_at",
        eps=WITH_ROOM,
    ),
    _cheat(
        "honest_blur",
        "none: a differentiable purifier, attacked end to end",
        HARMLESS,
        of="pgd_at",
        more=(OWN_LOSS, BPDA_T),  # as strong as what the rest of the suite does to it
        eps=WITH_ROOM,
    ),
    _cheat(
        "honest_smoothing",
        "none: the mean of four noisy answers, declared, and averaged over",
        HARMLESS,
        of="pgd_at",
        eps=WITH_ROOM,
    ),
    _cheat(
        "honest_detector",
        "none: refuses the few images that it is least sure of, and says so to attackers",
        HARMLESS,
        of="pgd_at",
        more=(AWARE,),
        eps=WITH_ROOM,
    ),
    _cheat(
        "honest_bfloat16",
        "none: weights and arithmetic of eight bits",
        HARMLESS,
        of="pgd_at",
        eps=WITH_ROOM,
    ),
    _cheat("honest_and_sure", "none: logits five times as large", HARMLESS, of="pgd_at", eps=WITH_ROOM),
    _plain("pooling", "convolutions and average pooling"),
    _plain("layer_norm", "LayerNorm and GELU"),
    _plain("group_norm", "convolutions and GroupNorm"),
    _plain("patches", "a small vision transformer"),
    _plain("group_norm", "convolutions and GroupNorm, trained adversarially", against="pgd"),
    _under("pgd_at", FAST_1),
    _under("trades", FAST),
    _under("standard", AUTOATTACK),
)
"""Who must raise nothing."""

BROKEN = (
    _cheat(
        "saturated",
        "logits a hundred times as large leave the softmax no slope",
        DISTILLATION,
        "zero-gradients",
        also=HIDDEN,
    ),
    _cheat("rounded_logits", "logits are rounded to 0.1", PINTOR, "zero-gradients", also=HIDDEN),
    _cheat("one_hot", "the answer is one-hot, times 10,000", OURS, "no-gradients"),
    _cheat(
        "thermometer", "pixels become counts of thresholds, which have no derivative", ATHALYE, "no-gradients"
    ),
    _cheat(
        "jpeg", "the cosine transform is rounded before the network", ATHALYE, "zero-gradients", also=HIDDEN
    ),
    _cheat(
        "rounded_images",
        "pixels are rounded to eighths before the network",
        ATHALYE,
        "zero-gradients",
        also=HIDDEN,
    ),
    _cheat("floored", "a hook sets gradients below a threshold to zero", OURS, "zero-gradients", also=HIDDEN),
    _cheat(
        "no_derivative", "the derivative is infinity times zero", PINTOR, "gradients-not-finite", also=HIDDEN
    ),
    _cheat("turned_round", "a hook turns every gradient round", OURS, "gradients-disagree", also=HIDDEN),
    _cheat(
        "noise_for_gradients", "backwards, a layer returns noise", ATHALYE, "gradients-disagree", also=HIDDEN
    ),
    _trained(
        "k_winners",
        "k-winners-take-all in the place of ReLU: the loss jumps at every step",
        TRAMER,
        "one-step-overfitted",
        also=("unstable-loss", *HIDDEN),
    ),
    _trained(
        "one_step",
        "trained against FGSM until it resists that attack and no other",
        "Wong, Rice & Kolter, ICLR 2020",
        "one-step-overfitted",
        also=HIDDEN,
        eps=Fraction(3, 10),
        epochs=30,
    ),
    _cheat(
        "probabilities",
        "the outputs are probabilities",
        ROBUSTBENCH,
        "probabilities-for-logits",
        also=HIDDEN,
    ),
    _cheat(
        "one_answer",
        "answers one class, whatever it is shown, with slopes and all",
        OURS,
        "one-answer",
    ),
    _cheat(
        "normalised_outside",
        "it wants pixels from 0 to 255, which nobody gives it",
        ROBUSTBENCH,
        "normalised-outside",
        also=("one-answer",),
    ),
    _cheat(
        "batch_statistics",
        "logits are standardised by the batch at hand",
        ROBUSTBENCH,
        "batch-dependent",
        also=COMPANY,
    ),
    _cheat(
        "train_mode",
        "a BatchNorm puts itself back into train mode",
        ROBUSTBENCH,
        "train-mode",
        also=("batch-dependent", *COMPANY),
    ),
    _cheat("noise", "noise at test time that nobody declares", ATHALYE, "undeclared-randomness", also=LUCKY),
    _cheat(
        "random_shift",
        "a random shift at test time that nobody declares",
        ATHALYE,
        "undeclared-randomness",
        also=LUCKY,
    ),
    _cheat(
        "noise_off_the_grid",
        "noise for attacked images alone, as their pixels are no sixteenths",
        OURS,
        "undeclared-randomness",
        also=LUCKY,
    ),
    _cheat(
        "said_to_be_random",
        "declares a randomness that it has not",
        ROBUSTBENCH,
        "declared-randomness-absent",
    ),
    _cheat(
        "one_eot_sample",
        "a noisy gradient, of which its authors ask for one sample",
        ATHALYE,
        "too-few-eot-samples",
        also=("silent-success", "no-adaptive-attack", *HIDDEN),
    ),
    _cheat(
        "descends",
        "moves each image uphill before it answers",
        ROBUSTBENCH,
        "optimises-at-inference",
        also=("gradients-disagree", *HIDDEN),
    ),
    _cheat(
        "sees_derivatives",
        "answers something else where a gradient could be asked for",
        OURS,
        "answers-depend-on-gradients",
        also=("gradients-disagree", *HIDDEN),
    ),
    _cheat(
        "remembers",
        "gives the old answer to images near those it has seen",
        OURS,
        "answers-depend-on-history",
        also=("gradients-disagree", *RANDOM, *HIDDEN),
    ),
    _cheat(
        "turns_over",
        "changes after its sixtieth call",
        OURS,
        "answers-depend-on-history",
        also=(*RANDOM, *HIDDEN),
    ),
    _cheat(
        "refuses_attacks",
        "refuses what no camera made; no attack is told of it",
        TRAMER,
        "detector-not-attacked",
        also=DETECTOR,
    ),
    _cheat(
        "flat_suspicion",
        "the suspicion that attackers climb is flat",
        OURS,
        "detector-not-attacked",
        also=DETECTOR,
    ),
    _cheat("nearest_test_image", "the purifier returns the nearest test image", OURS, "no-gradients"),
    _cheat(
        "stand_in_of_another",
        "attackers are lent a stand-in that is another network",
        PINTOR,
        "transfer-failure",
        also=HIDDEN,
    ),
    _cheat(
        "undeclared_loss",
        "a purifier, and no attack is made for it",
        TRAMER,
        "no-adaptive-attack",
        also=HIDDEN,
    ),
    _cheat(
        "lost_loss",
        "the adaptive loss that its authors state leads back to the clean image",
        TRAMER,
        "adaptive-is-weaker",
        more=(ADAPTIVE,),
    ),
    _cheat(
        "cliff",
        "knows the test images by heart, and whatever is within the radius of one",
        OURS,
        "cliff-at-a-radius",
    ),
    _cheat(
        "order",
        "tells who is first, with a slope that leads nowhere: only labels say where the boundary is",
        OURS,
        "black-box-beats-white-box",
        also=HIDDEN,
        more=(RAYS,),
    ),
    _cheat(
        "plateau",
        "where the network is sure its loss is flat",
        PINTOR,
        "zero-gradients",
        also=HIDDEN,
    ),
    _cheat(
        "in_half",
        "a cold softmax in float16: small probabilities are zero, their logarithms endless",
        DISTILLATION,
        "gradients-not-finite",
        also=HIDDEN,
    ),
    _cheat(
        "sine",
        "a ripple on the pixels, whose slope hides the network's",
        ATHALYE,
        "gradients-disagree",
        also=HIDDEN,
    ),
    _cheat(
        "adapts_to_batch",
        "brings each batch to a mean at test time",
        ROBUSTBENCH,
        "batch-dependent",
        also=(*COMPANY, *HIDDEN),
    ),
    _cheat(
        "dealt",
        "all logits but the first are dealt out anew in each call",
        OURS,
        "undeclared-randomness",
        also=(*LUCKY, *HIDDEN),
    ),
    _cheat(
        "dropped",
        "half of the pixels are left out at random, and its authors ask for one sample",
        ATHALYE,
        "too-few-eot-samples",
        also=("silent-success", "no-adaptive-attack", *HIDDEN),
    ),
    _cheat(
        "refuses_doubt",
        "refuses whatever is doubtful, a good part of the clean images too",
        TRAMER,
        "refuses-clean-images",
        also=("silent-success", "black-box-beats-white-box"),  # what Square raises further, it refuses
        more=(AWARE,),
    ),
    _cheat(
        "refuses_change",
        "refuses whatever is no sixteenth, by a suspicion that has a slope",
        TRAMER,
        "refuses-any-change",
        also=DETECTOR,
        more=(AWARE,),
    ),
)
"""Whose fault must be named."""

ATTACKS = (
    _attack(
        "last_iterate",
        "returns its last image though an earlier one succeeded",
        PINTOR,
        attacks.LastIterate(),
        "silent-success",
    ),
    _attack(
        "leaves_ball",
        "leaves the ball by 1/255",
        "Cinà et al., AAAI 2025",
        attacks.LeavesBall(),
        "left-budget",
        also=("weak-beats-strong",),  # what the referee moves back is weaker than it was meant
    ),
    _attack(
        "leaves_box",
        "leaves the box",
        "Cinà et al., AAAI 2025",
        attacks.LeavesBox(),
        "left-budget",
        also=("weak-beats-strong",),
    ),
    _attack(
        "not_a_number",
        "returns NaN",
        PINTOR,
        NotANumber(),
        "not-a-number",
        also=("weak-beats-strong",),
    ),
    _attack(
        "too_short",
        "two steps of eps/20",
        PINTOR,
        PGD(steps=2, step_size=Fraction(1, 20)),
        "not-converged",
        also=("weak-beats-strong", "more-steps-help"),
    ),
    _attack(
        "tiny_steps",
        "twenty steps of eps/200",
        PINTOR,
        PGD(steps=20, step_size=Fraction(1, 200)),
        "not-converged",
        also=("weak-beats-strong", "more-steps-help"),
    ),
    _attack("wrong_way", "goes down where it should climb", PINTOR, attacks.WrongWay(), "weak-beats-strong"),
    _attack("gives_up", "returns the clean image", PINTOR, attacks.GivesUp(), "weak-beats-strong"),
)
"""Attacks whose fault must be named, on a network without a defense."""

UNSEEN = (
    _cheat(
        "soft_test_images",
        "the purifier mixes test images, with gradients and all",
        OURS,
        also=("not-converged",),
        more=(ADAPTIVE, BPDA),
    ),
)
"""Broken too, and no check sees it: what is to be built next."""

CONTROLS = (*HONEST, *BROKEN, *ATTACKS)
