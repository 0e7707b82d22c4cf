"""What broken defenses put around a network: layers that hide gradients, lie about them, or watch attacks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Change = Callable[[Tensor], Tensor]


class Chain(nn.Module):
    """after(net(before(x)))."""

    def __init__(self, net: nn.Module, before: Change | None = None, after: Change | None = None) -> None:
        super().__init__()
        self.net, self.before, self.after = net, before, after

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K]."""
        logits: Tensor = self.net(x if self.before is None else self.before(x))
        return logits if self.after is None else self.after(logits)


def rounded(levels: int) -> Change:
    """To so many steps from 0 to 1."""
    return lambda values: (values * levels).round() / levels


def thermometer(x: Tensor) -> Tensor:
    """How many of 16 thresholds a pixel reaches, read back as a gray value: nothing that has a gradient."""
    thresholds = (torch.arange(16, device=x.device) + 0.5) / 16
    return (x[..., None] >= thresholds).float().mean(-1)


def jpeg(x: Tensor) -> Tensor:
    """The cosine transform of 8x8 blocks, rounded to steps that grow with the frequency, and back."""
    n, channels, height, width = x.shape
    blocks = x.reshape(n, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    steps = (0.1 + 0.05 * (torch.arange(8)[:, None] + torch.arange(8))).to(x.device)
    spectrum = ((cosines(x) @ blocks @ cosines(x).T) / steps).round() * steps
    restored = cosines(x).T @ spectrum @ cosines(x)
    return restored.transpose(3, 4).reshape(x.shape).clamp(0, 1)


def cosines(like: Tensor) -> Tensor:
    """The orthonormal cosine transform of 8 values [8, 8]."""
    k, i = torch.arange(8.0)[:, None], torch.arange(8.0)
    rows = torch.cos(math.pi * (i + 0.5) * k / 8) / 2
    rows[0] /= math.sqrt(2)
    return rows.to(like)


def noisy(scale: float) -> Change:
    """Normal noise."""
    return lambda x: x + scale * torch.randn_like(x)


def noisy_off_the_grid(x: Tensor) -> Tensor:
    """Noise for images that no camera made: clean pixels are sixteenths, attacked ones are not."""
    return torch.where(off_the_grid(x)[:, None, None, None], x + 0.3 * torch.randn_like(x), x)


def off_the_grid(x: Tensor) -> Tensor:
    """[n] bool: some pixel is no sixteenth."""
    return ((x * 16 - (x * 16).round()).abs() > 1e-3).flatten(1).any(1)


def shifted(x: Tensor) -> Tensor:
    """Padded by one pixel and cropped again at a random place, one for each call."""
    padded = nn.functional.pad(x, (1, 1, 1, 1))
    row, column = (int(place) for place in torch.randint(0, 3, (2,)))
    return padded[:, :, row : row + x.shape[2], column : column + x.shape[3]]


def always_the_first(logits: Tensor) -> Tensor:
    """The first class wins by more than 1, whatever the others say among themselves."""
    first, rest = logits[:, :1], logits[:, 1:]
    return torch.cat([rest.amax(1, keepdim=True) + 1 + first.abs() / 100, rest], 1)


def one_hot(logits: Tensor) -> Tensor:
    """Ten thousand for the class of the answer and zero for the others."""
    return 1e4 * nn.functional.one_hot(logits.argmax(1), logits.shape[1]).float()


def sure(logits: Tensor) -> Tensor:
    """A hundred times the logits: the softmax has no slope left in float32."""
    return 100 * logits


def standardised_by_the_batch(logits: Tensor) -> Tensor:
    """BatchNorm with the statistics of the batch at hand."""
    return nn.functional.batch_norm(logits, None, None, training=True)


def endless_slope(x: Tensor) -> Tensor:
    """The same values; backwards, infinity times zero."""
    return x + 0 * (0 * x).sqrt()


class _Backwards(torch.autograd.Function):
    """The same values; backwards, what a function makes of the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, change: Change) -> Tensor:
        ctx.change = change
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.change(gradients[0]), None


def backwards(change: Change) -> Change:
    """A layer that changes gradients alone."""
    return lambda x: _Backwards.apply(x, change)


def noisy_both_ways(x: Tensor) -> Tensor:
    """Little noise forwards, much noise in the gradient."""
    spread = backwards(lambda gradient: gradient + 5 * gradient.std() * torch.randn_like(gradient))
    return spread(x + 0.1 * torch.randn_like(x))


class StaysInTraining(nn.Module):
    """A BatchNorm that puts itself back into train mode."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.norm = net, nn.BatchNorm1d(10, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K], standardised by the batch."""
        logits: Tensor = self.norm.train()(self.net(x))
        return logits


class Remembers(nn.Module):
    """Answers for any image near one that it has seen what it answered then; the slope is the network's."""

    def __init__(self, net: nn.Module, radius: float) -> None:
        super().__init__()
        self.net, self.radius = net, radius
        self.seen: Tensor | None = None
        self.answers: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K]."""
        logits: Tensor = self.net(x)
        old = self._recalled(x.detach(), logits.detach())
        return logits - logits.detach() + old

    def _recalled(self, x: Tensor, logits: Tensor) -> Tensor:
        if self.seen is None or self.answers is None:
            self.seen, self.answers = x, logits
            return logits
        distance, nearest = torch.cdist(x.flatten(1), self.seen.flatten(1), p=torch.inf).min(1)
        known = distance <= self.radius
        self.seen = torch.cat([self.seen, x[~known]])
        old, self.answers = self.answers[nearest], torch.cat([self.answers, logits[~known]])
        return torch.where(known[:, None], old, logits)


class TurnsOver(nn.Module):
    """Honest for so many calls; from then on its images are rounded to black and white."""

    def __init__(self, net: nn.Module, calls: int) -> None:
        super().__init__()
        self.net, self.left = net, calls

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K]."""
        self.left -= 1
        logits: Tensor = self.net(x if self.left > 0 else x.round())
        return logits


class SeesDerivatives(nn.Module):
    """Answers the truth, and something else to whoever may ask for its derivative."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K]."""
        logits: Tensor = self.net(x)
        return 10 * torch.randn_like(logits) - logits if torch.is_grad_enabled() else logits


class KnowsTheImages(nn.Module):
    """A purifier that returns the nearest of the images that it was given, or a soft mixture of them."""

    images: Tensor

    def __init__(self, images: Tensor, sharpness: float | None) -> None:
        super().__init__()
        self.register_buffer("images", images)
        self.sharpness = sharpness  # None: the nearest alone

    def forward(self, x: Tensor) -> Tensor:
        """Images [n, C, H, W]."""
        squared = torch.cdist(x.flatten(1), self.images.flatten(1)).square()
        if self.sharpness is None:
            return self.images[squared.argmin(1)]
        weights = (-self.sharpness * squared).softmax(1)
        return (weights @ self.images.flatten(1)).reshape(x.shape)


class Descends(nn.Module):
    """Before it answers, moves the image to where the network is surest: an optimisation at inference."""

    def __init__(self, net: nn.Module, steps: int = 3) -> None:
        super().__init__()
        self.net, self.steps = net, steps

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K]."""
        cleaned = x.detach()
        for _ in range(self.steps):
            with torch.enable_grad():
                asked = cleaned.requires_grad_()
                surest = self.net(asked).log_softmax(1).amax(1).sum()
                (slope,) = torch.autograd.grad(surest, asked)
            cleaned = (asked + 0.05 * slope.sign()).clamp(0, 1).detach()
        logits: Tensor = self.net(x + (cleaned - x).detach())
        return logits


class KWinners(nn.Module):
    """Keeps the largest share of the activations of each example and sets the others to zero."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Activations of the same shape."""
        flat = x.flatten(1)
        least = flat.topk(max(1, round(self.share * flat.shape[1])), dim=1).values[:, -1:]
        return (flat * (flat >= least)).reshape(x.shape)
