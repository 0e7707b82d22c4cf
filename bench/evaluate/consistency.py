"""Is it one function that answers: whoever asks, whatever was asked before, and with its own derivative?"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from bench.api import Deployed
from bench.records.record import Finding

NEARBY = 1 / 32
"""How far images are moved at random: a look at what no camera made, well inside every budget."""

STEP = 0.01
"""The L2 length of the steps to both sides by which a slope is measured."""

OFF = 0.5
"""The measured slope is at least this share of the stated one, and at most its inverse, on most images."""

NOISE = 1e-5
"""Changes of a margin, relative to the logits, that float arithmetic may make up."""


def nearby(x: Tensor, number: int = 0) -> Tensor:
    """Images [n, C, H, W] moved a little at random; the same number, the same way."""
    generator = torch.Generator().manual_seed(number)
    moved = (2 * torch.rand(x.shape, generator=generator) - 1) * NEARBY
    return (x + moved.to(x)).clamp(0, 1)


def whoever_asks(deployed: Deployed, x: Tensor) -> Iterator[Finding]:
    """P2: the same answers where gradients are recorded as where they are not, on images [n, C, H, W]."""
    if deployed.randomized:
        return
    with torch.no_grad():
        plain = deployed.predict(x)
    with torch.enable_grad():
        recorded = deployed.predict(x.detach().clone().requires_grad_()).detach()
    if not torch.allclose(plain, recorded, atol=1e-3, rtol=1e-3, equal_nan=True):
        apart = float((plain - recorded).abs().nan_to_num(0).max())
        detail = f"logits differ by up to {apart:.3g} where a gradient could be asked for: attacks are misled"
        yield Finding("answers-depend-on-gradients", "block", detail)


def own_slope(deployed: Deployed, x: Tensor) -> Iterator[Finding]:
    """P5: along its gradient a margin rises as fast as the gradient says, by central differences.

    Where a stand-in is named, the gradient is not meant to be the defense's own; nor can that of a randomized
    one be measured so. Images without a finite gradient that is not zero are not counted.
    """
    if deployed.randomized or deployed.attackable is not None:
        return
    images = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        logits = deployed.predict(images).float()
        if not logits.requires_grad:
            return
        first, second = logits.detach().topk(2, dim=1).indices.unbind(1)
        (gradient,) = torch.autograd.grad(
            _margin(logits, first, second).sum(), images, allow_unused=True, materialize_grads=True
        )
    length = gradient.flatten(1).norm(dim=1)
    seen = length.isfinite() & (2 * STEP * length > NOISE * logits.detach().abs().amax(1))
    if not bool(seen.any()):
        return
    direction = gradient[seen] / length[seen, None, None, None]
    with torch.no_grad():
        up, down = (
            _margin(deployed.predict(x[seen] + sign * STEP * direction).float(), first[seen], second[seen])
            for sign in (1, -1)
        )
    shares = (up - down) / (2 * STEP * length[seen])
    shares = shares[shares.isfinite()]
    if not len(shares):
        return
    share = float(shares.median())
    if not OFF <= share <= 1 / OFF:
        detail = (
            f"along its gradient a margin changes by {share:.3g} times what the gradient says (median of "
            f"{len(shares)} images): it is the gradient of something else"
        )
        yield Finding("gradients-disagree", "warn", detail)


def whatever_was_asked(deployed: Deployed, fresh: Deployed, x: Tensor) -> Iterator[Finding]:
    """P2: after the attacks the defense answers as one that was deployed anew and asked nothing."""
    if deployed.randomized:
        return
    asked = nearby(x, 1)  # which nobody has asked before
    with torch.no_grad():
        then, now = fresh.predict.eval()(asked), deployed.predict(asked)
    if not torch.allclose(then, now, atol=1e-3, rtol=1e-3, equal_nan=True):
        changed = int((then.argmax(1) != now.argmax(1)).sum())
        apart = float((then - now).abs().nan_to_num(0).max())
        detail = (
            f"after the attacks {changed} of {len(x)} images near clean ones are classified otherwise than "
            f"by the same defense deployed anew; logits differ by up to {apart:.3g}"
        )
        yield Finding("answers-depend-on-history", "block", detail)


def _margin(logits: Tensor, first: Tensor, second: Tensor) -> Tensor:
    rows = torch.arange(len(logits), device=logits.device)
    return logits[rows, first] - logits[rows, second]
