"""Tensors and a network that a formula gives: other code computed numbers on the same ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 0.3
STEP = 0.05
STEPS = 3
CLASSES = 4
Y = torch.arange(6) % CLASSES


def wave(*shape: int, pace: float) -> Tensor:
    """sin(pace i^1.5) for i = 1, 2, ...: numbers in [-1, 1] without an order."""
    count = torch.Size(shape).numel()
    place = torch.arange(1, count + 1, dtype=torch.float64)
    return torch.sin(pace * place**1.5).to(torch.float32).view(shape)


def images() -> Tensor:
    """[6, 1, 6, 6] in [0, 1], many near its ends."""
    return (wave(6, 1, 6, 6, pace=1.3) + 1) / 2


def noise() -> Tensor:
    """Of the shape of the images, in [-1, 1]."""
    return wave(6, 1, 6, 6, pace=0.7)


class Formula(nn.Module):
    """A convolution with ReLU and a linear layer: images [n, 1, 6, 6] -> logits [n, 4]."""

    def __init__(self, pace: float = 1.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.linear = nn.Linear(4 * 36, CLASSES)
        with torch.no_grad():
            for number, parameter in enumerate(self.parameters()):
                parameter.copy_(wave(*parameter.shape, pace=pace + 0.1 * number) / 2)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, 4]."""
        logits: Tensor = self.linear(F.relu(self.conv(x)).flatten(1))
        return logits / 4


class FormulaNorm(Formula):
    """The same with BatchNorm before the ReLU: what it answers depends on its mode."""

    def __init__(self, pace: float = 1.0) -> None:
        super().__init__(pace)
        self.norm = nn.BatchNorm2d(4)
        with torch.no_grad():
            self.norm.weight.copy_(1 + wave(4, pace=pace + 0.5) / 2)
            self.norm.bias.copy_(wave(4, pace=pace + 0.6) / 4)
            self.norm.running_mean.copy_(wave(4, pace=pace + 0.7) / 2)
            self.norm.running_var.copy_(1 + wave(4, pace=pace + 0.8) / 2)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, 4]."""
        logits: Tensor = self.linear(F.relu(self.norm(self.conv(x))).flatten(1))
        return logits / 4


def logits() -> tuple[Tensor, Tensor]:
    """Of six clean images and of six attacked ones, [6, 4] each, ready for gradients."""
    clean = 2 * wave(6, CLASSES, pace=1.1)
    attacked = clean + wave(6, CLASSES, pace=1.9) / 2
    return clean.requires_grad_(), attacked.detach().requires_grad_()


def features() -> tuple[Tensor, Tensor, Tensor]:
    """Three [6, 5], ready for gradients."""
    a, p, n = (wave(6, 5, pace=pace).requires_grad_() for pace in (0.6, 0.9, 1.7))
    return a, p, n


def feature_maps() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four [6, 3, 4, 4] above zero."""
    one, two, three, four = (wave(6, 3, 4, 4, pace=pace).abs() for pace in (0.5, 0.8, 1.2, 1.6))
    return one, two, three, four
