"""The contract: everything a defense or an attack must know about the harness.

Shapes: `B` minibatch, `n` examples handed to an attack, `K` classes, `D` features. Images are `[., C, H, W]`
float32 in [0, 1], always; normalisation is the first layer of a network.
"""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Protocol, get_args, runtime_checkable

import torch
from torch import Generator, Tensor, nn

from bench.core.contract import adopt
from bench.core.listing import Listing, listing
from bench.core.threat import LINF_L2, Budget, Knowledge, Norm
from bench.errors import BadValue

Loss = Callable[..., Tensor]
"""(logits [n, K], *labels, each [n]) -> one loss for each example [n]; an attack climbs it."""

Objective = Callable[[Tensor, Tensor], Tensor]
"""(x [n, C, H, W], y [n]) -> one loss for each example [n]; may use features and detectors."""

Terms = Mapping[str, Tensor]
"""Named loss terms, each a scalar and already weighted; their sum is the training loss."""

Step = Callable[[nn.Module, "Batch"], Terms]
"""(model as it trains, minibatch) -> loss terms; call the given model, it may be wrapped for several GPUs."""


AttackMode = Literal["eval", "train", "batch"]
"""What a network does while its training images are crafted.

eval: BatchNorm with its running statistics, no dropout, nothing moves. train: all modules as they train,
so BatchNorm has the statistics of the batch, and each pass moves the running ones. batch: as train, but the
running statistics stay as they were.
"""


class Wrapper(Protocol):
    """What a defense that wraps others does around each of their training steps."""

    def terms(self, net: nn.Module, step: Step, model: nn.Module, batch: Batch) -> Terms:
        """The loss terms that are minimised; `net` is what `model` wraps, its parameters may be moved."""

    def after_backward(self, net: nn.Module) -> None:
        """The gradients are there and the optimizer is next: put back what was moved."""

    def after_step(self, net: nn.Module) -> None:
        """The optimizer has moved the weights."""


@dataclass(frozen=True)
class Task:
    """A data set with its shape and customary budget: what a defense is trained for."""

    data: str  # the name of the data set
    num_classes: int
    image_shape: tuple[int, int, int]  # C, H, W
    mean: tuple[float, ...]  # of each channel, for the normalisation inside networks
    std: tuple[float, ...]
    architecture: str  # a name of bench.nn.architectures
    budget: Budget
    classes: tuple[str, ...] = ()  # the name of each label; empty: nobody says


@dataclass(frozen=True)
class Batch:
    """One minibatch."""

    x: Tensor  # [B, C, H, W] float32, pixels in [0, 1]
    y: Tensor  # [B] int64 labels
    ids: Tensor  # [B] int64 positions in the training set; those of extra images come after its end

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Features:
    """What one forward pass of a network lends besides its logits."""

    logits: Tensor  # [n, K]
    features: Tensor  # [n, D], penultimate, pooled
    stages: tuple[Tensor, ...]  # feature maps [n, C', H', W'] after each stage's non-linearity, in order

    @property
    def feature_map(self) -> Tensor:
        """The last feature map."""
        return self.stages[-1]


@dataclass(frozen=True)
class Suspected:
    """What a defense with a detector answers."""

    logits: Tensor  # [n, K]
    suspicion: Tensor  # [n], above 0: refused


class FeatureLoss:
    """A loss that is called with `Features` in the place of logits."""

    __call__: Loss


class SuspicionLoss:
    """A loss that is called with `Suspected` in the place of logits."""

    __call__: Loss


@runtime_checkable
class FeatureNetwork(Protocol):
    """A network whose `forward` gives logits and whose `forward_features` gives all three in one pass."""

    def forward_features(self, x: Tensor) -> Features:
        """Logits, pooled features and the last feature map of x [n, C, H, W]."""


class FitContext(Protocol):
    """What the harness lends a defense while it trains."""

    task: Task
    budget: Budget  # what the inner attack may use
    device: torch.device
    generator: Generator  # on the device, seeded for each epoch
    parents: Mapping[str, nn.Module]  # role -> frozen network, in eval mode
    elapsed: Fraction  # share of the steps of this stage that lie behind, in [0, 1)
    epochs_done: int  # epochs of this stage that lie behind
    strength: Fraction  # share of the budget that `attack` uses now, in (0, 1]: the recipe's warm-up

    def epoch(self, number: int, replays: int = 1) -> Iterable[Batch]:
        """Shuffled, augmented minibatches on the device; the same number, the same order.

        Each comes `replays` times in a row; the number of minibatches stays, so fewer images are seen.
        """

    def like(self, labels: Tensor) -> Batch:
        """One random training image, augmented, of each of the given classes [B]; with replacement."""

    def draw(self, n: int) -> Batch:
        """That many random training images, augmented; with replacement."""

    def part(self, part: nn.Module) -> nn.Module:
        """A part of what trains as a step's model is: in the recipe's precision, with logits in float32."""

    def observe(self, net: nn.Module, x: Tensor, mode: AttackMode = "eval") -> Features:
        """What a network makes of x [B, C, H, W]: no gradients, the recipe's precision."""

    def attack(
        self, net: nn.Module, attack: Attack, x: Tensor, *labels: Tensor, mode: AttackMode = "eval"
    ) -> Tensor:
        """Adversarial images [B, C, H, W] of a network, made with its parameters frozen.

        No gradient of a weight is computed, and unless the mode is "train" no BatchNorm statistic changes.
        """

    def around(self, around: Wrapper) -> None:
        """From now on training steps go through this."""

    def rehearse(self, step: Step, model: nn.Module, batch: Batch) -> tuple[Terms, Callable[[], Terms]]:
        """A step's terms, and a function that computes them again with the weights as they are then.

        The second time, whatever the step asks of this context is answered as the first time: the same
        adversarial images, draws, random numbers and BatchNorm statistics afterwards, at no cost.
        """


class Trait(str, Enum):
    """What a defense is made of that an attacker must get past (Tramèr et al., NeurIPS 2020)."""

    PREPROCESSING = "preprocessing"
    RANDOMIZED = "randomized"
    NON_DIFFERENTIABLE = "non-differentiable"
    DETECTOR = "detector"
    ENSEMBLE = "ensemble"
    DISTANCE_LIMITED = "distance-limited"  # what it promises holds up to some distance only


@dataclass(frozen=True)
class Smoothed:
    """A classifier by the votes of a network on noisy images (Cohen, Rosenfeld, Kolter, ICML 2019).

    It answers the class that the network most probably gives to x + N(0, sigma^2 I), which is not clipped.
    """

    network: nn.Module  # [B, C, H, W] -> logits [B, K]; also of images outside [0, 1]
    sigma: float  # in pixel units, above 0


@dataclass(frozen=True)
class Deployed:
    """A trained defense as its users would run it, and what attackers may reach."""

    predict: nn.Module  # [B, C, H, W] in [0, 1] -> logits [B, K]
    classifier: nn.Module | None = None  # gray-box view; None: predict itself
    purifier: nn.Module | None = None  # [B, C, H, W] -> the images that the classifier sees
    attackable: nn.Module | None = None  # differentiable stand-in (BPDA); None: predict itself
    adaptive_loss: Objective | None = None  # what its authors would climb to break it
    detector: Callable[[Tensor], Tensor] | None = None  # [B, C, H, W] -> bool [B], True: refused
    randomized: bool = False  # True: gradients are averaged over EOT samples, verdicts are votes
    eot_samples: int | None = None  # what its authors say a gradient needs; None: the harness's number
    suspicion: Callable[[Tensor], Tensor] | None = None  # [B, C, H, W] -> [B], differentiable; > 0: refused
    declared: tuple[Trait, ...] = ()  # what the fields above do not say
    smoothed: Smoothed | None = None  # whose votes `predict` draws; so it can be certified (bench certify)

    @property
    def traits(self) -> frozenset[Trait]:
        """All that the defense is: what its fields say, and what it declares."""
        around = self.classifier if self.purifier is None else self.purifier
        said = {
            Trait.PREPROCESSING: around is not None and not isinstance(self.purifier, nn.Identity),
            Trait.NON_DIFFERENTIABLE: self.attackable is not None,
            Trait.DETECTOR: self.detector is not None or self.suspicion is not None,
            Trait.RANDOMIZED: self.randomized,
        }
        return frozenset({trait for trait, holds in said.items() if holds} | {*self.declared})


class Defense(Protocol):
    """A frozen dataclass whose fields are hyper-parameters, with three verbs.

    A field typed `Defense | str`, or a tuple of such, takes names, which are resolved before any verb is
    called: so defenses can be made of defenses. One that deploys votes on noisy images may say
    `certificate: ClassVar = "smoothing"`, by which `bench certify` knows what to do before anything is built.
    """

    paper: ClassVar[str]  # authors, title, venue, year; or what it is, where there is no paper
    reconstruction: ClassVar[str | None]  # what had to be guessed because no text could be had

    @property
    def requires(self) -> Mapping[str, str] | Mapping[str, Defense | str]:
        """Role -> a defense trained before this one: itself, `name`, `name[field=value]` or `name@ARCH`."""

    def build(self, task: Task) -> nn.Module:
        """All modules, with fresh weights, ready for a strict load_state_dict."""

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Train in place."""

    def deploy(self, net: nn.Module) -> Deployed:
        """Compose for inference, and say how to attack it."""


@dataclass(frozen=True)
class Climb:
    """What one gradient query gives, for the n examples asked about.

    An example that is broken already costs nothing more: its gradient is zero, its loss and logits are those
    of the query that broke it.
    """

    gradient: Tensor  # [n, C, H, W], of the loss
    loss: Tensor  # [n]
    logits: Tensor  # [n, K], of the same forward
    broken: Tensor  # [n] bool: misclassified, confirmed by the referee, now or before


@runtime_checkable
class Oracle(Protocol):
    """The only handle an attack has on a defense; it charges every query.

    Where the knowledge names a network that is not the victim (a twin, a surrogate), every answer comes from
    that network and nothing is ever known to be broken.
    """

    knowledge: Knowledge
    num_classes: int

    def only(self, rows: Tensor) -> Oracle:
        """The same oracle for some of its examples (indices [m]); queries stay charged to each."""

    def broken(self) -> Tensor:
        """[n] bool: examples for which a success is confirmed; nothing more need be spent on them.

        A GPU must be waited for to know it, so an attack asks now and then, not after each query.
        """

    def witnesses(self, x: Tensor) -> Tensor:
        """[n, C, H, W]: the image that broke each example, as the referee projected it; x for the others."""

    def logits(self, x: Tensor) -> Tensor:
        """[n, K], one query per example; broken examples get their last answer free of charge."""

    def labels(self, x: Tensor) -> Tensor:
        """[n] int64, one query per example; REFUSED where the deployed defense turns an image away."""

    def features(self, x: Tensor) -> Tensor:
        """[n, D], what the last layer of the climbed network sees; one query each, zeros for the broken.

        Raises AccessDenied where the knowledge opens no network that is climbed.
        """

    def climb(self, loss: Loss | None, x: Tensor, *labels: Tensor) -> Climb:
        """One forward and one backward per example; averaged over EOT samples.

        `loss(logits, *labels)` is climbed; a `FeatureLoss` is called with `Features` in the place of logits,
        a `SuspicionLoss` with `Suspected`. None climbs the defense's own `adaptive_loss(x, labels[0])`.
        """

    def lend(self, eot: bool = True) -> nn.Module:
        """The defense for other people's attacks: [m, C, H, W] -> logits [m, K], charged and watched.

        Differentiable if the knowledge gives gradients. Each answer is averaged over the EOT samples of a
        randomized defense, unless `eot` is switched off. Raises AccessDenied where nothing is lent, as in
        training.
        """


Needs = Literal["gradients", "scores", "labels"]
"""What an attack must be answered at least."""


class Attack(ABC):
    """A frozen dataclass whose fields are its parameters; calling it proposes images.

    Besides, it declares what the harness must know of it. What may depend on fields is a property here, and
    a class variable where it does not. A class that does not inherit gets these defaults by its `Trial`.
    """

    norms: ClassVar[tuple[Norm, ...]] = LINF_L2  # that it keeps to
    of_features: ClassVar[bool] = False  # it climbs a loss of features
    of_suspicion: ClassVar[bool] = False  # it climbs past a detector's suspicion
    unfit: ClassVar[str | None] = None  # why it cannot be run on a budget
    about: ClassVar[Mapping[str, str]] = MappingProxyType({})  # field -> what is said of it
    absolute: ClassVar[Mapping[str, Fraction]] = MappingProxyType({})  # a step in pixels -> the eps it is for

    @property
    def needs(self) -> Needs | None:
        """What it asks for at least; None: it does not say, so no knowledge is refused beforehand."""
        return None

    @property
    def minimal(self) -> bool:
        """Whether it looks for the nearest mistake, so goes on after the first."""
        return False

    @property
    def climbs_adaptive_loss(self) -> bool:
        """Whether it climbs the loss that the defense brings."""
        return False

    @property
    def least_classes(self) -> int:
        """How many classes its loss is defined for at least; with fewer, its column is skipped."""
        return 2

    @abstractmethod
    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W] for images x [n, C, H, W] with labels y [n].

        The referee projects and judges them; the first confirmed success of each example is kept anyway.
        """


@dataclass(frozen=True)
class Trial:
    """One column of a table: an attack and what it may see."""

    column: str
    attack: Attack
    knowledge: Knowledge

    def __post_init__(self) -> None:
        admit(self.attack)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In a worker's process, where a class of the user's own has no defaults yet."""
        self.__dict__.update(state)
        admit(self.attack)


def nested(attack: Attack) -> Iterator[Attack]:
    """An attack and all that it is made of: the attacks in its fields, and in theirs."""
    yield attack
    for item in _fields(attack):
        value = getattr(attack, item.name)
        for inner in value if isinstance(value, tuple) else (value,):
            if _is_attack(inner):
                yield from nested(inner)


def _fields(value: object) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()


def _is_attack(value: object) -> bool:
    """A class need not inherit: what is called with an attack's five arguments is one; a loss takes fewer."""
    if isinstance(value, Attack) or not (dataclasses.is_dataclass(value) and callable(value)):
        return isinstance(value, Attack)
    return len(inspect.signature(value).parameters) >= len(inspect.signature(Attack.__call__).parameters) - 1


def admit(attack: Attack) -> None:
    """Give the classes of an attack that do not inherit from `Attack` its defaults.

    Raises:
        BadValue: what one declares is misspelt, or no value that can be meant.
    """
    for part in nested(attack):
        _admit(type(part))


def _admit(kind: type[Attack]) -> None:
    adopt(kind, Attack, "attack")
    norms, needs = kind.norms, vars(kind).get("needs")
    if isinstance(norms, tuple) and not all(isinstance(norm, Norm) for norm in norms):
        raise BadValue(f"the attack {kind.__name__} declares norms = {norms!r}, expected values of Norm")
    if isinstance(needs, str) and needs not in get_args(Needs):
        known = ", ".join(get_args(Needs))
        raise BadValue(f"the attack {kind.__name__} declares needs = {needs!r}, expected one of {known}")


@dataclass(frozen=True)
class Suite:
    """A named, numbered list of trials; once published it never changes.

    The budget is not part of it: the data set brings its customary one (CIFAR-10: Linf 8/255),
    and `--norm`/`--eps` choose another. Attacks state step sizes as fractions of eps.
    """

    name: str
    version: int
    trials: tuple[Trial, ...]
    examples: int | None = 1000  # the first so many of a fixed shuffle; None: the whole test set
    chunk: int = 500  # examples that share a random stream; part of the suite's identity

    @property
    def id(self) -> str:
        """The name as boards print it, such as `whitebox@1`."""
        return f"{self.name}@{self.version}"

    @property
    def listing(self) -> Listing:
        """Its place in tables, its short name, and of whom it is asked: no part of its identity."""
        return listing(self.name)
