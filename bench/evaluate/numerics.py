"""How an attack's gradients are computed; verdicts are always in full precision on the original network."""

# no `from __future__ import annotations`: records name `bench.evaluate.oracle:Numerics`, and whoever decodes
# them would look for the annotations' names in that module
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Numerics:
    """How gradients are computed; verdicts are always in full precision on the original network."""

    fold: bool = True  # BatchNorm folded into the convolutions before it
    channels_last: bool = True  # in networks that compute in that layout
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"  # tf32: on a GPU, factors of products are rounded
    eot_samples: int = 20  # gradients averaged for a randomized defense


PLAIN = Numerics(fold=False, channels_last=False)
"""Every shortcut off."""
