"""Networks of others, made to answer as ours do: images in [0, 1] in, logits [n, K] out.

What a network needs is found by one look at what it makes of a few images, the same wherever it is built.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter, itemgetter
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors_of_others import in_one_line
from bench.errors import BadCheckpoint
from bench.nn.normalize import Normalize

SIZES = (1, 2, 4, 8, 10, 16, 20, 25, 32, 50, 64, 100, 128, 200, 256)
"""How many images at once are tried with a network that does not take two."""

IMAGENET = 1000
"""The outputs of a network for ImageNet."""

CHANCE = 0
"""The seed of the images that are tried."""


@dataclass(frozen=True)
class Wanted:
    """What is asked of a network besides its answer: what a user said of it."""

    data: str  # the name of the data set
    num_classes: int
    image_shape: tuple[int, int, int]  # C, H, W
    scaling: tuple[Sequence[float], Sequence[float]] | None = None  # mean and std that go before it
    output: str = ""  # which part of its answer is logits
    outputs: tuple[int, ...] = ()  # which of its outputs are the classes, in their order; empty: all
    # which of ImageNet's 1,000 outputs they are; empty: their names do not tell
    of_imagenet: Callable[[], tuple[int, ...]] = tuple


class Adapted(nn.Module):
    """A network between what its images and its answers need; the modules of both are without weights."""

    def __init__(
        self,
        network: nn.Module,
        before: Sequence[nn.Module],
        after: Sequence[nn.Module],
        said: Sequence[str],
    ) -> None:
        super().__init__()
        self.before = nn.ModuleList(before)
        self.network = network
        self.after = nn.ModuleList(after)
        self.said = tuple(said)  # what was done, in sentences

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K] of images x [n, C, H, W] in [0, 1]."""
        for step in self.before:
            x = step(x)
        answer: Tensor = self.network(x)
        for step in self.after:
            answer = step(answer)
        return answer


class OwnCopy(nn.Module):
    """For a network that writes into its input."""

    def forward(self, x: Tensor) -> Tensor:
        """A copy of x."""
        return x.clone()


class InBatchesOf(nn.Module):
    """For a network that takes a fixed number of images: the last of a batch is repeated to fill it."""

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, x: Tensor) -> Any:
        """What the network answers to x [n, C, H, W], a table or a tuple of such, without the repetitions."""
        parts = []
        for part in torch.split(x, self.size):
            lacking = self.size - len(part)
            whole = torch.cat([part, part[-1:].expand(lacking, *part.shape[1:])]) if lacking else part
            parts.append(_first(self.network(whole), len(part), self.size))
        return _joined(parts)


class NeverAlone(nn.Module):
    """For a network that answers one image otherwise than several."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        """What the network answers to x [n, C, H, W]; one image is given twice."""
        return self.network(x) if len(x) > 1 else _first(self.network(torch.cat([x, x])), 1, 2)


class Part(nn.Module):
    """One part of an answer, as that of an example: by its key, attribute or place."""

    def __init__(self, key: str, example: Any) -> None:
        super().__init__()
        self.key = key
        self.read: Callable[[Any], Any] = attrgetter(key) if key.isidentifier() else itemgetter(int(key))
        if isinstance(example, Mapping):
            self.read = itemgetter(next(held for held in example if str(held) == key))

    def forward(self, answer: Any) -> Tensor:
        """The part, a tensor."""
        found: Tensor = self.read(answer)
        return found

    def extra_repr(self) -> str:
        """Its key."""
        return self.key


class Flat(nn.Module):
    """Maps of one pixel, [n, K, 1, 1], as logits."""

    def forward(self, logits: Tensor) -> Tensor:
        """[n, K]."""
        return logits.flatten(1)


class TwoOfOne(nn.Module):
    """One logit z of the second of two classes: cross-entropy of (0, z) is the logistic loss of z."""

    def forward(self, logit: Tensor) -> Tensor:
        """[n, 2] of [n, 1] or [n]."""
        second = logit.reshape(-1, 1)
        return torch.cat([torch.zeros_like(second), second], dim=1)


class Chosen(nn.Module):
    """Some of a network's outputs."""

    places: Tensor

    def __init__(self, places: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("places", torch.tensor(places), persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        """[n, K] of [n, K']."""
        return logits.index_select(1, self.places)


class SinglePrecision(nn.Module):
    """Logits in half or double precision as float32."""

    def forward(self, logits: Tensor) -> Tensor:
        """The same, float32."""
        return logits.float()


def adapt(network: nn.Module, wanted: Wanted) -> nn.Module:
    """A network that answers as is wanted: itself where nothing need be done, else `Adapted`.

    Raises:
        BadCheckpoint: it raises whatever is tried, or its answer holds no logits, or several of them.
    """
    network.eval()
    images = torch.rand(2, *wanted.image_shape, generator=torch.Generator().manual_seed(CHANCE))
    before: list[nn.Module] = [Normalize(*wanted.scaling)] if wanted.scaling else []
    with torch.random.fork_rng([]):
        network, answer, said = _answered(network, before, images, wanted)
        writes = _writes(network, before, images)
    if writes:
        before.append(OwnCopy())
        said.append("it writes into its input, so it is given copies")
    after = _steps(answer, wanted, said)
    adapted = before or after or said or isinstance(network, torch.jit.ScriptModule)  # it cannot be frozen
    return Adapted(network, before, after, said) if adapted else network


def bare(network: nn.Module) -> nn.Module:
    """The network of others inside what was put around it."""
    while isinstance(network, (Adapted, InBatchesOf, NeverAlone)):
        network = network.network
    return network


def _answered(
    network: nn.Module, before: Sequence[nn.Module], images: Tensor, wanted: Wanted
) -> tuple[nn.Module, Any, list[str]]:
    """A network that takes two images, and one, what it answers to two, and what was changed for that."""
    faults: list[str] = []
    for change, sentence in _attempts(network):
        changed = change()
        try:
            answer, single = _ask(changed, before, images), _ask(changed, before, images[:1])
        except Exception as error:  # whatever a network of anybody's raises
            size = "x".join(map(str, wanted.image_shape))
            faults.append(f"the network cannot take images {size} ({in_one_line(error)})")
            continue
        if _has_rows(answer, 2) and _has_rows(single, 1):
            return changed, answer, [sentence] if sentence else []
        faults.append(f"the network answers {_shape(answer)} to two images and {_shape(single)} to one")
    raise BadCheckpoint(
        f"{faults[0]}, expected logits [n, {wanted.num_classes}] for n images of {wanted.data}"
    )


def _attempts(network: nn.Module) -> Iterator[tuple[Callable[[], nn.Module], str]]:
    """What is tried, one after the other, each with its sentence; a change of precision stays."""
    yield lambda: network, ""
    dtypes = {tensor.dtype for tensor in network.state_dict().values() if tensor.is_floating_point()}
    strange = sorted(str(dtype).removeprefix("torch.") for dtype in dtypes - {torch.float32})
    if strange:
        yield network.float, f"its weights are {', '.join(strange)}, and are used in float32"
    yield lambda: NeverAlone(network), "one image alone it does not answer, so it is given it twice"
    for size in SIZES:
        yield partial(InBatchesOf, network, size), f"it takes {size} images at a time, so others are added"


@torch.no_grad()
def _ask(network: nn.Module, before: Sequence[nn.Module], images: Tensor) -> Any:
    x = images.clone()
    for step in before:
        x = step(x)
    return network(x)


@torch.no_grad()
def _writes(network: nn.Module, before: Sequence[nn.Module], images: Tensor) -> bool:
    """Whether the network changes its input in place, even to the same values."""
    x = images.clone()
    for step in before:
        x = step(x)
    version = x._version
    network(x)
    return x._version != version


def _steps(answer: Any, wanted: Wanted, said: list[str]) -> list[nn.Module]:
    """What makes logits [n, K] of an answer."""
    steps: list[nn.Module] = []
    if not isinstance(answer, Tensor):
        key = wanted.output or _logits_in(answer, wanted)
        found = _parts(answer)
        if key not in found:
            raise BadCheckpoint(
                f"the network's answer has no {key!r}, expected one of {', '.join(found)}",
                f"--set defense.output={next(iter(found), 'logits')}",
            )
        steps.append(Part(key, answer))
        said.append(f"of its answer ({_shape(answer)}), {key} is taken")
        answer = found[key]
    if answer.ndim == 4 and answer.shape[2:] == (1, 1):
        steps.append(Flat())
        answer = answer.flatten(1)
    if wanted.num_classes == 2 and (answer.ndim == 1 or (answer.ndim == 2 and answer.shape[1] == 1)):
        steps.append(TwoOfOne())
        said.append("its one logit z is taken as the logits 0 and z of two classes")
        answer = TwoOfOne()(answer)
    if not wanted.outputs and answer.shape[1:] == (IMAGENET,) and wanted.num_classes < IMAGENET:
        wanted = dataclasses.replace(wanted, outputs=wanted.of_imagenet())
        if wanted.outputs:
            said.append(f"of its {IMAGENET:,} outputs those of ImageNet's synsets are taken that are classes")
    _require_logits(answer, wanted)
    if wanted.outputs:
        steps.append(Chosen(wanted.outputs))
    if answer.dtype is not torch.float32:
        steps.append(SinglePrecision())
    return steps


def _require_logits(answer: Tensor, wanted: Wanted) -> None:
    classes = wanted.num_classes
    if answer.ndim != 2 or (not wanted.outputs and answer.shape[1] < classes):
        raise BadCheckpoint(
            f"the network answers {list(answer.shape)} to two images of {classes} classes, expected logits "
            f"[2, {classes}]"
        )
    if not wanted.outputs and answer.shape[1] > classes:
        first = ",".join(map(str, range(classes))) if classes <= 10 else f"0,1,…,{classes - 1}"
        raise BadCheckpoint(
            f"the network answers {answer.shape[1]} logits, and there are {classes} classes, expected to be "
            "told which of its outputs they are",
            f"--classes FILE with the names of its outputs, a line each, or --set defense.outputs={first}",
        )
    if wanted.outputs and max(wanted.outputs) >= answer.shape[1]:
        raise BadCheckpoint(
            f"defense.outputs names output {max(wanted.outputs)}, but the network has {answer.shape[1]}, "
            f"expected 0 to {answer.shape[1] - 1}"
        )


def _logits_in(answer: Any, wanted: Wanted) -> str:
    """The key of an answer's logits: what is called so, or the only part that can be."""
    found = _parts(answer)
    if "logits" in found:
        return "logits"
    shapes = {key: list(part.shape) for key, part in found.items()}
    fitting = [key for key, shape in shapes.items() if shape == [2, wanted.num_classes]]
    if len(fitting) != 1:
        several = "several parts" if fitting else "no part"
        raise BadCheckpoint(
            f"the network answers {_shape(answer)}, of which {several} can be logits of {wanted.num_classes} "
            "classes, expected to be told which",
            f"--set defense.output={(fitting or list(found) or ['logits'])[0]}",
        )
    return fitting[0]


def _parts(answer: Any) -> dict[str, Tensor]:
    """The tensors of an answer by key, attribute or place."""
    if isinstance(answer, Tensor):
        return {"0": answer}
    if isinstance(answer, Mapping):
        items = [(str(key), part) for key, part in answer.items()]
    elif isinstance(answer, tuple) and hasattr(answer, "_fields"):
        items = [*zip(answer._fields, answer, strict=True)]
    elif isinstance(answer, (tuple, list)):
        items = [(str(place), part) for place, part in enumerate(answer)]
    elif dataclasses.is_dataclass(answer):
        items = [(item.name, getattr(answer, item.name)) for item in dataclasses.fields(answer)]
    else:
        items = []
    return {key: part for key, part in items if isinstance(part, Tensor)}


def _first(answer: Any, n: int, given: int) -> Any:
    """The rows of the first n of the given images in an answer, as a table where it is none of one tensor."""
    if not _has_rows(answer, given):
        raise ValueError(f"{_shape(answer)} is the answer to {given} images")
    if isinstance(answer, Tensor):
        return answer[:n]
    return {key: part[:n] for key, part in _parts(answer).items()}


def _joined(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], Tensor):
        return torch.cat(list(parts))
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def _has_rows(answer: Any, n: int) -> bool:
    """Whether some part of an answer has a row for each of n images."""
    return any(part.ndim and len(part) == n for part in _parts(answer).values())


def _shape(answer: Any) -> str:
    if isinstance(answer, Tensor):
        return str(list(answer.shape))
    parts = [f"{key} {list(part.shape)}" for key, part in _parts(answer).items()]
    return f"{type(answer).__name__} of {', '.join(parts)}" if parts else f"a {type(answer).__name__}"
