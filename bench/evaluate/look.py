"""Where the features behind the answers of a deployed defense can be seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import Deployed, FeatureNetwork, Features
from bench.evaluate.bypass import features_of, lends_features


class Lacking(Exception):
    """A network does not have what is looked for; the message is the reason that records give."""


@dataclass(frozen=True)
class Look:
    """How to see the features behind a deployed defense's answers."""

    features: Callable[[Tensor], Features]
    network: nn.Module  # whose last layer reads the features


def purifier_of(net: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The purifier (images to images) and the classifier behind it; Lacking where there is none."""
    parts = getattr(net, "purifier", None), getattr(net, "classifier", None)
    if not (isinstance(parts[0], nn.Module) and isinstance(parts[1], nn.Module)):
        raise Lacking("the defense has no purifier")
    return parts[0], parts[1]


def look_at(net: nn.Module, deployed: Deployed, probe: Tensor) -> Look:
    """Where features can be seen that lead to the answers of the deployed defense, tried on a few images.

    Raises:
        Lacking: nowhere.
    """
    looks = [Look(m.forward_features, m) for m in (deployed.predict, net) if isinstance(m, FeatureNetwork)]
    try:
        purifier, classifier = purifier_of(net)
        if isinstance(classifier, FeatureNetwork):
            behind: Any = classifier
            looks.append(Look(lambda x: behind.forward_features(purifier(x)), classifier))
    except Lacking:
        pass
    if not looks:
        raise Lacking("the deployed network lends no features (forward_features)")
    if deployed.randomized:
        return looks[0]
    with torch.no_grad():
        answers = deployed.predict(probe).float()
        for look in looks:
            seen = look.features(probe).logits.float()
            if seen.shape == answers.shape and torch.allclose(seen, answers, rtol=1e-3, atol=1e-4):
                return look
    raise Lacking("the features that its network lends are not those that its answers come from")


def look_behind(net: nn.Module, deployed: Deployed, probe: Tensor) -> Look:
    """Where the features behind a defense's answers can be seen; else what its last layers are given.

    Raises:
        Lacking: nowhere.
    """
    try:
        return look_at(net, deployed, probe)
    except Lacking:
        with torch.no_grad():
            classes = deployed.predict(probe).shape[1]
        return last_layers(deployed.predict, classes)


def last_layers(network: nn.Module, num_classes: int) -> Look:
    """What the linear layers with one output for each class are given.

    Raises:
        Lacking: there is no such layer.
    """
    if not lends_features(network, num_classes):
        raise Lacking(
            f"{type(network).__name__} lends no features: no forward_features, no linear layer with "
            f"{num_classes} outputs"
        )
    return Look(lambda x: features_of(network, x), network)
