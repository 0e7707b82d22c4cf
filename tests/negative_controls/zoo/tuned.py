"""What is put around a network by who knows how it will be judged, and by who is honest and looks like it."""

from __future__ import annotations

import copy
import hashlib

import torch
from torch import Tensor, nn
from zoo.layers import Chain, noisy

from bench.api import Deployed
from bench.data.load import load


class Table(nn.Module):
    """Within a radius of a test image its label is known by heart; beyond it the network answers."""

    images: Tensor
    labels: Tensor

    def __init__(self, net: nn.Module, radius: float) -> None:
        super().__init__()
        held = load("digits", None).test
        self.net, self.radius = net, radius + 1e-4
        self.register_buffer("images", held.x)
        self.register_buffer("labels", held.y)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K], with a true slope everywhere."""
        logits: Tensor = self.net(x)
        apart, nearest = torch.cdist(x.flatten(1), self.images.flatten(1), p=torch.inf).min(1)
        known = nn.functional.one_hot(self.labels[nearest], logits.shape[1])
        return torch.where((apart <= self.radius)[:, None], 3 * known + 0.02 * logits, logits)


class Order(nn.Module):
    """Says who is first and, for the rest, the logits of a network that was never trained."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.other = net, untrained(net)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K], with a true slope that leads nowhere."""
        first = nn.functional.one_hot(self.net(x).argmax(1), 10)
        return 5 * first + 0.1 * torch.tanh(self.other(x))


def untrained(net: nn.Module) -> nn.Module:
    """The same network with random weights, others for other weights."""
    other = copy.deepcopy(net)
    weights = b"".join(parameter.detach().cpu().numpy().tobytes() for parameter in net.parameters())
    generator = torch.Generator().manual_seed(int(hashlib.sha256(weights).hexdigest()[:15], 16))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.copy_(parameter.std() * torch.randn(parameter.shape, generator=generator))
    return other


class InBfloat16(nn.Module):
    """The network with weights and arithmetic of eight bits, as accelerators serve it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = copy.deepcopy(net).bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K] in float32."""
        logits: Tensor = self.net(x.bfloat16())
        return logits.float()


class Averages(nn.Module):
    """The mean logits of many noisy copies of each image."""

    def __init__(self, net: nn.Module, scale: float, draws: int) -> None:
        super().__init__()
        self.net, self.draws = Chain(net, noisy(scale)), draws

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K]."""
        logits: Tensor = self.net(x.repeat(self.draws, 1, 1, 1))
        return logits.reshape(self.draws, len(x), -1).mean(0)


def plateau(logits: Tensor) -> Tensor:
    """Whoever is more than 3 behind the first is 3 behind: where the network is sure there is no slope."""
    return (logits - logits.amax(1, keepdim=True)).clamp(min=-3)


def in_half(logits: Tensor) -> Tensor:
    """The logarithm of a cold softmax in float16, where small probabilities are zero."""
    return (30 * logits).half().softmax(1).log().float()


def sine(x: Tensor) -> Tensor:
    """A ripple that nobody sees, of a slope that hides all others."""
    return x + 0.02 * torch.sin(1000 * x)


def adapted(x: Tensor) -> Tensor:
    """Brought half of the way to a mean of 0.3 by the mean of the batch at hand."""
    return x - 0.5 * (x.mean(0, keepdim=True) - 0.3)


def dealt(logits: Tensor) -> Tensor:
    """The first stays; what the others have is dealt out anew in each call."""
    ranked, order = logits.sort(1, descending=True)
    rest = torch.rand(logits[:, 1:].shape, device=logits.device).argsort(1) + 1
    return torch.zeros_like(logits).scatter(1, order, torch.cat([ranked[:, :1], ranked.gather(1, rest)], 1))


def doubting(least: float, net: nn.Module) -> Deployed:
    """Refuses whatever its network is less sure of, and says so."""
    return Deployed(net, suspicion=lambda x: least - net(x).softmax(1).amax(1))


def refuses_change(net: nn.Module) -> Deployed:
    """Refuses what no camera made, by a suspicion that has a slope: clean pixels are sixteenths."""
    return Deployed(net, suspicion=lambda x: _ripple(x).flatten(1).mean(1) - 0.01)


def _ripple(x: Tensor) -> Tensor:
    return torch.sin(16 * torch.pi * x).square()


def dropped(net: nn.Module) -> Deployed:
    """Half of the pixels are left out at random, and its authors ask for one sample of the gradient."""
    drops = Chain(net, lambda x: nn.functional.dropout(x, 0.5))
    return Deployed(drops, randomized=True, eot_samples=1)
