"""Iterative FGSM with what makes its images transfer, each a field, to be combined (five papers, 2018-2021).

Momentum: Dong et al., CVPR 2018. Nesterov look-ahead and scale copies: Lin, Song, He, Wang & Hopcroft,
ICLR 2020. Input diversity: Xie, Zhang, Zhou, Bai, Wang, Ren & Yuille, CVPR 2019. Translation invariance:
Dong, Pang, Su & Zhu, CVPR 2019. Variance tuning: Wang & He, CVPR 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from bench.api import Attack, Needs, Oracle
from bench.attacks import geometry
from bench.attacks.losses import LOSSES, LossName
from bench.attacks.norms import require_norm
from bench.attacks.parameters import require_between, require_count, require_fraction_of_eps, require_one_of
from bench.attacks.witness import or_else
from bench.core.threat import LINF_L2, Budget, Norm
from bench.errors import BadValue


@dataclass(frozen=True)
class TransferFGSM(Attack):
    """Steepest steps along a decaying sum of smoothed, averaged gradients; starts at the clean image.

    Gradients are scaled to a mean absolute value of 1 (L2: to length 1) before they join the momentum, as in
    the papers' released code. The papers write the L1 norm: no sign sees the difference, but a look-ahead
    along gradients so small would move nothing. With every field at its default this is MI-FGSM.
    """

    norms: ClassVar[tuple[Norm, ...]] = LINF_L2
    needs: ClassVar[Needs] = "gradients"

    steps: int = 10
    step_size: Fraction = Fraction("1/10")  # of eps
    decay: float = 1.0  # mu: of the momentum, at each step
    look_ahead: bool = False  # ask where the momentum leads (NI)
    scales: int = 1  # m: gradients of x, x/2, x/4, ... are averaged (SI)
    diversity: float = 0.0  # the probability that an image is shrunk and padded before it is asked about (DI)
    smallest: float = 0.9  # the least side of a shrunken image, as a share of its own
    kernel: int = 1  # side of the Gaussian that smooths gradients; 1: none (TI)
    neighbours: int = 0  # N: how many random neighbours tell the gradient's variance (VMI)
    reach: Fraction = Fraction("3/2")  # beta: how far neighbours are, of eps
    loss: LossName = "cross_entropy"

    def __post_init__(self) -> None:
        require_count("TransferFGSM", "steps", self.steps)
        require_fraction_of_eps("TransferFGSM", "step_size", self.step_size)
        require_between("TransferFGSM", "decay", self.decay, 0, 1)
        require_count("TransferFGSM", "scales", self.scales)
        require_between("TransferFGSM", "diversity", self.diversity, 0, 1)
        require_between("TransferFGSM", "smallest", self.smallest, 0, 1)
        require_count("TransferFGSM", "kernel", self.kernel)
        require_count("TransferFGSM", "neighbours", self.neighbours, least=0)
        require_fraction_of_eps("TransferFGSM", "reach", self.reach)
        require_one_of("TransferFGSM", "loss", self.loss, LOSSES)
        if self.kernel % 2 == 0:
            raise BadValue(
                f"TransferFGSM.kernel is {self.kernel}, expected an odd side: a kernel needs a middle",
                f"kernel={self.kernel + 1}",
            )

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W].

        Each step costs `scales` gradients, and each but the last as many again for every neighbour.
        """
        require_norm(self, budget)
        project = geometry.projector(x, budget)
        stride = float(self.step_size) * budget.radius
        x_adv, momentum, variance = x, torch.zeros_like(x), torch.zeros_like(x)
        for step in range(self.steps):
            at = torch.add(x_adv, momentum, alpha=self.decay * stride) if self.look_ahead else x_adv
            gradient = self._gradient(oracle, at, y, generator)
            momentum = self.decay * momentum + _scaled(gradient + variance, budget.norm)
            if self.neighbours and step < self.steps - 1:
                variance = self._mean_around(oracle, at, y, budget, generator) - gradient
            x_adv = project(geometry.steepest_step(x_adv, momentum, budget, float(self.step_size)))
        return or_else(oracle, x_adv, x, budget)

    def _gradient(self, oracle: Oracle, x: Tensor, y: Tensor, generator: Generator) -> Tensor:
        """Of the mean loss over scaled copies, each transformed by its own draw, smoothed; [n, C, H, W]."""
        total = torch.zeros_like(x)
        for power in range(self.scales):
            copy, scale = x / 2**power, 1 / (self.scales * 2**power)
            if self.diversity:
                rows, columns = self._placements(x, generator)
                climb = oracle.climb(LOSSES[self.loss], rows @ copy @ columns.mT, y)
                gradient = rows.mT @ climb.gradient @ columns  # a linear map is pulled back by its transpose
            else:
                gradient = oracle.climb(LOSSES[self.loss], copy, y).gradient
            total.add_(gradient, alpha=scale)
        return _smoothed(total, self.kernel)

    def _mean_around(
        self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator
    ) -> Tensor:
        """The mean gradient of random neighbours (equation 5 of VMI), which may leave ball and box."""
        total = torch.zeros_like(x)
        for _ in range(self.neighbours):
            noise = _ball_noise(x, float(self.reach) * budget.radius, budget.norm, generator)
            total += self._gradient(oracle, x + noise, y, generator)
        return total / self.neighbours

    def _placements(self, x: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Matrices [n, 1, H, H] and [n, 1, W, W] that shrink an image and put it somewhere among zeros.

        The paper enlarges 299 pixels to at most 330 instead, which a network of fixed size cannot take.
        """
        chosen, size, top, left = torch.rand(4, len(x), generator=generator, device=x.device, dtype=x.dtype)
        sides = (
            (side, torch.where(chosen < self.diversity, self._shrunk(size, side), side))
            for side in x.shape[2:]
        )
        return tuple(  # type: ignore[return-value]
            _placement(side, shrunk, (place * (side - shrunk + 1)).floor())[:, None]
            for (side, shrunk), place in zip(sides, (top, left), strict=True)
        )

    def _shrunk(self, size: Tensor, side: int) -> Tensor:
        """Whole sides from `smallest` of the side to one pixel below it, for size [n] in [0, 1)."""
        least = max(int(self.smallest * side), 1)
        return least + (size * (side - least)).floor()


DI_FGSM = TransferFGSM(diversity=0.5)
"""Input diversity with momentum (Xie et al., CVPR 2019): images are resized and padded at random."""

TI_FGSM = TransferFGSM(kernel=5)
"""Translation invariance with momentum (Dong et al., CVPR 2019): gradients are smoothed by a Gaussian.

The paper's kernel has 15 pixels for images of 299; here 5, for images of about 32.
"""

NI_FGSM = TransferFGSM(look_ahead=True)
"""Nesterov momentum (Lin et al., ICLR 2020): gradients are taken where the momentum leads."""

SI_NI_FGSM = TransferFGSM(look_ahead=True, scales=5)
"""Nesterov momentum with gradients averaged over five darkened copies (Lin et al., ICLR 2020)."""

VMI_FGSM = TransferFGSM(neighbours=20)
"""Variance tuning with momentum (Wang & He, CVPR 2021): gradients corrected by those of random neighbours."""


def _scaled(gradient: Tensor, norm: Norm) -> Tensor:
    """Gradients as large as a unit step: a mean absolute value of 1, or length 1; zero stays zero."""
    if norm is Norm.LINF:
        return gradient / gradient.abs().mean((1, 2, 3), keepdim=True).clamp_(min=geometry.TINY)
    return geometry.steepest_direction(gradient, norm)


def _smoothed(gradient: Tensor, side: int) -> Tensor:
    """Each channel convolved with a Gaussian, zeros beyond the rim.

    Its standard deviation is a third of its reach, as in the authors' released code.
    """
    if side == 1:
        return gradient
    channels = gradient.shape[1]
    deviations = torch.linspace(-3, 3, side, device=gradient.device, dtype=gradient.dtype)
    line = deviations.square().mul_(-0.5).softmax(0)
    kernel = torch.outer(line, line).expand(channels, 1, side, side)
    return F.conv2d(gradient, kernel, padding=side // 2, groups=channels)


def _placement(side: int, shrunk: Tensor, start: Tensor) -> Tensor:
    """Matrices [n, side, side] that shrink a line to `shrunk` [n] pixels, bilinearly, from `start` [n] on."""
    pixel = torch.arange(side, device=shrunk.device, dtype=shrunk.dtype)
    within = pixel - start[:, None]  # [n, side]
    source = (within + 0.5) * (side / shrunk[:, None]) - 0.5
    weights = (1 - (source[:, :, None] - pixel).abs()).clamp_(min=0)
    return weights * ((within >= 0) & (within < shrunk[:, None]))[:, :, None]


def _ball_noise(x: Tensor, radius: float, norm: Norm, generator: Generator) -> Tensor:
    """Uniform in the ball of this radius, in the shape of x."""
    if norm is Norm.LINF:
        noise = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return noise.mul_(2).sub_(1).mul_(radius)
    gaussian = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    depth = torch.rand(len(x), 1, 1, 1, generator=generator, device=x.device, dtype=x.dtype)
    return geometry.steepest_direction(gaussian, norm) * (radius * depth ** (1 / x[0].numel()))
