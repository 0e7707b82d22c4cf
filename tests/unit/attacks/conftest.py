"""A plain oracle on a bare network, and linear problems whose worst case has a closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from bench.api import Climb, Loss, Oracle
from bench.core.threat import WHITE_BOX, Budget, Knowledge, Norm


class PlainOracle:
    """The oracle protocol without limits, folding or batches: just a network, its labels and a count.

    With `confirms=False` nothing is ever known to be broken, as in a transfer.
    """

    def __init__(
        self,
        network: nn.Module,
        y: Tensor,
        num_classes: int,
        knowledge: Knowledge = WHITE_BOX,
        confirms: bool = True,
    ) -> None:
        self.network, self.y, self.num_classes = network.eval(), y, num_classes
        self.knowledge, self.confirms = knowledge, confirms
        self.forwards = torch.zeros(len(y), dtype=torch.int64)
        self.backwards = torch.zeros(len(y), dtype=torch.int64)
        self.hit = torch.zeros(len(y), dtype=torch.bool)
        self.last_logits = torch.zeros(len(y), num_classes)
        self.last_loss = torch.zeros(len(y))
        self.rows = torch.arange(len(y))
        self.images: dict[int, Tensor] = {}  # what broke each, not projected

    def only(self, rows: Tensor) -> Oracle:
        view = object.__new__(PlainOracle)
        view.__dict__ = {**self.__dict__, "rows": self.rows[rows]}  # the counts are shared
        return view

    def broken(self) -> Tensor:
        return self.hit[self.rows]

    def witnesses(self, x: Tensor) -> Tensor:
        found = [self.images.get(int(row), image) for row, image in zip(self.rows, x, strict=True)]
        return torch.stack(found)

    def logits(self, x: Tensor) -> Tensor:
        standing = ~self.broken()
        rows = self.rows[standing]
        with torch.no_grad():
            self._note(rows, x[standing], self.network(x[standing]))
        return self.last_logits[self.rows]

    def labels(self, x: Tensor) -> Tensor:
        return self.logits(x).argmax(1)

    def climb(self, loss: Loss | None, x: Tensor, *labels: Tensor) -> Climb:
        standing = ~self.broken()
        rows = self.rows[standing]
        asked = x[standing].detach().requires_grad_()
        logits = self.network(asked)
        given = [label[standing] for label in labels]
        each = logits[:, 0] if loss is None else loss(logits, *given)  # these toys' adaptive loss is a logit
        (gradient,) = torch.autograd.grad(each.sum(), asked)
        self.backwards[rows] += 1
        self.last_loss[rows] = each.detach()
        self._note(rows, asked.detach(), logits.detach())
        full = torch.zeros_like(x)
        full[standing] = gradient
        full[self.broken()] = 0
        return Climb(full, self.last_loss[self.rows], self.last_logits[self.rows], self.broken())

    def _note(self, rows: Tensor, asked: Tensor, logits: Tensor) -> None:
        self.forwards[rows] += 1
        self.last_logits[rows] = logits
        if self.confirms:
            self.hit[rows] = logits.argmax(1) != self.y[rows]
            fell = self.hit[rows]
            self.images.update(zip(rows[fell].tolist(), asked[fell], strict=True))


class Linear(nn.Module):
    """logits = W x + b."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T + self.bias


@dataclass(frozen=True)
class Problem:
    """A two-class linear network and images that it classifies correctly."""

    network: Linear
    x: Tensor
    y: Tensor

    def margin(self, x: Tensor) -> Tensor:
        """The wrong logit minus the right one, [n], in double precision."""
        w, b = self.network.weight.detach().double(), self.network.bias.detach().double()
        logits = x.flatten(1).double() @ w.T + b
        rows = torch.arange(len(x))
        return logits[rows, 1 - self.y] - logits[rows, self.y]

    def worst_margin(self, budget: Budget) -> Tensor:
        """The largest margin in ball and box, [n].

        The margin is c x + d. Under Linf each pixel goes to its own end. Under L2 the optimum is
        clip(x + m c, 0, 1) for the multiplier m > 0 at which the ball is touched, found by bisection.
        Under L1 the steepest pixels go to their ends until the length is spent (a fractional knapsack);
        under L0 those go there that gain most.
        """
        w = self.network.weight.detach().double()
        c = (w[1 - self.y] - w[self.y]).reshape(self.x.shape)
        x = self.x.double()
        if budget.norm is Norm.LINF:
            best = (x + budget.radius * c.sign()).clamp(0, 1)
            return self.margin(best)
        if budget.norm in (Norm.L1, Norm.L0):
            rows = zip(self.margin(x), x, c, strict=True)
            return torch.stack([margin + _greedy(row, slope, budget) for margin, row, slope in rows])
        low, high = torch.zeros(len(x), 1, 1, 1).double(), torch.full((len(x), 1, 1, 1), 1e6).double()
        for _ in range(100):
            middle = (low + high) / 2
            length = ((x + middle * c).clamp(0, 1) - x).flatten(1).norm(dim=1)[:, None, None, None]
            low, high = (
                torch.where(length > budget.radius, low, middle),
                torch.where(length > budget.radius, middle, high),
            )
        return self.margin((x + low * c).clamp(0, 1))

    def oracle(self, confirms: bool = True, knowledge: Knowledge = WHITE_BOX) -> PlainOracle:
        return PlainOracle(self.network, self.y, 2, knowledge, confirms)


def _greedy(x: Tensor, slope: Tensor, budget: Budget) -> Tensor:
    """What the margin of one image gains at most, pixel by pixel in the order of their worth."""
    pixels = [
        (abs(s), (1 - value) if s > 0 else value)
        for value, s in zip(x.flatten().tolist(), slope.flatten().tolist(), strict=True)
    ]
    if budget.norm is Norm.L0:
        return torch.tensor(sum(sorted((s * room for s, room in pixels), reverse=True)[: int(budget.eps)]))
    left, gained = budget.radius, 0.0
    for s, room in sorted(pixels, reverse=True):
        spent = min(left, room)
        left, gained = left - spent, gained + s * spent
    return torch.tensor(gained)


def linear_problem(n: int = 40, shape: tuple[int, int, int] = (1, 6, 6), seed: int = 0) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    pixels = shape[0] * shape[1] * shape[2]
    network = Linear(torch.randn(2, pixels, generator=generator) / pixels**0.5, torch.zeros(2))
    x = torch.rand(n, *shape, generator=generator)
    x = torch.where(torch.rand(x.shape, generator=generator) < 0.3, x.round(), x)  # the box binds for many
    return Problem(network, x, network(x).argmax(1))


def random_mlp(num_classes: int = 5, shape: tuple[int, int, int] = (1, 6, 6), seed: int = 0) -> nn.Module:
    torch_state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    pixels = shape[0] * shape[1] * shape[2]
    network = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 32), nn.Tanh(), nn.Linear(32, num_classes))
    torch.random.set_rng_state(torch_state)
    return network.requires_grad_(False)


@pytest.fixture
def problem() -> Problem:
    return linear_problem()


@pytest.fixture
def make_problem() -> Callable[..., Problem]:
    return linear_problem


@pytest.fixture
def make_mlp() -> Callable[..., nn.Module]:
    return random_mlp


@pytest.fixture
def make_oracle() -> Callable[..., PlainOracle]:
    return PlainOracle


@pytest.fixture
def seeded() -> Callable[[int], torch.Generator]:
    return lambda seed=0: torch.Generator().manual_seed(seed)
