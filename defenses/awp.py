"""Adversarial weight perturbation around any training (Wu, Xia & Wang, NeurIPS 2020, arXiv 2004.05884)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.api import Batch, Defense, Deployed, FitContext, Step, Task, Terms, Wrapper
from bench.errors import BadValue


@dataclass(frozen=True)
class Awp:
    """min_w max_v L(w + v): the weights, too, are attacked before each step, within gamma of their length.

    L is the whole loss of the base, on the adversarial images that it made with w; the step is taken from w
    with the gradient at w + v (Algorithm 1, with one step for v). What the base's own attack makes of
    BatchNorm's running statistics stays, what the ascent to v would is undone.
    """

    paper: ClassVar[str] = "Wu et al., Adversarial Weight Perturbation, NeurIPS 2020"
    reconstruction: ClassVar[str | None] = None

    base: Defense | str = "pgd_at"  # what is trained: its step, its attack, its loss
    gamma: float = 0.01  # ||v_l|| / ||w_l|| in each layer; the paper's 5e-3 is for TRADES
    warmup: Fraction = Fraction(0)  # share of the steps in which the weights are not attacked yet
    clean_forward: bool = False  # whether clean images go through after each step: BatchNorm's statistics

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < 1:
            raise BadValue(f"warmup is {self.warmup}, expected a share in [0, 1)", "warmup=9/200")
        if not 0 <= self.gamma < 1:
            raise BadValue(f"gamma is {self.gamma}, expected a share in [0, 1)", "gamma=0.01")

    @property
    def requires(self) -> Mapping[str, Defense | str]:
        """What the base requires."""
        return self._base.requires

    def build(self, task: Task) -> nn.Module:
        """The base's modules."""
        return self._base.build(task)

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Train in place."""
        context.around(Perturbation(context, self.gamma, self.warmup, self.clean_forward))
        self._base.fit(net, context)

    def deploy(self, net: nn.Module) -> Deployed:
        """As the base is deployed."""
        return self._base.deploy(net)

    @property
    def _base(self) -> Defense:
        if isinstance(self.base, str):
            raise TypeError("the base is a name, which only bench.plan can resolve")
        return self.base


@dataclass
class Perturbation:
    """The worst weights nearby, found by one step of steepest ascent in each layer."""

    context: FitContext
    gamma: float
    warmup: Fraction = Fraction(0)
    clean_forward: bool = False
    _clean: tuple[nn.Module, Tensor] | None = None  # the model of the step and its clean images
    _held: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # parameter, its weights before

    def terms(self, net: nn.Module, step: Step, model: nn.Module, batch: Batch) -> Terms:
        """The loss at w + v, on the images that were made at w."""
        self._clean = (model, batch.x) if self.clean_forward else None
        if self.context.elapsed < self.warmup:
            return step(model, batch)
        # as in the released code, biases and BatchNorm's weights are not moved
        moved = [weight for weight in net.parameters() if weight.requires_grad and weight.dim() > 1]
        statistics = [(buffer, buffer.clone()) for buffer in net.buffers()]
        terms, again = self.context.rehearse(step, model, batch)
        loss = torch.stack([term.float() for term in terms.values()]).sum()
        gradients = torch.autograd.grad(loss, moved, allow_unused=True)
        with torch.no_grad():
            for buffer, before in statistics:  # the ascent updates no running statistics
                buffer.copy_(before)
            self._held = [
                (weight, weight.clone())
                for weight, gradient in zip(moved, gradients, strict=True)
                if gradient is not None
            ]
            for weight, gradient in zip(moved, gradients, strict=True):
                if gradient is not None:
                    weight.add_(perturbation(weight, gradient, self.gamma))
        return again()

    def after_backward(self, net: nn.Module) -> None:
        """Back to w, exactly; the gradient stays that at w + v."""
        with torch.no_grad():
            for weight, before in self._held:
                weight.copy_(before)
        self._held = []

    def after_step(self, net: nn.Module) -> None:
        """Clean images go through the new weights, as in the released code of AT-AWP."""
        if self._clean is None:
            return
        model, x = self._clean
        with torch.no_grad():
            model(x)


def perturbation(weight: Tensor, gradient: Tensor, gamma: float) -> Tensor:
    """v = gamma ||w|| g / ||g|| of one layer; zero where the gradient is.

    >>> perturbation(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]]), 0.1)
    tensor([[0.0000, 0.5000]])
    """
    tiny = torch.finfo(torch.float32).tiny
    share: Tensor = gamma * weight.norm() / gradient.norm().clamp_min(tiny)
    return gradient * share


AT_AWP = Awp(base="pgd_at[last_look=true]", clean_forward=True)
"""AT-AWP as released: PGD training with gamma 0.01, whose script looks at x' once more and at x."""

TRADES_AWP = Awp(base="trades", gamma=0.005, warmup=Fraction(9, 200))
"""TRADES-AWP as released: gamma 0.005, from the tenth of 200 epochs on."""

_: Defense = Awp()
__: type[Wrapper] = Perturbation
