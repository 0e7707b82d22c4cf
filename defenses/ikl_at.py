"""IKL-AT: adversarial training by the improved Kullback-Leibler divergence.

Cui, Tian, Zhong, Qi, Yu, Zhang, "Decoupled Kullback-Leibler Divergence Loss", NeurIPS 2024, arXiv 2305.13948.
Formulas follow the authors' released code (its first version, which the paper describes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.api import Batch, Defense, Deployed, FitContext, Task, Terms
from bench.attacks.ascent import Ascent
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.train.loop import fit_classifier
from defenses.losses import away, soft_cross_entropy

Weights = Literal["class", "sample"]


@dataclass(frozen=True)
class IklAt:
    """Minimise CE(z(x), y) + beta wMSE(x, x') + alpha CE(z(x'), p(x)).

    KL(p(x) || p(x')) has the gradient of wMSE + CE, where wMSE is half the variance, under the probabilities
    w = p(x), of how far each logit moved, and learns through z(x) alone (Theorem 1). Improved: w is the mean
    p of the image's class, softened by t and taken over the epoch before, and wMSE reaches z(x'), too. p(x)
    is fixed in the cross-entropy. x' are the images that make KL(p(x) || p(x')) largest.

    The published network was trained under adversarial weight perturbation from its tenth epoch of 200 on:
    `awp[base=ikl_at,gamma=0.005,warmup=9/200]`. Its radius rises over all of them: `--recipe paper_ikl_at`.
    """

    paper: ClassVar[str] = "Cui et al., Decoupled Kullback-Leibler Divergence Loss, NeurIPS 2024"
    reconstruction: ClassVar[str | None] = None

    alpha: float = 4.0  # weight of the cross-entropy of x' against p(x)
    beta: float = 20.0  # weight of wMSE
    t: float = 4.0  # temperature of the class means
    weights: Weights = "class"  # sample: each image's own p(x), as in KL
    symmetric: bool = True  # whether wMSE reaches z(x'), too; in KL it does not
    steps: int = 5  # what the released script comes to; its --train_budget low: 2
    step_size: Fraction = Fraction(1, 2)  # of eps; with --train_budget low: 1
    clip_start: bool = False  # whether the start is cut to [0, 1] before the first gradient; released: after

    def __post_init__(self) -> None:
        self._attack()  # says what is out of range
        for name in ("alpha", "beta"):
            if getattr(self, name) < 0:
                raise BadValue(f"{name} is {getattr(self, name)}, expected a number of at least 0")
        if self.t <= 0:
            raise BadValue(f"t is {self.t}, expected a temperature above 0")

    @property
    def requires(self) -> Mapping[str, str]:
        """Nothing is trained before."""
        return {}

    def build(self, task: Task) -> nn.Module:
        """The classifier, and the class means that its training collects."""
        return WithClassMeans(network(task), task.num_classes)

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Train in place."""
        whole, attack = cast(WithClassMeans, net), self._attack()

        def step(model: nn.Module, batch: Batch) -> Terms:
            whole.enter(context.epochs_done)
            clean = context.observe(net, batch.x).logits
            x_adv = context.attack(net, attack, batch.x, clean)
            logits_adv, logits = model(x_adv), model(batch.x)
            whole.collect(logits / self.t, batch.y)
            return self.terms(logits, logits_adv, batch.y, whole.means)

        fit_classifier(net, context, step)

    def deploy(self, net: nn.Module) -> Deployed:
        """The classifier as it is."""
        return Deployed(predict=cast(WithClassMeans, net).network)

    def terms(self, logits: Tensor, logits_adv: Tensor, y: Tensor, means: Tensor) -> Terms:
        """Every loss term, weighted, of logits [B, K] of x and of x'; the mean p of each class is [K, K]."""
        weights = means[y] if self.weights == "class" else logits.float().softmax(dim=1).detach()
        other = logits_adv if self.symmetric else logits_adv.detach()
        return {
            "clean": F.cross_entropy(logits.float(), y),
            "spread": self.beta * weighted_spread(logits.float() - other.float(), weights),
            "robust": self.alpha * soft_cross_entropy(logits_adv, logits.float().softmax(dim=1).detach()),
        }

    def _attack(self) -> Ascent:
        return Ascent(away, self.steps, self.step_size, "gaussian", self.clip_start)


class WithClassMeans(nn.Module):
    """A classifier, and mean probabilities of each class in buffers: so a killed training goes on exactly.

    `means` [K, K] are those of the epoch before, row by row, uniform in the first; `sums` those of this one.
    """

    means: Tensor
    sums: Tensor
    epoch: Tensor

    def __init__(self, network: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("means", torch.full((num_classes, num_classes), 1 / num_classes))
        self.register_buffer("sums", torch.zeros(num_classes, num_classes))
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K] of x [n, C, H, W]."""
        logits: Tensor = self.network(x)
        return logits

    @torch.no_grad()
    def enter(self, epoch: int) -> None:
        """Take over what an epoch collected when the next begins; a class without images keeps its row."""
        begins = self.epoch != epoch  # on the device: nothing waits for it
        total = self.sums.sum(dim=1, keepdim=True)
        self.means.copy_(torch.where(begins & (total > 0), self.sums / total.clamp_min(1e-12), self.means))
        self.sums.mul_(~begins)
        self.epoch.fill_(epoch)

    @torch.no_grad()
    def collect(self, logits: Tensor, y: Tensor) -> None:
        """Add the probabilities of logits [B, K] to the rows of their labels y [B]."""
        self.sums.index_add_(0, y, logits.float().softmax(dim=1))


def weighted_spread(moved: Tensor, weights: Tensor) -> Tensor:
    """Half the weighted variance of how far each logit moved, mean over the batch; both are [B, K].

    It is 1/4 sum_jk w_j w_k (m_j - m_k)^2 for weights that sum to one, without its K^2 terms.

    >>> weighted_spread(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.5, 0.5]])).item()
    0.5
    """
    centre = (weights * moved).sum(dim=1, keepdim=True)
    return (weights * (moved - centre).square()).sum(dim=1).mean() / 2


_: Defense = IklAt()
