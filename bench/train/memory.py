"""Networks that a Python program holds, known by the digest of their weights and answers.

Each is a callable of this module, so that a loaded defense names it as it names every factory, by
`bench.train.memory:DIGEST`.
"""

from __future__ import annotations

import copy
import hashlib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakValueDictionary

import safetensors.torch
import torch
from torch import Tensor, nn

from bench.attacks.streams import seeded
from bench.errors import BadValue
from bench.nn.adapt import Wanted, adapt
from bench.train.checkpoints import weights_of

IN_MEMORY = "in memory"
"""What stands for the architecture of such a network."""


def is_factory(factory: str) -> bool:
    """Whether it is a network of this module that is named."""
    return factory.startswith(f"{__name__}:")


class FromFunction(nn.Module):
    """A network that is a function of images [B, C, H, W]; it has no weights that anybody knows of."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """What the function answers to a copy, for it may write into what it is given."""
        return self.function(x.clone())


class FromScript(nn.Module):
    """A network of TorchScript, asked as a function: nothing looks into modules of its kind."""

    def __init__(self, script: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.held = (script,)  # no module of this one

    def forward(self, x: Tensor) -> Tensor:
        """What the script answers."""
        answer: Tensor = self.held[0](x)
        return answer

    def __deepcopy__(self, memo: object) -> FromScript:
        file = io.BytesIO()
        torch.jit.save(self.held[0], file)
        file.seek(0)
        return FromScript(torch.jit.load(file).eval())  # type: ignore[no-untyped-call]


@dataclass(frozen=True, eq=False)
class HeldNetwork:
    """A network in eval mode, for as long as somebody refers to it; called, it gives a copy."""

    digest: str
    net: nn.Module
    num_classes: int

    def __call__(self) -> nn.Module:
        """A copy, which whoever asked may change."""
        return copy.deepcopy(self.net)

    @property
    def factory(self) -> str:
        """What names it: "module:callable"."""
        return f"{__name__}:{self.digest}"

    @property
    def weights(self) -> bytes:
        """All its parameters and buffers as a file of safetensors."""
        return _weights(self.net)


_HELD: WeakValueDictionary[str, HeldNetwork] = WeakValueDictionary()


def hold(net: nn.Module, x: Tensor, classes: int) -> HeldNetwork:
    """A copy of the network, named by its weights and by its answers to some images x [n, C, H, W].

    Functions and networks of other code differ in their answers alone. The same network is held once.
    `classes` is how many the labels know, for a network whose answer is more than logits.

    Raises:
        BadValue: it cannot be copied, its state is more than tensors, or it does not answer with logits.
    """
    copied = copy_of(net)
    logits = _logits(copied.to(x.device), x, classes)
    content = _weights(copied) + logits.float().cpu().numpy().tobytes()
    digest = hashlib.sha256(content).hexdigest()[:12]
    return _HELD.setdefault(digest, HeldNetwork(digest, copied.cpu(), logits.shape[1]))


def copy_of(net: nn.Module) -> nn.Module:
    """The network once more, in eval mode."""
    try:
        return copy.deepcopy(net).eval()
    except Exception as error:  # whatever a network of others holds
        raise BadValue(
            f"the network {type(net).__name__} cannot be copied ({type(error).__name__}: {error}), expected "
            "one that copy.deepcopy takes",
            "bench run --defense loaded --factory FILE.py:FUNCTION --checkpoint FILE",
        ) from None


def __getattr__(name: str) -> HeldNetwork:
    """The network of that digest; so Python asks for what a module does not define (PEP 562)."""
    if re.fullmatch(r"[0-9a-f]{12}", name) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = _HELD.get(name)
    if found is None:
        raise BadValue(
            f"the network {name} was in the memory of a program that has ended or dropped it, expected one "
            "that this process holds",
            "bench.evaluate(network, ...) again, in Python",
        )
    return found


def _weights(net: nn.Module) -> bytes:
    for name, held in net.state_dict().items():
        if not isinstance(held, Tensor):
            raise BadValue(
                f"the network's state has a {type(held).__name__} under {name!r}, expected tensors only",
                "a buffer in the place of get_extra_state",
            )
        if held.is_floating_point() and not bool(torch.isfinite(held).all()):
            raise BadValue(
                f"the network's {name} holds numbers that are not finite, expected trained weights"
            )
    return safetensors.torch.save(weights_of(net))


def _logits(net: nn.Module, x: Tensor, classes: int) -> Tensor:
    """The network's answers to a copy of the images, by what `adapt` puts around it where that is needed."""
    with torch.no_grad(), seeded(0, x.device):
        try:
            answer: object = net(x.clone())
        except Exception:  # whatever a network of others raises: adapt says it, or helps
            answer = None
        if isinstance(answer, Tensor) and answer.ndim == 2 and len(answer) == len(x) and answer.shape[1] > 1:
            return answer
        channels, height, width = x.shape[1:]
        adapted = adapt(net.cpu(), Wanted("these images", classes, (channels, height, width)))
        logits: Tensor = adapted(x.cpu())
        return logits
