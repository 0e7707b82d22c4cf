"""Networks that others trained, judged like every defense: from a file, RobustBench or Hugging Face.

RobustBench: Croce et al., "RobustBench: a standardized adversarial robustness benchmark", NeurIPS Datasets
and Benchmarks 2021. Nothing is trained here, so nobody can train a twin either.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, cast

from torch import Tensor, nn

from bench.api import Defense, Deployed, FitContext, Task
from bench.core.digest import file_sha256
from bench.core.downloads import note_first
from bench.core.encoding import UNLABELLED
from bench.core.imports import CODE
from bench.data.outputs import of_synsets
from bench.errors import BadCheckpoint, BadValue
from bench.nn.adapt import Wanted, adapt
from bench.nn.architectures import network
from bench.nn.normalize import scaling
from bench.train import brought, factory, hub, memory, pretrained, zoo
from bench.train.foreign import Foreign, WeightsPlace
from bench.train.weights_file import own_weights
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
        if loaded is not None and scheme in brought.SCHEMES:
            return f"{scheme}: {name} (its library tells the paper)"
        return "weights that others trained, from a file (no paper)"


@dataclass(frozen=True)
class Loaded:
    """The network as it is: pixels in [0, 1] in, logits out.

    A file of weights comes with --checkpoint FILE and fits an architecture of ours (--arch), what a function
    of yours makes (--factory), or a network that timm, torchvision or transformers knows. Weights are
    tensors only, safetensors or a pickle of which no code is run. They are known by their content: the same
    file elsewhere is the same run. What surrounds the logits in the network's answer is taken off, and said.
    """

    paper: ClassVar[str] = cast(str, _Paper())
    reconstruction: ClassVar[str | None] = None

    # or robustbench:NAME, hf:REPO[/FILE], hf:FOLDER, timm:NAME, torchvision:NAME: what is named
    source: str = "file"
    weights: str = ""  # the file's SHA-256, its first 12 digits, as runs note it; given, they are demanded
    # module:callable[argument=value] or PATH.py:callable that makes the network
    factory: str = field(default="", metadata={CODE: True})
    # config.json of an image classifier of transformers, which is found beside its weights
    config: str = field(default="", metadata={UNLABELLED: True})
    # none, task (the data set's mean and std), imagenet, cifar10, half or MEAN/STD; empty: task before
    # --arch, what its library says of a network of timm, torchvision or transformers, nothing before others
    normalize: str = ""
    key: str = ""  # the table of weights in the file, where several fit
    output: str = ""  # the part of the network's answer that is logits
    outputs: tuple[int, ...] = ()  # which outputs are the data's classes, in their order; empty: all of them
    randomized: bool = False  # it draws when it answers
    eot_samples: int | None = None  # how many answers a gradient of a randomized one is averaged over
    # makes of the network one that can be differentiated, for BPDA
    attackable: str = field(default="", metadata={CODE: True})
    # makes of the network what refuses images: [n, C, H, W] -> bool [n]
    detector: str = field(default="", metadata={CODE: True})
    zoo_data: Literal["task", "cifar10", "cifar100", "imagenet"] = "task"  # RobustBench's; task: --data
    threat: Threat = "Linf"  # what RobustBench's network was trained against

    def __post_init__(self) -> None:
        scheme, name = self._scheme, self._name
        if self.source != "file" and (scheme not in _SCHEMES or not name):
            raise BadValue(
                f"source is {self.source!r}, expected file, robustbench:NAME, hf:REPO, timm:NAME or "
                "torchvision:NAME",
                "--checkpoint FILE",
            )
        if re.fullmatch(r"([0-9a-f]{12})?", self.weights) is None:
            raise BadValue(f"weights is {self.weights!r}, expected 12 hexadecimal digits of a SHA-256")
        if self.factory and scheme in ("robustbench", *brought.SCHEMES):
            raise BadValue(f"factory is {self.factory!r}, expected none: {self.source} is a whole network")
        if any(place < 0 for place in self.outputs):
            raise BadValue(
                f"outputs is {self.outputs}, expected places from 0", "--set defense.outputs=0,1,2"
            )
        if self.eot_samples is not None and self.eot_samples < 1:
            raise BadValue(
                f"eot_samples is {self.eot_samples}, expected at least 1", "--set defense.eot_samples=20"
            )
        scaling(self.normalize, 1)  # says what is wrong with it
        for what in _CODE:
            text = getattr(self, what)
            if text:  # known by the name of the file, wherever it lies
                object.__setattr__(self, what, factory.by_module(text, what))

    @property
    def requires(self) -> Mapping[str, str]:
        """Nothing is trained at all."""
        return {}

    def build(self, task: Task) -> nn.Module:
        """The network, which answers images of the task with its logits.

        Raises:
            BadCheckpoint: it takes no such images, or does not say what their classes are.
        """
        bare = self._bare(task)
        return adapt(
            bare,
            Wanted(
                data=task.data,
                num_classes=task.num_classes,
                image_shape=task.image_shape,
                scaling=None if self._is_ours else self._scaling(task),
                output=self.output,
                outputs=self.outputs,
                of_imagenet=partial(of_synsets, task.classes, task.data),
            ),
        )

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Nothing is trained: the weights are there."""

    def deploy(self, net: nn.Module) -> Deployed:
        """The network as it is, and what was said of it."""
        stand_in = factory.network(self.attackable, "attackable", net) if self.attackable else None
        refuses = factory.call(self.detector, "detector", net) if self.detector else None
        if refuses is not None and not callable(refuses):
            raise BadValue(f"detector is {self.detector!r}, but it makes nothing that can be called")
        return Deployed(
            predict=net,
            attackable=stand_in,
            detector=cast("Callable[[Tensor], Tensor] | None", refuses),
            randomized=self.randomized,
            eot_samples=self.eot_samples,
        )

    @property
    def modules(self) -> tuple[str, ...]:
        """Where the code of others is."""
        texts = [self.factory, self.attackable, self.detector]
        return tuple(factory.module_named(text) for text in texts if text)

    @property
    def made_by(self) -> str | None:
        """The factory, or whose network it is; None: an architecture of ours."""
        if memory.is_factory(self.factory):
            return memory.IN_MEMORY
        if self.config:
            return pretrained.kind_of(self.config)
        return None if self._is_ours else self.factory or self._scheme

    def usual_size(self, given: Path | None, place: WeightsPlace) -> tuple[int | None, int | None]:
        """What timm, torchvision or the image processor beside its weights does with images before it."""
        if self._scheme in brought.SCHEMES:
            usual = brought.usual(self._scheme, self._name)
            return usual.resize, usual.crop
        if self.factory:  # it says what is done to images
            return None, None
        is_found = self._scheme == "hf" and given is None
        file = hub.find(self._name, place) if is_found else given
        told = pretrained.ImageProcessor() if file is None else pretrained.processor_beside(file)
        return told.resize, told.crop

    def files(self, data: str, given: Path | None, place: WeightsPlace) -> tuple[Path, ...]:
        """The files of weights, downloaded if need be; a factory must be there, too."""
        if self._scheme in ("robustbench", "hf") and given is not None:
            raise BadValue(f"--checkpoint is {str(given)!r}, but {self.source} brings its own weights")
        if self.factory:
            factory.find(self.factory, "factory")
        if self._scheme == "robustbench":
            return zoo.files(self._entry(data), place)
        if self._scheme == "hf":
            return (hub.find(self._name, place),)
        if given is not None:
            return (given,)
        if self._scheme in brought.SCHEMES:
            return (self._published(place),)
        if self.factory:
            return (self._made_weights(),)
        raise BadValue(
            "loaded has no weights of its own, expected a file of them",
            "bench run --defense loaded --checkpoint FILE",
        )

    def described(self, file: Path) -> Loaded:
        """What a folder of transformers says of its network; a folder of one's own is told by its weights."""
        source = "file" if self._scheme == "hf" and hub.local(self._name) else self.source
        config = pretrained.config_beside(file) if self._is_ours else ""
        if not config:
            return dataclasses.replace(self, source=source)
        normalize = self.normalize or pretrained.processor_beside(file).normalize
        return dataclasses.replace(self, source=source, config=config, normalize=normalize)

    def holding(self, sha256: str) -> Loaded:
        """What is told apart by its file's content alone notes it."""
        if self.weights and self.weights != sha256[:12]:
            raise BadCheckpoint(
                f"weights is {self.weights}, but the SHA-256 of the file begins with {sha256[:12]}, expected "
                "that very file"
            )
        noted = self.source == "file" or self._scheme in brought.SCHEMES
        return dataclasses.replace(self, weights=sha256[:12]) if noted else self

    def unpacked(self, data: str, file: Path, folder: Path) -> Path:
        """The file itself, except where names and wrappings differ: RobustBench's, and transformers'."""
        if self._scheme == "robustbench":
            return zoo.unpack(self._entry(data), file, folder)
        return pretrained.unpack(self.config, file, folder) if self.config else file

    @property
    def _scheme(self) -> str:
        return self.source.partition(":")[0]

    @property
    def _name(self) -> str:
        return self.source.partition(":")[2]

    @property
    def _is_ours(self) -> bool:
        """Whether --arch makes the network, its normalisation inside."""
        return not (self.factory or self.config) and self._scheme in ("file", "hf")

    def _bare(self, task: Task) -> nn.Module:
        if self._scheme == "robustbench":
            return self._entry(task.data).network()
        if self._scheme in brought.SCHEMES:
            classes = None if self.outputs else task.num_classes
            return brought.make(self._scheme, self._name, classes, task.image_shape[0])
        if self.factory:
            return factory.network(self.factory, "factory")
        if self.config:
            return pretrained.make(self.config)
        mean, std = self._scaling(task) or ((0.0,) * task.image_shape[0], (1.0,) * task.image_shape[0])
        return network(dataclasses.replace(task, mean=tuple(mean), std=tuple(std)))

    def _scaling(self, task: Task) -> tuple[Sequence[float], Sequence[float]] | None:
        """Mean and std that go before the network; None: nothing does."""
        chosen = self.normalize or ("task" if self._is_ours else "none")
        if chosen == "task":
            return task.mean, task.std
        if self._scheme in brought.SCHEMES and not self.normalize:
            usual = brought.usual(self._scheme, self._name)
            return usual.mean, usual.std
        return scaling(chosen, task.image_shape[0])

    def _published(self, place: WeightsPlace) -> Path:
        """What the library publishes, the same as when it was first downloaded."""
        path = own_weights(brought.published(self._scheme, self._name, place.download))
        kept = place.downloads / self._scheme / self._name
        note_first(kept, f"{self._scheme}'s publisher", sha256=file_sha256(path))
        return path

    def _made_weights(self) -> Path:
        """The weights that the factory itself brings: the same whenever it is called."""
        files = [own_weights(factory.network(self.factory, "factory")) for _ in range(2)]
        if file_sha256(files[0]) != file_sha256(files[1]):
            raise BadValue(
                f"factory is {self.factory!r}, which makes other weights each time, expected trained ones",
                "--checkpoint FILE",
            )
        return files[0]

    def _entry(self, data: str) -> zoo.Entry:
        return zoo.entry(self._name, data if self.zoo_data == "task" else self.zoo_data, self.threat)


_CODE = ("factory", "attackable", "detector")
"""The fields that name code of others."""

_SCHEMES = ("robustbench", "hf", *brought.SCHEMES)


def from_zoo(source: str) -> Loaded:
    """A network of RobustBench's model zoo by its name there, such as robustbench:Rice2020Overfitting."""
    return Loaded(source=source)


def from_hub(source: str) -> Loaded:
    """Weights in a repository of Hugging Face, hf:OWNER/REPO[/FILE], or in a folder, hf:PATH.

    The network is what transformers makes of its config.json, or what --arch or --factory names.
    """
    return Loaded(source=source)


def from_library(source: str) -> Loaded:
    """A network that timm or torchvision knows, timm:resnet18, with its published weights or a file's."""
    return Loaded(source=source)


_: Defense = Loaded()
__: Foreign = Loaded()
