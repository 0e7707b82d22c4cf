"""A pretend CUDA device: tensors that say `cuda:0`, compute on the CPU, and refuse to be mixed with others.

    with pretend(cards=2):
        torch.rand(3, device="cuda:1")

A tensor of a card is a wrapper around one of the CPU. To torch's C++ it lies on the device `meta`, whose
autograd needs neither driver nor thread; to Python it says which card it is on. Every operation on it comes
here and is computed on what is inside. What a program meets on a real card alone is what is imitated:

- tensors of two devices in one operation are refused, and so are generators of another device;
- each card has a random stream of its own;
- a pickle of a tensor on a card is refused, for it would be read beside another card;
- `numpy()` is refused, so is a conversion that would be silent;
- whatever makes the host wait for a card is counted, by what waits and which line of the project asked.

It cannot show kernels, memory, rounding or speed.
"""

from __future__ import annotations

import collections
import pickle  # noqa: TID251 (to refuse what must not be sent)
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

WAITS: collections.Counter[tuple[str, str]] = collections.Counter()
"""(what waits, which line of the project asked) -> how often, since the last `clear`."""

WAITING = {
    "_local_scalar_dense": "a number is read",
    "equal": "a number is read",
    "nonzero": "as many as are not zero",
    "masked_select": "as many as are not zero",
    "_unique2": "as many as differ",
    "unique_dim": "as many as differ",
    "unique_consecutive": "as many as differ",
    "bincount": "as many as the largest",
    "repeat_interleave": "as many as the sum",
}
"""Operations whose result the host must know before it can go on."""

_INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put")
_MOVING = ("_to_copy", "copy_")
_SEEDED = torch.Tag.nondeterministic_seeded
_CPU = torch.device("cpu")
_OURS = tuple(str(Path(__file__).parents[3] / name) + "/" for name in ("bench", "defenses"))

_Generator = torch._C.Generator


class Mixed(RuntimeError):
    """One operation was given tensors or generators of several devices."""


class OnCard(Tensor):
    """A tensor of a pretend card."""

    inside: Tensor  # on the CPU
    card: torch.device

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inside: Tensor, card: torch.device) -> OnCard:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inside.size(),
            strides=inside.stride(),
            storage_offset=inside.storage_offset(),
            dtype=inside.dtype,
            device=torch.device("meta", card.index),
        )
        made.inside, made.card = inside, card
        return made

    @property
    def device(self) -> torch.device:
        return self.card

    is_cuda = property(lambda self: True)
    is_meta = property(lambda self: False)

    def get_device(self) -> int:
        return self.card.index

    def new_tensor(self, data: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
        return torch.tensor(data, dtype=dtype or self.dtype, device=device or self.card)

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *_: object, **__: object) -> None:
        raise TypeError(f"can't convert {self.card} device type tensor to numpy. Use Tensor.cpu() first")

    __array__ = numpy

    def __repr__(self, **_: object) -> str:
        return f"{self.inside!r} on {self.card}"

    def __reduce_ex__(self, _: object) -> tuple[Any, ...]:
        if _CARDS.sending:
            raise Mixed(f"a tensor on {self.card} is sent to other processes, at {_asked_by()}")
        return _made_again, (self.inside.detach().clone(), str(self.card), self.requires_grad)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


def _made_again(inside: Tensor, card: str, requires_grad: bool) -> Tensor:
    return OnCard(inside, torch.device(card)).requires_grad_(requires_grad)


class _Moved(torch.autograd.Function):
    """From one device to another; a gradient goes back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, device: torch.device) -> Tensor:
        ctx.came_from = x.device
        return _copied(x, device)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None]:
        return _copied(outputs[0], ctx.came_from), None


def _copied(x: Tensor, device: torch.device) -> Tensor:
    WAITS[f"a copy from {x.device.type} to {device.type}", _asked_by()] += 1
    inside = (x.inside if isinstance(x, OnCard) else x).detach().clone()
    return OnCard(inside, device) if device.type == "cuda" else inside


_PLACES: dict[int, torch.device] = {}
"""Where generators draw, by their address: torch's C++ hands others over than it was given."""


class _Seeded(_Generator):
    """A generator of a card: one of the CPU that says otherwise."""

    def __new__(cls, device: Any = "cpu") -> _Seeded:
        made = super().__new__(cls, "cpu")
        made.place = _PLACES[made._cdata] = _placed(device)
        return made

    def __init__(self, device: Any = "cpu") -> None:
        """All is done."""

    @property
    def device(self) -> torch.device:
        return self.place


class _Cards:
    """How many there are, which is the current one, whether something is sent, and the stream of each."""

    def __init__(self) -> None:
        self.count, self.current, self.sending = 0, 0, False
        self.streams: dict[torch.device, _Seeded] = {}

    def stream(self, device: Any = "cuda") -> _Seeded:
        card = torch.device("cuda", device) if isinstance(device, int) else _placed(device)
        if card not in self.streams:
            self.streams[card] = _Seeded(card)
            self.streams[card].manual_seed(0)
        return self.streams[card]

    def seed(self, seed: int) -> None:
        for number in range(self.count):
            self.stream(number).manual_seed(seed)


_CARDS = _Cards()


def _placed(device: Any) -> torch.device:
    """A device with its number; `meta` is what torch's C++ takes a card for."""
    found = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    if found.type not in ("meta", "cuda"):
        return found
    return torch.device("cuda", _CARDS.current if found.index is None else found.index)


class _Dispatch(TorchDispatchMode):
    """Sees what makes tensors on a card, which has no tensor of a card among what it is given."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made_there = kwargs.get("device") is not None and torch.device(kwargs["device"]).type != "cpu"
        if made_there or any(isinstance(one, (OnCard, _Generator)) for one in _flat(args, kwargs)):
            return _computed(func, args, kwargs)
        return func(*args, **kwargs)


def _computed(func: Any, args: Any, kwargs: Any) -> Any:
    """An operation on what is inside, and where its results are."""
    name, given = func.overloadpacket.__name__, [*_flat(args, kwargs)]
    cards = {one.card for one in given if isinstance(one, OnCard)}
    _require_one_device(func, name, args, given, cards)
    where = _where(name, args, kwargs, cards)
    _require_generators(func, given, where)
    _count(name, args, where)
    plain, named = tree_map(_inside, (args, kwargs))
    named.pop("pin_memory", None)
    with ExitStack() as stack:
        if (
            where.type == "cuda"
            and _SEEDED in func.tags
            and not any(isinstance(g, _Generator) for g in given)
        ):
            stack.enter_context(_drawing_from(_CARDS.stream(where)))
        result = _performed(func, plain, named)
    if where.type != "cuda":
        return result
    known = {id(one.inside): one for one in given if isinstance(one, OnCard)}

    def on_card(one: Any) -> Any:
        if not isinstance(one, Tensor):
            return one
        return known[id(one)] if id(one) in known else OnCard(one, where)  # in-place: what was given

    return tree_map(on_card, result)


def _performed(func: Any, args: Any, kwargs: Any) -> Any:
    """What the CPU computes; where it has too little memory, a card would say so in its own words."""
    try:
        return func(*args, **kwargs)
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise torch.OutOfMemoryError("CUDA out of memory.") from None


def _flat(args: Any, kwargs: Any) -> Iterator[Any]:
    for one in (*args, *kwargs.values()):
        if isinstance(one, (list, tuple)):
            yield from one
        else:
            yield one


def _inside(one: Any) -> Any:
    if isinstance(one, OnCard):
        return one.inside
    return _CPU if isinstance(one, torch.device) else one


def _require_one_device(func: Any, name: str, args: Any, given: list[Any], cards: set[torch.device]) -> None:
    """Numbers of the CPU may meet a card, and so may its indices, which are copied."""
    if name in _MOVING or not cards:
        return
    apart = [
        one for one in given if isinstance(one, Tensor) and not isinstance(one, OnCard) and one.dim() > 0
    ]
    if apart and name in _INDEXING and isinstance(args[0], OnCard):
        value = args[2] if len(args) > 2 else None
        if all(one is not value for one in apart):
            WAITS["an index on the CPU", _asked_by()] += 1
            apart = []
    if apart or len(cards) > 1:
        found = sorted({str(card) for card in cards} | {"cpu" for _ in apart})
        raise Mixed(f"{func} was given tensors on {' and '.join(found)}, at {_asked_by()}")


def _where(name: str, args: Any, kwargs: Any, cards: set[torch.device]) -> torch.device:
    if name == "copy_":
        return args[0].device
    if kwargs.get("device") is not None:
        return _placed(kwargs["device"])
    return next(iter(cards), _CPU)


def _require_generators(func: Any, given: list[Any], where: torch.device) -> None:
    for one in given:
        place = _PLACES.get(one._cdata, _CPU) if isinstance(one, _Generator) else where
        if place != where:
            raise Mixed(f"{func} on {where} was given a generator of {place}, at {_asked_by()}")


def _count(name: str, args: Any, where: torch.device) -> None:
    what = WAITING.get(name)
    if name in _INDEXING:
        masks = [at for at in args[1] if isinstance(at, Tensor) and at.dtype in (torch.bool, torch.uint8)]
        filled = name not in ("index", "_unsafe_index") and args[2].numel() == 1  # masked_fill
        what = "as many as are not zero" if masks and not filled else None
    elif name in _MOVING:
        came_from = args[1 if name == "copy_" else 0].device
        what = f"a copy from {came_from.type} to {where.type}" if came_from != where else None
    if what is not None:
        WAITS[what, _asked_by()] += 1


@contextmanager
def _drawing_from(stream: _Seeded) -> Iterator[None]:
    """What draws from the CPU's stream inside draws from this one."""
    cpu = torch.random.default_generator
    held = cpu.get_state()
    cpu.set_state(stream.get_state())
    try:
        yield
    finally:
        stream.set_state(cpu.get_state())
        cpu.set_state(held)


def _asked_by() -> str:
    """The innermost line of the project on the stack."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_OURS):
            return f"{file[file.rindex('/', 0, len(_OURS[0]) - 1) + 1 :]}:{frame.f_lineno}"
        frame = frame.f_back
    return "outside"


class _Card:
    """What torch.cuda tells of a card."""

    name, total_memory, major, minor, multi_processor_count = "Pretend", 16 * 2**30, 9, 0, 1


def _to(real: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if args and isinstance(args[0], Tensor):
            args = (args[0].device, args[0].dtype)
        places = [
            one for one in (*args, kwargs.pop("device", None)) if isinstance(one, (str, int, torch.device))
        ]
        places = [one for one in places if not isinstance(one, bool)]
        dtypes = [one for one in (*args, kwargs.pop("dtype", None)) if isinstance(one, torch.dtype)]
        kwargs.pop("non_blocking", None)
        moved = self
        if places and _placed(places[0]) != self.device:
            moved = _Moved.apply(self, _placed(places[0]))
        if dtypes or kwargs.get("memory_format") is not None:
            moved = real(moved, dtypes[0] if dtypes else self.dtype, **kwargs)
        return moved

    return to


def _made(real: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`torch.tensor` and `torch.as_tensor`: made on the CPU and copied, as they do it."""

    def make(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        if isinstance(data, OnCard):
            made = data.to(**kwargs) if kwargs else data
            return made if device is None else made.to(device)
        made = real(data, *args, **kwargs)
        return made if device is None else made.to(device)

    return make


def _in_half(real: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Convolutions and linear layers under autocast for CUDA."""

    def layer(x: Tensor, *rest: Any, **kwargs: Any) -> Tensor:
        if isinstance(x, OnCard) and torch.is_autocast_enabled("cuda"):
            half = torch.get_autocast_dtype("cuda")
            x, rest = x.to(half), tuple(one.to(half) if isinstance(one, Tensor) else one for one in rest)
        return real(x, *rest, **kwargs)

    return layer


def _sent(real: Callable[..., bytes]) -> Callable[..., bytes]:
    """`pickle.dumps`: what it makes goes to other processes, each with a card of its own."""

    def dumps(*args: Any, **kwargs: Any) -> bytes:
        with mock.patch.object(_CARDS, "sending", new=True):
            return real(*args, **kwargs)

    return dumps


def _in_thread(real: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    """A thread's life: what sees operations is each thread's own."""

    def live(self: threading.Thread) -> None:
        with _Dispatch():
            real(self)

    return live


def _patches(cards: int) -> Iterator[Any]:
    yes: dict[str, Any] = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: cards,
        "current_device": lambda: _CARDS.current,
        "set_device": lambda device: setattr(_CARDS, "current", _placed(device).index),
        "get_device_properties": lambda *_: _Card,
        "get_device_name": lambda *_: _Card.name,
        "get_device_capability": lambda *_: (_Card.major, _Card.minor),
        "is_bf16_supported": lambda *_, **__: True,
        "empty_cache": lambda: None,
        "synchronize": lambda *_: None,
        "max_memory_allocated": lambda *_: 0,
        "reset_peak_memory_stats": lambda *_: None,
        "_is_in_bad_fork": lambda: False,
        "manual_seed_all": _CARDS.seed,
        "manual_seed": lambda seed: _CARDS.stream().manual_seed(seed),
        "get_rng_state": lambda device="cuda": _CARDS.stream(device).get_state(),
        "set_rng_state": lambda state, device="cuda": _CARDS.stream(device).set_state(state),
    }
    for name, stand_in in yes.items():
        yield mock.patch.object(torch.cuda, name, stand_in)
    to = _to(Tensor.to)
    yield mock.patch.object(Tensor, "to", to)
    yield mock.patch.object(Tensor, "cpu", lambda self: to(self, _CPU))
    yield mock.patch.object(Tensor, "cuda", lambda self, device=None: to(self, _placed(device or "cuda")))
    yield mock.patch.object(Tensor, "pin_memory", lambda self: self)
    for owner, name in ((torch, "tensor"), (torch, "as_tensor")):
        yield mock.patch.object(owner, name, _made(getattr(owner, name)))
    yield mock.patch.object(pickle, "dumps", _sent(pickle.dumps))
    begun = _in_thread(threading.Thread._bootstrap_inner)
    yield mock.patch.object(threading.Thread, "_bootstrap_inner", begun)
    for name in ("conv2d", "linear"):
        yield mock.patch.object(F, name, _in_half(getattr(F, name)))
    for name in ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check"):
        if hasattr(torch.optim.Optimizer, name):  # it would ask a driver
            yield mock.patch.object(torch.optim.Optimizer, name, lambda self: None)
    for module in [*sys.modules.values()]:
        if getattr(module, "__dict__", {}).get("Generator") is torch.Generator and module is not torch._C:
            yield mock.patch.object(module, "Generator", _Seeded)
    from lightning_fabric.accelerators import cuda

    yield mock.patch.object(cuda, "_clear_cuda_memory", lambda: None)


@contextmanager
def pretend(cards: int = 1) -> Iterator[None]:
    """Inside, this machine has so many CUDA devices."""
    swapped = torch.__future__.get_swap_module_params_on_conversion()
    _CARDS.__init__()
    _CARDS.count = cards
    with ExitStack() as stack:
        for patch in [*_patches(cards)]:
            stack.enter_context(patch)
        torch.__future__.set_swap_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, swapped)
        stack.enter_context(torch.serialization.safe_globals([_made_again]))  # as torch knows its own tensors
        stack.enter_context(_Dispatch())
        yield
