"""HopSkipJump: walk along the boundary by labels alone (Chen, Jordan & Wainwright, S&P 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from bench.api import Attack, Needs, Oracle
from bench.attacks import geometry
from bench.attacks.losses import fooled
from bench.attacks.norms import require_norm
from bench.attacks.parameters import require_count
from bench.attacks.witness import all_broken, or_else
from bench.core.threat import LINF_L2, Budget, Norm
from bench.errors import BadValue

SEEK, HALVE, SOUND, STRIDE = range(4)
"""What an example asks for: any mistake; the boundary before one; the direction away; how far along it."""

FINEST = 1e-6
"""The share of a distance below which halving stops, whatever the paper's threshold: float32 ends there."""

FIRST_PROBE = 0.1
"""How far the first probes are from the boundary, in pixel units; later ones as far as the distance tells."""


@dataclass(frozen=True)
class HopSkipJump(Attack):
    """From a random mistake to the boundary, along it by estimated normals, and to the boundary again.

    Every image is in its own phase and asks one question at a time, whatever the others ask. The paper's
    algorithm 2, for the norm of the budget.
    """

    norms: ClassVar[tuple[Norm, ...]] = LINF_L2
    needs: ClassVar[Needs] = "labels"

    queries: int = 5000  # per example
    samples: int = 100  # probes for the first normal; the t-th has sqrt(t) times as many
    gamma: float = 1.0  # of the threshold of halvings, and of the distance of probes

    def __post_init__(self) -> None:
        require_count("HopSkipJump", "queries", self.queries)
        require_count("HopSkipJump", "samples", self.samples)
        if not self.gamma > 0:
            raise BadValue(f"HopSkipJump.gamma is {self.gamma}, expected a number above 0", "gamma=1")

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]: the nearest mistakes found, projected to the budget."""
        require_norm(self, budget)
        walk = _Walk(x, budget.norm, self.samples, self.gamma)
        for asked in range(self.queries):
            if all_broken(oracle, asked):
                break
            question = walk.question(generator)
            walk.learn(question, fooled(oracle.labels(question), y))
        return or_else(oracle, walk.nearest, x, budget)


class _Walk:
    """Where each of n examples is on its walk; it asks one question a round, and learns from the answer."""

    def __init__(self, x: Tensor, norm: Norm, samples: int, gamma: float) -> None:
        self._x, self._norm, self._samples, self._gamma = x, norm, samples, gamma
        self._pixels = x[0].numel()
        self._phase = x.new_full((len(x),), SEEK, dtype=torch.int64)
        self._point = x  # the last mistake, on the boundary after halving
        self._low, self._high, self._threshold = x.new_zeros(3, len(x))
        self._normals = x.new_zeros(len(x))  # how many were estimated, with the one under way: t
        self._probe = torch.zeros_like(x)
        self._probes, self._wrong, self._reach, self._stride = x.new_zeros(4, len(x))
        self._sum, self._sum_wrong, self._direction = (torch.zeros_like(x) for _ in range(3))
        self._best = x.new_full((len(x),), torch.inf)
        self.nearest = x

    def question(self, generator: Generator) -> Tensor:
        """The images [n, C, H, W] to ask about now."""
        noise = self._noise(generator)
        direction = geometry.steepest_direction(2 * noise - 1 if self._linf else noise, Norm.L2)
        probed = torch.addcmul(self._point, direction, _rows(self._reach)).clamp_(0, 1)
        # what the box left of a probe is what was asked
        self._probe = (probed - self._point) / _rows(self._reach.clamp(min=geometry.TINY))
        stridden = torch.addcmul(self._point, self._direction, _rows(self._stride)).clamp_(0, 1)
        asked = torch.where(self._is(SEEK), noise if self._linf else torch.special.ndtr(noise), stridden)
        asked = torch.where(self._is(HALVE), self._before((self._low + self._high) / 2), asked)
        return torch.where(self._is(SOUND), probed, asked)

    def learn(self, asked: Tensor, wrong: Tensor) -> None:
        """Whether the classes [n] of these images were wrong."""
        length = geometry.distance(asked, self._x, self._norm)
        closer = wrong & (length < self._best)
        self._best = torch.where(closer, length, self._best)
        self.nearest = torch.where(_rows(closer), asked, self.nearest)
        phase = self._phase
        landed = wrong & ((phase == SEEK) | (phase == STRIDE))
        at_boundary = self._halve(wrong, phase == HALVE)
        sounded = self._sound(wrong, phase == SOUND)
        self._stride = torch.where((phase == STRIDE) & ~wrong, self._stride / 2, self._stride)
        self._begin_halving(asked, length, landed)
        self._begin_sounding(at_boundary)
        self._begin_striding(sounded)

    def _halve(self, wrong: Tensor, here: Tensor) -> Tensor:
        """Move one end to the middle; who is at the boundary now."""
        middle = (self._low + self._high) / 2
        self._high = torch.where(here & wrong, middle, self._high)
        self._low = torch.where(here & ~wrong, middle, self._low)
        arrived: Tensor = here & (self._high - self._low <= self._threshold)
        return arrived

    def _sound(self, wrong: Tensor, here: Tensor) -> Tensor:
        """Add a probe to the sums of equation 16; who has enough of them now."""
        weight = here.to(self._sum.dtype)
        sign = (2 * wrong.to(self._sum.dtype) - 1) * weight
        self._sum = torch.addcmul(self._sum, self._probe, _rows(weight))
        self._sum_wrong = torch.addcmul(self._sum_wrong, self._probe, _rows(sign))
        self._probes, self._wrong = self._probes + weight, self._wrong + sign
        enough: Tensor = here & (self._probes >= (self._samples * self._normals.sqrt()).floor())
        return enough

    def _begin_halving(self, asked: Tensor, length: Tensor, now: Tensor) -> None:
        """Between image and mistake: L2 on the line, Linf by cubes; thresholds of the authors' code."""
        theta = self._gamma / self._pixels ** (2 if self._linf else 1.5)
        end = length if self._linf else torch.ones_like(length)
        self._point = torch.where(_rows(now), asked, self._point)
        self._low, self._high = self._low.masked_fill(now, 0), torch.where(now, end, self._high)
        threshold = torch.maximum(end.clamp(max=1) * theta, end * FINEST)
        self._threshold = torch.where(now, threshold, self._threshold)
        self._phase = self._phase.masked_fill(now, HALVE)

    def _begin_sounding(self, now: Tensor) -> None:
        self._point = torch.where(_rows(now), self._before(self._high), self._point)
        length = geometry.distance(self._point, self._x, self._norm)
        reach = torch.where(self._normals == 0, FIRST_PROBE, self._gamma * length / self._pixels)
        self._reach = torch.where(now, reach, self._reach)
        self._normals = self._normals + now.to(self._normals.dtype)
        self._sum, self._sum_wrong = (
            sums.masked_fill(_rows(now), 0) for sums in (self._sum, self._sum_wrong)
        )
        self._probes, self._wrong = self._probes.masked_fill(now, 0), self._wrong.masked_fill(now, 0)
        self._phase = self._phase.masked_fill(now, SOUND)

    def _begin_striding(self, now: Tensor) -> None:
        """Along the mean of probes weighted by answers less the mean answer; or by answers all the same."""
        mean = self._wrong / self._probes.clamp(min=1)
        baseline = mean.masked_fill(mean.abs() == 1, 0)
        normal = torch.addcmul(self._sum_wrong, self._sum, -_rows(baseline))
        direction = geometry.steepest_direction(normal, self._norm)
        self._direction = torch.where(_rows(now), direction, self._direction)
        length = geometry.distance(self._point, self._x, self._norm)
        self._stride = torch.where(now, length / self._normals.clamp(min=1).sqrt(), self._stride)
        self._phase = self._phase.masked_fill(now, STRIDE)

    def _before(self, length: Tensor) -> Tensor:
        """The last mistake moved towards the image: to this share of the way (L2), into this cube (Linf)."""
        length = _rows(length)
        if self._linf:
            return torch.maximum(torch.minimum(self._point, self._x + length), self._x - length)
        return torch.lerp(self._x, self._point, length)

    def _noise(self, generator: Generator) -> Tensor:
        """Drawn for all n at once: uniform in [0, 1] under Linf, Gaussian under L2."""
        draw = torch.rand if self._linf else torch.randn
        return draw(self._x.shape, generator=generator, device=self._x.device, dtype=self._x.dtype)

    def _is(self, phase: int) -> Tensor:
        return _rows(self._phase == phase)

    @property
    def _linf(self) -> bool:
        return self._norm is Norm.LINF


def _rows(values: Tensor) -> Tensor:
    return values[:, None, None, None]
