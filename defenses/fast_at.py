"""Adversarial training with a single step, in the two forms that the field compares with.

FGSM-RS: Wong, Rice, Kolter, "Fast Is Better than Free: Revisiting Adversarial Training", ICLR 2020,
arXiv 2001.03994. N-FGSM: de Jorge, Bibi, Volpi, Sanyal, Torr, Rogez, Dokania, "Make Some Noise: Reliable and
Efficient Single-Step Adversarial Training", NeurIPS 2022, arXiv 2202.01181.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Generator, Tensor, nn

from bench.api import Attack, AttackMode, Batch, Defense, Deployed, FitContext, Oracle, Task, Terms
from bench.attacks import geometry
from bench.attacks.ascent import Ascent
from bench.attacks.losses import cross_entropy
from bench.attacks.parameters import require_fraction_of_eps
from bench.core.threat import Budget
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.train.loop import fit_classifier

Variant = Literal["fgsm_rs", "n_fgsm"]


@dataclass(frozen=True)
class FastAt:
    """Minimise CE(z(x'), y), x' one step of the gradient's sign from a random start.

    fgsm_rs starts uniformly within the budget and projects back to it; n_fgsm starts from more noise than
    the budget allows and does not project, so x' may lie up to (noise + step) eps away. One-step training can
    overfit catastrophically: it then resists its own attack and no other. The training loop watches for this
    (`bench.train.guard`) and stops with the weights of the best epoch kept. As in both released codes the
    network is attacked as it trains, with the statistics of the batch.
    """

    paper: ClassVar[str] = (
        "Wong et al., Fast Is Better than Free, ICLR 2020 (fgsm_rs); "
        "de Jorge et al., Make Some Noise, NeurIPS 2022 (n_fgsm)"
    )
    reconstruction: ClassVar[str | None] = None

    variant: Variant = "fgsm_rs"
    step_size: Fraction | None = None  # of eps; None: the authors', 5/4 for fgsm_rs and 1 for n_fgsm
    noise: Fraction = Fraction(2)  # k of n_fgsm: it starts from x + U(-k eps, k eps); fgsm_rs: always 1
    clip_start: bool = True  # whether fgsm_rs starts at valid pixels, as on CIFAR-10; on MNIST it does not
    attack_mode: AttackMode = "train"  # as released

    def __post_init__(self) -> None:
        self._attack()  # says what is out of range

    @property
    def requires(self) -> Mapping[str, str]:
        """Nothing is trained before."""
        return {}

    def build(self, task: Task) -> nn.Module:
        """The bare classifier."""
        return network(task)

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Train in place."""
        attack = self._attack()

        def step(model: nn.Module, batch: Batch) -> Terms:
            x_adv = context.attack(net, attack, batch.x, batch.y, mode=self.attack_mode)
            return {"adversarial": F.cross_entropy(model(x_adv).float(), batch.y)}

        fit_classifier(net, context, step)

    def deploy(self, net: nn.Module) -> Deployed:
        """The classifier as it is."""
        return Deployed(predict=net)

    def _attack(self) -> Attack:
        if self.variant == "n_fgsm":
            return NoisyFGSM(Fraction(1) if self.step_size is None else self.step_size, self.noise)
        step_size = Fraction(5, 4) if self.step_size is None else self.step_size
        return Ascent(cross_entropy, 1, step_size, clip_start=self.clip_start)


@dataclass(frozen=True)
class NoisyFGSM(Attack):
    """One steepest step from x + U(-noise eps, noise eps), clipped to the box but not to the budget.

    For training only: a referee would project what it proposes.
    """

    step_size: Fraction = Fraction(1)  # of eps
    noise: Fraction = Fraction(2)  # of eps

    def __post_init__(self) -> None:
        require_fraction_of_eps("NoisyFGSM", "step_size", self.step_size)
        if self.noise < 0:
            raise BadValue(f"NoisyFGSM.noise is {self.noise}, expected a multiple of eps of at least 0")

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]; one gradient."""
        wider = Budget(budget.norm, budget.eps * self.noise)
        start = geometry.random_start(x, wider, generator)
        climb = oracle.climb(cross_entropy, start, y)
        return geometry.steepest_step(start, climb.gradient, budget, float(self.step_size)).clamp_(0, 1)


FGSM_RS = FastAt()
"""Fast adversarial training: a uniform start, one step of 5/4 eps, projected."""

N_FGSM = FastAt(variant="n_fgsm")
"""Noise of 2 eps, one step of eps, not projected."""

_: Defense = FastAt()
