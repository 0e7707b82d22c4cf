"""Truth values of many examples as a short text, four to a hexadecimal digit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def packed(held: NDArray[np.bool_]) -> str:
    """The values [n] as hexadecimal digits, first example first, filled up with zeros to whole digits.

    >>> packed(np.array([True, False, False, False, True]))
    '88'
    """
    return np.packbits(held).tobytes().hex()[: -(-len(held) // 4)]


def unpacked(text: str, n: int) -> NDArray[np.bool_]:
    """The values [n] behind such a text.

    Raises ValueError for what `packed` did not make of n values.

    >>> unpacked("88", 5).tolist()
    [True, False, False, False, True]
    """
    if len(text) != -(-n // 4) or text != text.lower():
        raise ValueError(f"a bitmap of {n} examples has {-(-n // 4)} hexadecimal digits, not {text[:8]!r}...")
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(text + "0" * (len(text) % 2)), dtype=np.uint8))
    if bits[n:].any():
        raise ValueError(f"a bitmap of {n} examples ends in zeros, not in {text[-2:]!r}")
    return bits[:n].astype(np.bool_)
