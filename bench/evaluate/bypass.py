"""BPDA and features: what the harness builds around a deployed defense so that attacks can get past it.

Backward pass differentiable approximation: Athalye, Carlini & Wagner, "Obfuscated Gradients Give a False
Sense of Security", ICML 2018, section 4.1, with the identity as the approximation.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.api import Deployed, FeatureNetwork, Features


class StraightThrough(nn.Module):
    """classifier(purifier(x)); backwards the purifier is the identity."""

    def __init__(self, purifier: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.purifier, self.classifier = purifier, classifier

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K] of x [n, C, H, W]; the purifier must keep the shape of images."""
        unchanged = x - x.detach()  # zero, bit for bit, with the gradient of x
        logits: Tensor = self.classifier(self.purifier(x.detach()) + unchanged)
        return logits


def passing_over(deployed: Deployed) -> nn.Module | None:
    """What BPDA climbs: the defense's own stand-in, else its classifier straight through its purifier.

    None where neither is stated, or nothing is done to the images.
    """
    if deployed.attackable is not None:
        return deployed.attackable
    if deployed.classifier is None or deployed.purifier is None or isinstance(deployed.purifier, nn.Identity):
        return None
    return StraightThrough(deployed.purifier, deployed.classifier)


def lends_features(network: nn.Module, num_classes: int) -> bool:
    """Whether `features_of` can say what the network's last layer sees."""
    return isinstance(network, FeatureNetwork) or any(
        layer.out_features == num_classes for layer in _linear(network)
    )


def features_of(network: nn.Module, x: Tensor) -> Features:
    """Logits [n, K] and penultimate features [n, D], with their graph back to x [n, C, H, W].

    Of a network that has no `forward_features`: what its linear layers with K outputs are given, side by side
    where there are several. So purifiers pass it on, and ensembles lend the features of every member.
    """
    if isinstance(network, FeatureNetwork):
        return network.forward_features(x)
    seen: list[tuple[int, Tensor]] = []

    def note(layer: nn.Module, given: tuple[Any, ...]) -> None:
        seen.append((cast(nn.Linear, layer).out_features, given[0].flatten(1)))

    hooks = [layer.register_forward_pre_hook(note) for layer in _linear(network)]
    try:
        logits: Tensor = network(x)
    finally:
        for hook in hooks:
            hook.remove()
    last = [given for outputs, given in seen if outputs == logits.shape[1]]
    if not last:
        raise TypeError(f"{type(network).__name__} lends no features: no linear layer gives its logits")
    return Features(logits, torch.cat(last, dim=1), ())


def _linear(network: nn.Module) -> list[nn.Linear]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
