"""Training augmentation on the device, a whole minibatch at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def crop_flip(x: Tensor, generator: Generator, padding: int = 4) -> Tensor:
    """Random crops of the zero-padded images x [B, C, H, W], flipped left to right with probability one half.

    The customary augmentation for CIFAR. The generator must be on the device of x.
    """
    count, places = len(x), 2 * padding + 1
    top = torch.randint(places, (count,), generator=generator, device=x.device)
    left = torch.randint(places, (count,), generator=generator, device=x.device)
    flipped = torch.randint(2, (count,), generator=generator, device=x.device).bool()
    return shift_flip(x, top, left, flipped, padding)


def shift_flip(x: Tensor, top: Tensor, left: Tensor, flipped: Tensor, padding: int) -> Tensor:
    """Windows of the zero-padded images at (top, left), each [B] in 0..2 padding; some then flipped."""
    height, width = x.shape[-2:]
    padded = F.pad(x, (padding,) * 4)
    rows = top[:, None] + torch.arange(height, device=x.device)
    across = torch.arange(width, device=x.device).expand(len(x), width)
    columns = left[:, None] + torch.where(flipped[:, None], width - 1 - across, across)
    image = torch.arange(len(x), device=x.device)[:, None, None, None]
    channel = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]
