"""Whether a GPU may round float32 factors to TF32, 10 bits of mantissa: chosen, not inherited from a process.

cuDNN's convolutions do so unless they are told not to, which moves logits by about a thousandth: enough to
turn the verdict on an image that lies just across the boundary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch

_BACKENDS: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
"""What multiplies float32 numbers on a GPU; each has a switch `allow_tf32`."""

_KINDS: tuple[Any, ...] = tuple(
    kind
    for kind in (
        torch.backends.cuda.matmul,
        getattr(torch.backends.cudnn, "conv", None),
        getattr(torch.backends.cudnn, "rnn", None),
    )
    if hasattr(kind, "fp32_precision")
)
"""Where torch has a switch for each kind of product besides, which must agree with the others."""


_choices: list[bool] = []
"""What was chosen, innermost last."""


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Inside, products and convolutions on a GPU may use TF32, or must not; afterwards all is as it was.

    The switches are the process's, so other threads have them, too. On a CPU, products are in full precision
    where TF32 is not allowed, even if the program allowed less.

    >>> with tf32(False):
    ...     switches()
    {'matmul': False, 'convolutions': False}
    """
    if _choices and _choices[-1] is allowed:
        yield
        return
    put_back = _inherited()
    _choose(allowed)
    _choices.append(allowed)
    try:
        yield
    finally:
        _choices.pop()
        for setting in put_back:
            setting()


def _choose(allowed: bool) -> None:
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
    for kind in _KINDS:
        kind.fp32_precision = "tf32" if allowed else "ieee"


def switches() -> dict[str, bool]:
    """What may use TF32 now."""
    matmul, cudnn = _BACKENDS
    return {"matmul": matmul.allow_tf32, "convolutions": cudnn.allow_tf32}


def _inherited() -> list[Callable[[], None]]:
    """What puts the switches back as they are, in this order.

    A switch that torch refuses to read, because a program has set others against it, is left out.
    """
    found: list[Callable[[], None]] = []
    for owner, name in [
        *((backend, "allow_tf32") for backend in _BACKENDS),
        *((kind, "fp32_precision") for kind in _KINDS),
    ]:
        with suppress(RuntimeError):
            found.append(partial(setattr, owner, name, getattr(owner, name)))
    with suppress(RuntimeError):  # it moves the other switches of matmul, and they move it
        of_products = partial(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
        found.insert(len(found) - len(_KINDS), of_products)
    return found
