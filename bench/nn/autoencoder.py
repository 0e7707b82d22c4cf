"""A convolutional autoencoder for small images: what purifiers are made of.

The encoder halves height and width in each block (3x3 convolution of stride 2, BatchNorm, ReLU), the decoder
doubles them back (4x4 transposed convolution of stride 2), and a sigmoid ends it. On a CPU, a pass over 28x28
grey images with 32-64 channels costs about four times that of small_cnn, with 16-32 channels about 1.5 times.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.api import Features
from bench.errors import BadValue

LARGE = 32
"""Images at least this high and wide get a third block by default."""


def channel_plan(image_shape: tuple[int, int, int]) -> tuple[int, ...]:
    """The usual channels of the encoder's blocks: latent 64x7x7 for 28x28 images, 128x4x4 for 32x32.

    >>> channel_plan((1, 28, 28)), channel_plan((3, 32, 32))
    ((32, 64), (32, 64, 128))
    """
    return (32, 64, 128) if min(image_shape[1:]) >= LARGE else (32, 64)


class Autoencoder(nn.Module):
    """Images [n, C, H, W] in [0, 1] to images of the same shape, through a code of `widths[-1]` channels.

    Sides that the blocks cannot halve evenly are first extended by repeating the last row or column, and the
    output is cut to size. With `skip`, the encoder's maps are added to the decoder's maps of their size: it
    is then no bottleneck.
    """

    def __init__(self, image_shape: tuple[int, int, int], widths: Sequence[int], skip: bool = False) -> None:
        super().__init__()
        if not widths or min(widths) < 1:
            raise BadValue(
                f"an autoencoder got widths {tuple(widths)}, expected at least one, each at least 1",
                "widths=32,64",
            )
        channels, self.height, self.width = image_shape
        factor = 2 ** len(widths)
        self.padding = (0, -self.width % factor, 0, -self.height % factor)
        self.skip = skip
        steps = list(zip((channels, *widths), widths, strict=False))
        self.encoder = nn.ModuleList(_down(inputs, outputs) for inputs, outputs in steps)
        self.decoder = nn.ModuleList(_up(outputs, inputs) for inputs, outputs in reversed(steps[1:]))
        self.last = nn.ConvTranspose2d(widths[0], channels, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Images [n, C, H, W] in [0, 1] of x [n, C, H, W]."""
        return self._decode(self._encode(x))

    def encode(self, x: Tensor) -> Tensor:
        """The code [n, widths[-1], H', W'] of x [n, C, H, W]."""
        return self._encode(x)[-1]

    def forward_features(self, x: Tensor) -> Features:
        """Images in the place of logits, the flat code, and the maps of the encoder's blocks, of one pass."""
        maps = self._encode(x)
        return Features(self._decode(maps), maps[-1].flatten(1), tuple(maps))

    def _encode(self, x: Tensor) -> list[Tensor]:
        out = F.pad(x, self.padding, mode="replicate") if any(self.padding) else x
        maps: list[Tensor] = []
        for block in self.encoder:
            out = block(out)
            maps.append(out)
        return maps

    def _decode(self, maps: list[Tensor]) -> Tensor:
        out = maps[-1]
        for block, beside in zip(self.decoder, maps[-2::-1], strict=True):
            out = block(out) + beside if self.skip else block(out)
        image: Tensor = self.last(out)
        # in float32: half precision cannot hold the difference of two neighbouring pixel values
        return torch.sigmoid(image[..., : self.height, : self.width].float())


def _down(inputs: int, outputs: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


def _up(inputs: int, outputs: int) -> nn.Sequential:
    conv = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())
