"""Networks that others trained, judged like every defense: from a file, RobustBench or Hugging Face.

RobustBench: Croce et al., "RobustBench: a standardized adversarial robustness benchmark", NeurIPS Datasets
and Benchmarks 2021. Nothing is trained here, so nobody can train a twin either.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import ClassVar, Literal, cast

import torch
from torch import nn

from bench.api import Defense, Deployed, FitContext, Task
from bench.core.imports import CODE, module_at
from bench.errors import BadCheckpoint, BadValue, BenchError, unknown
from bench.nn.architectures import network
from bench.train import hub, memory, zoo
from bench.train.foreign import Foreign, WeightsPlace
from bench.train.zoo import Threat


class _Paper:
    """What a loaded network implements, as far as its source tells."""

    def __get__(self, loaded: Loaded | None, owner: type) -> str:
        scheme, _, name = (loaded.source if loaded is not None else "file").partition(":")
        if loaded is not None and scheme == "robustbench":
            told = zoo.citation(name, loaded.threat)
            return f"RobustBench: {name}, as published" + (f" ({told})" if told else "")
        if scheme == "hf":
            return f"Hugging Face: {name}, as published there"
        if loaded is not None and loaded.made_by == memory.IN_MEMORY:
            return "a network that a program held in memory (no paper)"
        return "weights that others trained, from a file (no paper)"


@dataclass(frozen=True)
class Loaded:
    """The network as it is: pixels in [0, 1] in, logits out.

    A file of weights comes with --checkpoint FILE and fits, key by key, an architecture of ours (--arch) or
    what a function of yours makes (--factory). Weights are tensors only, safetensors or a pickle that can run
    no code. They are known by their content: the same file elsewhere is the same run.
    """

    paper: ClassVar[str] = cast(str, _Paper())
    reconstruction: ClassVar[str | None] = None

    source: str = "file"  # or robustbench:NAME, hf:REPO, hf:REPO/FILE: what --defense names
    weights: str = ""  # the file's SHA-256, its first 12 digits, as runs note it; given, they are demanded
    # module:callable or PATH.py:callable that makes the network, its normalisation inside
    factory: str = field(default="", metadata={CODE: True})
    normalize: Literal["none", "task"] = "task"  # before --arch: nothing, or the data set's mean and std
    zoo_data: Literal["task", "cifar10", "cifar100", "imagenet"] = "task"  # RobustBench's; task: --data
    threat: Threat = "Linf"  # what RobustBench's network was trained against

    def __post_init__(self) -> None:
        scheme, _, name = self.source.partition(":")
        if self.source != "file" and (scheme not in ("robustbench", "hf") or not name):
            raise BadValue(
                f"source is {self.source!r}, expected file, robustbench:NAME or hf:REPO", "--checkpoint FILE"
            )
        if re.fullmatch(r"([0-9a-f]{12})?", self.weights) is None:
            raise BadValue(f"weights is {self.weights!r}, expected 12 hexadecimal digits of a SHA-256")
        if self.factory and scheme == "robustbench":
            raise BadValue(f"factory is {self.factory!r}, expected none: {self.source} is a whole network")
        place, _, attribute = self.factory.rpartition(":")
        if self.factory and not (place and attribute):
            raise BadValue(
                f"factory is {self.factory!r}, expected module:callable or PATH.py:callable",
                "--factory networks.py:make",
            )
        if place.endswith(".py"):  # known by the name of the file, wherever it lies
            object.__setattr__(self, "factory", f"{_module(self.factory).__name__}:{attribute}")

    @property
    def requires(self) -> Mapping[str, str]:
        """Nothing is trained at all."""
        return {}

    def build(self, task: Task) -> nn.Module:
        """The network, with fresh weights."""
        if self._zoo_name:
            return self._entry(task.data).network()
        if self.factory:
            return _made(self.factory)
        plain = dataclasses.replace(task, mean=(0.0,) * task.image_shape[0], std=(1.0,) * task.image_shape[0])
        return network(task if self.normalize == "task" else plain)

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """The weights are there; only see whether the network takes these images and knows their classes."""
        classes, shape = context.task.num_classes, "x".join(map(str, context.task.image_shape))
        try:
            with torch.no_grad():
                answer: object = net.eval()(context.draw(2).x)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
            raise BadCheckpoint(
                f"the network cannot take images {shape} ({reason}), expected one for {context.task.data}"
            ) from None
        found = list(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
        if found != [2, classes]:
            raise BadCheckpoint(
                f"the network answers {found} to two images of {context.task.data}, expected logits "
                f"[2, {classes}]"
            )

    def deploy(self, net: nn.Module) -> Deployed:
        """The network as it is."""
        return Deployed(predict=net)

    @property
    def modules(self) -> tuple[str, ...]:
        """Where the factory is."""
        return (self.factory.rpartition(":")[0],) if self.factory else ()

    @property
    def made_by(self) -> str | None:
        """The factory, or whose network it is; None: an architecture of ours."""
        if memory.is_factory(self.factory):
            return memory.IN_MEMORY
        return "robustbench" if self._zoo_name else self.factory or None

    def files(self, data: str, given: Path | None, place: WeightsPlace) -> tuple[Path, ...]:
        """The files of weights, downloaded if need be; a factory must be there, too."""
        if self.source != "file" and given is not None:
            raise BadValue(f"--checkpoint is {str(given)!r}, but {self.source} brings its own weights")
        if self.factory:
            _callable(self.factory)
        if self._zoo_name:
            return zoo.files(self._entry(data), place)
        if self.source != "file":
            return (hub.find(self.source.partition(":")[2], place),)
        if given is None:
            raise BadValue(
                "loaded has no weights of its own, expected a file of them",
                "bench run --defense loaded --checkpoint FILE",
            )
        return (given,)

    def holding(self, sha256: str) -> Loaded:
        """What is told apart by its file's content alone notes it."""
        if self.weights and self.weights != sha256[:12]:
            raise BadCheckpoint(
                f"weights is {self.weights}, but the SHA-256 of the file begins with {sha256[:12]}, expected "
                "that very file"
            )
        return dataclasses.replace(self, weights=sha256[:12]) if self.source == "file" else self

    def unpacked(self, data: str, file: Path, folder: Path) -> Path:
        """The file itself, except for RobustBench's, whose keys and wrappings differ from paper to paper."""
        return zoo.unpack(self._entry(data), file, folder) if self._zoo_name else file

    @property
    def _zoo_name(self) -> str:
        scheme, _, name = self.source.partition(":")
        return name if scheme == "robustbench" else ""

    def _entry(self, data: str) -> zoo.Entry:
        return zoo.entry(self._zoo_name, data if self.zoo_data == "task" else self.zoo_data, self.threat)


def from_zoo(source: str) -> Loaded:
    """A network of RobustBench's model zoo by its name there, such as robustbench:Rice2020Overfitting."""
    return Loaded(source=source)


def from_hub(source: str) -> Loaded:
    """Weights in a repository of Hugging Face, hf:OWNER/REPO[/FILE], of what --arch or --factory names."""
    return Loaded(source=source)


def _module(factory: str) -> ModuleType:
    place, _, attribute = factory.rpartition(":")
    try:
        return module_at(place, f"PATH.py:callable, such as networks.py:{attribute}")
    except BenchError:
        raise
    except Exception as error:  # whatever a module of others raises while it is imported
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadValue(
            f"factory is {factory!r}, but {place} cannot be imported ({reason}), expected module:callable or "
            "PATH.py:callable"
        ) from None


def _callable(factory: str) -> Callable[[], object]:
    attribute = factory.rpartition(":")[2]
    module = _module(factory)
    found = getattr(module, attribute, None)
    if not callable(found):
        callables = [name for name, held in vars(module).items() if callable(held)]
        raise unknown("callable", attribute, callables, owner=factory.rpartition(":")[0])
    return cast(Callable[[], object], found)


def _made(factory: str) -> nn.Module:
    try:
        made = _callable(factory)()
    except BenchError:
        raise
    except Exception as error:  # whatever it raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadValue(
            f"factory is {factory!r}, but calling it without arguments raised {reason}, expected a network"
        ) from None
    if not isinstance(made, nn.Module):
        raise BadValue(f"factory is {factory!r}, but it makes a {type(made).__name__}, expected an nn.Module")
    return made


_: Defense = Loaded()
__: Foreign = Loaded()
