"""Networks made ready for an attack's many passes: decided once, on a run's own images, in float32.

What is decided depends on the network and on those images alone, so a resumed run and every worker climb the
same arithmetic as the process that began.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.data.dataset import Dataset, test_subset
from bench.nn.fold import NotFolded, folded

EXAMPLES = 8
"""How many images decide."""


@dataclass(frozen=True)
class Prepared:
    """A network as gradients are computed with it."""

    network: nn.Module  # folded where that is the same function, else the network itself
    channels_last: bool  # whether it is given images in that layout
    refused: str | None = None  # why its BatchNorms are not folded; None: they are, or there are none


def deciding(data: Dataset, examples: int | None) -> Tensor:
    """The images [n, C, H, W] of a run that decide, on the device: the first of its first `examples`."""
    return data.test.batch(test_subset(data, examples)[:EXAMPLES])[0]


def prepare(network: nn.Module, images: Tensor, fold: bool, channels_last: bool) -> Prepared:
    """A network that is laid out and in eval mode.

    To `fold`: folded, if images [n, C, H, W] show that it can be.
    """
    if not fold:
        return Prepared(network, channels_last)
    try:
        with unchanged(network):
            return Prepared(folded(network, images, channels_last), channels_last)
    except NotFolded as reason:
        return Prepared(network, channels_last, None if reason.idle else str(reason))


def lay_out(networks: Sequence[nn.Module], images: Tensor) -> bool:
    """Put the weights of networks in the channels-last layout if all compute that way; gives whether they do.

    Where one does not (it flattens by `view`, say), all of them get the usual layout: they may share weights.
    """
    for network in networks:
        network.to(memory_format=torch.channels_last)
    if all(_computes(network, as_laid_out(images, channels_last=True)) for network in networks):
        return True
    for network in networks:
        network.to(memory_format=torch.contiguous_format)
    return False


def as_laid_out(x: Tensor, channels_last: bool) -> Tensor:
    """Images [n, C, H, W] in the layout of the network that they are for; one channel has only one layout."""
    return x.contiguous(memory_format=torch.channels_last) if channels_last and x.shape[1] > 1 else x


@contextmanager
def unchanged(network: nn.Module) -> Iterator[None]:
    """What is tried inside leaves no trace in a network that keeps state, nor in anybody's random draws."""
    plain = [module for module in network.modules() if not isinstance(module, torch.jit.ScriptModule)]
    held = [(module, dict(vars(module)), dict(module._buffers)) for module in plain]
    values = [(buffer, buffer.detach().clone()) for buffer in network.buffers()]
    devices = [buffer.device for buffer, _ in values] + [weight.device for weight in network.parameters()]
    with torch.random.fork_rng(list({device for device in devices if device.type == "cuda"})):
        try:
            yield
        finally:
            for module, attributes, buffers in held:
                module._buffers.clear()
                module._buffers.update(buffers)
                vars(module).clear()
                vars(module).update(attributes)
            with torch.no_grad():
                for buffer, value in values:
                    if not torch.equal(buffer, value):
                        buffer.copy_(value)


def _computes(network: nn.Module, images: Tensor) -> bool:
    """Whether one forward and one backward pass run through."""
    try:
        with unchanged(network), torch.enable_grad():
            x = images.detach().requires_grad_()
            logits: Tensor = network(x)
            if logits.requires_grad:
                torch.autograd.grad(logits.float().sum(), x, allow_unused=True)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # a network of anybody's: what it raises in the usual layout, too, its columns tell
        return False
    return True
