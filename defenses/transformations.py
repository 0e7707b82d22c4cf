"""Input transformations before a trained classifier: JPEG, bit depth, total variation, random resizing.

JPEG and total variation: Guo, Rana, Cisse, van der Maaten, "Countering Adversarial Images Using Input
Transformations", ICLR 2018, arXiv 1711.00117. Bit depth: Xu, Evans, Qi, "Feature Squeezing", NDSS 2018, arXiv
1704.01155. Random resizing and padding: Xie, Wang, Zhang, Ren, Yuille, "Mitigating Adversarial Effects
Through Randomization", ICLR 2018, arXiv 1711.01991. All four fell to gradients past or through them: Athalye,
Carlini, Wagner, "Obfuscated Gradients Give a False Sense of Security", ICML 2018.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from bench.api import Defense, Deployed, FitContext, Task, Trait
from bench.errors import BadValue
from bench.evaluate.bypass import StraightThrough

Change = Callable[[Tensor], Tensor]
"""Images [n, C, H, W] in [0, 1] -> images of the same shape."""

Gradients = Literal["bpda", "end_to_end"]
"""What white-box attackers climb: the classifier past the transformation, or through it, where it is flat."""


class Transform(nn.Module):
    """A change of images that is a module, so that it can stand before others."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        """The changed images, of the shape of x [n, C, H, W]."""
        return self.change(x)


class Transformed(nn.Module):
    """network(transform(x)); neither is trained."""

    def __init__(self, transform: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.transform = transform
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K] of x [n, C, H, W] in [0, 1]."""
        logits: Tensor = self.network(self.transform(x))
        return logits


@dataclass(frozen=True)
class InputTransformation(ABC):
    """What all four share: `base` is trained, or loaded, and stands behind the transformation as it is."""

    paper: ClassVar[str]
    reconstruction: ClassVar[str | None] = None
    randomized: ClassVar[bool] = False

    base: Defense | str = "standard"  # what stands behind it

    @abstractmethod
    def change(self, x: Tensor) -> Tensor:
        """What is done to images [n, C, H, W] in [0, 1]."""

    @property
    def flat(self) -> bool:
        """Whether attackers get a stand-in, because the derivative of the transformation is zero."""
        return False

    @property
    def requires(self) -> Mapping[str, Defense | str]:
        """What stands behind it."""
        return {"base": self.base}

    def build(self, task: Task) -> nn.Module:
        """The base's modules; a transformation has no weights."""
        return Transformed(Transform(self.change), self._base.build(task))

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Take over the base's weights."""
        cast(Transformed, net).network.load_state_dict(context.parents["base"].state_dict())

    def deploy(self, net: nn.Module) -> Deployed:
        """The transformation before the base as that is deployed; gray-box attackers have the base's view."""
        whole = cast(Transformed, net)
        behind = self._base.deploy(whole.network)
        if Trait.DETECTOR in behind.traits:
            raise BadValue(
                f"base is {self.base!r}, which refuses images, expected one that answers all", "base=standard"
            )
        own = whole.transform
        return Deployed(
            predict=Transformed(own, behind.predict),
            classifier=behind.classifier or behind.predict,
            purifier=own if behind.purifier is None else nn.Sequential(own, behind.purifier),
            attackable=self._attackable(own, behind),
            randomized=self.randomized or behind.randomized,
            eot_samples=behind.eot_samples,
            declared=tuple(sorted(behind.traits | self._declared)),
        )

    def _attackable(self, own: nn.Module, behind: Deployed) -> nn.Module | None:
        if self.flat:
            return StraightThrough(own, behind.attackable or behind.predict)
        return None if behind.attackable is None else Transformed(own, behind.attackable)

    @property
    def _declared(self) -> frozenset[Trait]:
        return frozenset()

    @property
    def _base(self) -> Defense:
        if isinstance(self.base, str):
            raise TypeError("the base is a name, which only bench.plan can resolve")
        return self.base


@dataclass(frozen=True)
class FlatTransformation(InputTransformation):
    """A transformation in steps: its derivative is zero wherever there is one."""

    gradients: Gradients = "bpda"  # end_to_end: what an attack meets that knows nothing of the steps

    @property
    def flat(self) -> bool:
        """Whether attackers get a stand-in."""
        return self.gradients == "bpda"

    @property
    def _declared(self) -> frozenset[Trait]:
        return frozenset({Trait.NON_DIFFERENTIABLE})


@dataclass(frozen=True)
class Jpeg(FlatTransformation):
    """Images are written as JPEG and read again, by Pillow; colour has 4:2:0 chroma, as is its default.

    The released code cuts pixels down to whole bytes before, here they are rounded.
    """

    paper: ClassVar[str] = (
        "Guo et al., Countering Adversarial Images Using Input Transformations, ICLR 2018 (JPEG)"
    )

    quality: int = 75  # 1 to 95

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 95:
            raise BadValue(f"quality is {self.quality}, expected 1 to 95", "quality=75")

    def change(self, x: Tensor) -> Tensor:
        """The images as JPEG leaves them."""
        return compressed(x, self.quality)


@dataclass(frozen=True)
class BitDepth(FlatTransformation):
    """Pixels are rounded to b bits, x' = round(x (2^b - 1)) / (2^b - 1); of a squeezer without detector."""

    paper: ClassVar[str] = "Xu et al., Feature Squeezing, NDSS 2018 (bit depth)"

    bits: int = 3  # Xu et al.: 1 for MNIST, 5 for ImageNet; Guo et al.: 3

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 8:
            raise BadValue(f"bits is {self.bits}, expected 1 to 8", "bits=3")

    def change(self, x: Tensor) -> Tensor:
        """The images in so many shades."""
        return quantized(x, self.bits)


@dataclass(frozen=True)
class TotalVariation(InputTransformation):
    """x' minimises 1/2 |w (x' - x)|^2 + lam TV(x'), where w keeps each value with probability `keep`.

    TV is the sum over all pixels of the length of the difference to the right and below (the released code's
    default), or over all rows and columns of the length of the difference to the next (the paper's TV_2).
    Found in `iterations` primal-dual steps (Chambolle, Pock, JMIV 2011), through which gradients pass.
    """

    paper: ClassVar[str] = (
        "Guo et al., Countering Adversarial Images Using Input Transformations, ICLR 2018 (total variation)"
    )
    randomized: ClassVar[bool] = True

    lam: float = 0.03  # weight of the variation
    keep: float = 0.5  # share of the values that x' is held to; the others are filled in
    lengths: Literal["pixels", "rows"] = "pixels"  # of which differences lengths are taken
    iterations: int = 100

    def __post_init__(self) -> None:
        if self.lam < 0:
            raise BadValue(f"lam is {self.lam}, expected a number of at least 0", "lam=0.03")
        if not 0 < self.keep < 1:
            raise BadValue(f"keep is {self.keep}, expected a share above 0 and below 1", "keep=0.5")
        if self.iterations < 1:
            raise BadValue(f"iterations is {self.iterations}, expected at least 1", "iterations=100")

    def change(self, x: Tensor) -> Tensor:
        """The images with as little variation; which values are kept is drawn from torch's generator."""
        held = (torch.rand_like(x) < self.keep).to(x.dtype)
        return least_variation(x, held, self.lam, self.lengths, self.iterations).clamp(0, 1)


@dataclass(frozen=True)
class RandomResize(InputTransformation):
    """Images are shrunk to a random size (nearest neighbour) and padded back at a random place.

    The paper enlarges 299 pixels to 310 up to 330 and pads to 331. Networks here have one input size, so
    that is what is padded to, and images shrink in the same proportion: to 310/331 of it at the least, to
    one pixel less at the most. Every image has its own draw.
    """

    paper: ClassVar[str] = "Xie et al., Mitigating Adversarial Effects Through Randomization, ICLR 2018"
    randomized: ClassVar[bool] = True

    smallest: Fraction = Fraction(310, 331)  # of the side that is padded to
    pad: float = 0.5  # the pixel value around; the released code's: grey

    def __post_init__(self) -> None:
        if not 0 < self.smallest < 1:
            raise BadValue(
                f"smallest is {self.smallest}, expected a share above 0 and below 1", "smallest=310/331"
            )
        if not 0 <= self.pad <= 1:
            raise BadValue(f"pad is {self.pad}, expected a pixel value in [0, 1]", "pad=0.5")

    def change(self, x: Tensor) -> Tensor:
        """The images, smaller and elsewhere, drawn from torch's generator."""
        return resized(x, float(self.smallest), self.pad)


def quantized(x: Tensor, bits: int) -> Tensor:
    """Pixels in [0, 1] rounded to 2^bits shades from 0 to 1.

    >>> quantized(torch.tensor([0.4, 0.6]), 1)
    tensor([0., 1.])
    """
    most = float(2**bits - 1)
    shades: Tensor = (x * most).round()
    return shades / most


def compressed(x: Tensor, quality: int) -> Tensor:
    """Images [n, C, H, W], of one channel or three, written as JPEG and read again; the gradient is zero."""
    if x.shape[1] not in (1, 3):
        raise BadValue(f"the images have {x.shape[1]} channels, expected one or three to write as JPEG")
    pixels = (x.detach() * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    read = np.stack([_through_jpeg(image, quality) for image in pixels]) if len(pixels) else pixels
    images = torch.from_numpy(read).to(x.device).permute(0, 3, 1, 2).to(x.dtype) / 255
    return images + 0 * x


def _through_jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    """An image [H, W, C] of bytes, as its JPEG file is read."""
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(
        file, format="JPEG", quality=quality
    )
    return np.asarray(Image.open(file)).reshape(pixels.shape)


def least_variation(
    x: Tensor, held: Tensor, lam: float, lengths: Literal["pixels", "rows"], iterations: int
) -> Tensor:
    """argmin_u of 1/2 sum held (u - x)^2 + lam TV(u), for x [n, C, H, W] and held [n, C, H, W] in {0, 1}.

    Nothing is clipped.
    """
    stride = 8**-0.5  # both step sizes: the squared norm of all differences is at most 8
    found = ahead = x
    down, right = torch.zeros_like(x), torch.zeros_like(x)
    for _ in range(iterations):
        below, beside = _differences(ahead)
        down, right = _shortened(down + stride * below, right + stride * beside, lam, lengths)
        pulled = found + stride * (_divergence(down, right))
        now = (pulled + stride * held * x) / (1 + stride * held)
        found, ahead = now, 2 * now - found
    return found


def _differences(u: Tensor) -> tuple[Tensor, Tensor]:
    """To the pixel below and to the right, each [n, C, H, W]; zero at the edge."""
    return F.pad(u.diff(dim=2), (0, 0, 0, 1)), F.pad(u.diff(dim=3), (0, 1))


def _divergence(down: Tensor, right: Tensor) -> Tensor:
    """Minus the transpose of `_differences`, for fields that are zero at the edge."""
    return down - F.pad(down[:, :, :-1], (0, 0, 1, 0)) + right - F.pad(right[..., :-1], (1, 0))


def _shortened(
    down: Tensor, right: Tensor, most: float, lengths: Literal["pixels", "rows"]
) -> tuple[Tensor, Tensor]:
    """The vectors of which lengths are taken, cut to that length."""
    if lengths == "pixels":
        scale = most / _length(torch.stack([down, right]), 0).squeeze(0).clamp_min(max(most, 1e-12))
        return down * scale, right * scale
    return tuple(  # type: ignore[return-value]
        part * (most / _length(part, along).clamp_min(max(most, 1e-12)))
        for part, along in ((down, 3), (right, 2))
    )


def _length(vectors: Tensor, along: int) -> Tensor:
    """With a gradient of zero, not of infinity, where it is zero."""
    length: Tensor = (vectors.square().sum(dim=along, keepdim=True) + 1e-20).sqrt()
    return length


def resized(x: Tensor, smallest: float, pad: float) -> Tensor:
    """Images [n, C, S, S] shrunk to a random side of at least `smallest` S, at most S - 1, and padded to S.

    Sides and places are drawn for each image, from torch's generator; pixels are those nearest.
    """
    size = x.shape[-1]
    if x.shape[-2] != size:
        raise BadValue(f"the images are {list(x.shape[-2:])}, expected squares to be resized at random")
    least = min(max(1, int(smallest * size)), size - 1)
    side = torch.randint(least, size, (len(x), 1), device=x.device)
    rows, columns = (_nearest(side, size) for _ in range(2))
    inside = (rows >= 0)[:, :, None] & (columns >= 0)[:, None, :]
    each = torch.arange(len(x), device=x.device)[:, None, None]
    moved = x.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]]
    return torch.where(inside[..., None], moved, pad).permute(0, 3, 1, 2)


def _nearest(side: Tensor, size: int) -> Tensor:
    """For each of `size` places the pixel of the image that is shown there, [n, size]; -1: outside of it.

    The image, shrunk to `side` [n, 1], begins at a random place.
    """
    room = size - side
    start = (torch.rand(side.shape, device=side.device) * (room + 1)).long().clamp_max(room)
    place = torch.arange(size, device=side.device) - start
    shown = torch.div(place * size, side, rounding_mode="floor")
    return torch.where((place >= 0) & (place < side), shown, -1)


_: tuple[Defense, ...] = (Jpeg(), BitDepth(), TotalVariation(), RandomResize())
