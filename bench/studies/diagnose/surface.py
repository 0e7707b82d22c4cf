"""The loss around images, along the direction of an attack and along a random one of the same length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.evaluate.batches import Batches

STEPS, REACH = 25, 1.5
"""Points along each direction, from -REACH to REACH; 0 is the image, 1 what the attack made of it."""


@dataclass(frozen=True)
class Surface:
    """What a network makes of a grid around each of L images: b down, a across."""

    at: NDArray[np.float64]  # [G] the values of a and of b
    loss: NDArray[np.float32]  # [L, G, G]
    margin: NDArray[np.float32]  # [L, G, G] the logit of the label less the largest other; below 0: wrong
    classes: NDArray[np.int64]  # [L, G, G]


@torch.no_grad()
def landscape(
    network: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, seed: int, batches: Batches
) -> Surface:
    """What is made of x + a (x_adv - x) + b r, clipped to [0, 1], of images [L, C, H, W] with labels [L].

    r holds the values of x_adv - x in random order with random signs: as long in every norm.
    """
    towards = x_adv - x
    aside = shuffled(towards, seed)
    at = torch.linspace(-REACH, REACH, STEPS, dtype=torch.float64)
    b, a = (grid.flatten().to(x)[:, None, None, None] for grid in torch.meshgrid(at, at, indexing="ij"))
    losses, margins, classes = [], [], []
    for image, one, other, label in zip(x, towards, aside, y, strict=True):
        around = (image + a * one + b * other).clamp(0, 1)
        logits = batches.map(lambda part: network(part).float(), around)
        loss = torch.nn.functional.cross_entropy(logits.double(), label.expand(len(logits)), reduction="none")
        true, others = logits[:, label], logits.clone()
        others[:, label] = -torch.inf
        margins.append((true - others.amax(dim=1)).reshape(STEPS, STEPS).cpu().numpy())
        losses.append(loss.float().reshape(STEPS, STEPS).cpu().numpy())
        classes.append(logits.argmax(dim=1).reshape(STEPS, STEPS).cpu().numpy())
    return Surface(at.numpy(), np.stack(losses), np.stack(margins), np.stack(classes))


def shuffled(changes: Tensor, seed: int) -> Tensor:
    """The values of each change [L, C, H, W] in another order and with other signs."""
    generator = torch.Generator().manual_seed(seed)  # on the processor, so it is the same on all devices
    found = []
    for change in changes.flatten(1):
        order = torch.randperm(len(change), generator=generator)
        signs = 2 * torch.randint(0, 2, (len(change),), generator=generator) - 1
        found.append(change[order.to(change.device)] * signs.to(change))
    return torch.stack(found).reshape(changes.shape)
