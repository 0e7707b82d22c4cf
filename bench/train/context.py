"""What the harness lends a defense while it trains: batches, partners, attacks, its place after a stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import torch
from torch import Generator, Tensor, nn

from bench.api import Attack, AttackMode, Batch, Features, FitContext, Step, Task, Terms, Wrapper
from bench.core.digest import canonical
from bench.core.encoding import encode
from bench.core.progress import Progress
from bench.core.seeds import seed_for
from bench.core.threat import Budget
from bench.data.augment import crop_flip
from bench.data.dataset import Dataset
from bench.errors import BadCheckpoint, BadData, BadValue
from bench.nn.fold import fold
from bench.train.checkpoints import Checkpoints, Row, Weights, weights_of
from bench.train.inner import attack_network, buffers_of, frozen, put_back
from bench.train.model import Autocast, observed, training_model, unwrap
from bench.train.recipe import Recipe

if TYPE_CHECKING:  # it loads torch's compiler
    from lightning_fabric import Fabric

T = TypeVar("T")


class Finished(TypedDict):
    """What a completed stage leaves."""

    epoch: int  # the one whose weights are kept
    weights: Weights  # of what it trained
    whole: Weights  # of the defense; empty: it trained all of it


RandomState = tuple[Tensor, ...]
"""Of the context's generator, of torch's own, and of torch's own on the card, if there is one."""


@dataclass(frozen=True)
class _Answer:
    """What a step was answered, and what that left behind."""

    found: Any
    random: RandomState
    buffers: list[Tensor] | None  # of the network whose running statistics it may have moved


@dataclass
class _Tape:
    """All that a step was answered; first written, then read."""

    start: RandomState
    answers: list[_Answer] = field(default_factory=list)
    next: int | None = None  # None: being written


class TrainContext:
    """One training run on one device; see `FitContext` for what a defense may use.

    Streams are named by the run's identity and seed, the stage (how many calls of `fit_classifier` came
    before), the epoch and the device's rank, so an epoch does not depend on what was drawn before it.
    """

    def __init__(
        self,
        *,
        fabric: Fabric,
        data: Dataset,
        task: Task,
        budget: Budget,
        recipe: Recipe,
        seed: int,
        identity: str,
        parents: Mapping[str, nn.Module],
        checkpoints: Checkpoints,
        progress: Progress,
        whole: nn.Module,
        title: str,
    ) -> None:
        self.fabric = fabric
        self.task = task
        self.budget = budget
        self.recipe = recipe
        self.device = fabric.device
        self.generator = Generator(device=self.device)
        self.parents = parents
        self.checkpoints = checkpoints
        self.progress = progress
        self.whole = whole  # all modules of the defense
        self.title = title
        self.identity = (identity, seed)
        self.train = data.train.to(self.device)
        self.validation = data.validation.to(self.device)
        self.extra = None if data.extra is None else data.extra.to(self.device)
        self.own = recipe.batch_size - int(recipe.batch_size * data.extra_share)  # images of each batch
        self.stage = 0
        self.strength = Fraction(1)  # share of the budget that inner attacks may use: the recipe's warm-up
        self.elapsed = Fraction(0)  # share of this stage's steps that lie behind
        self.epochs_done = 0  # of this stage
        self.attacked = False  # whether this stage's steps asked for attacks
        self.hook: Wrapper | None = None  # what steps go through
        self._tape: _Tape | None = None
        self.history: list[Row] = []
        self.finished: list[Finished] = []  # what each completed stage trained
        self.saved: dict[str, Any] | None = checkpoints.state()  # where an interrupted run stopped
        self._owner = canonical([identity, seed, fabric.world_size, encode(recipe)])
        if self.saved is not None and self.saved.get("owner") != self._owner:
            raise BadCheckpoint(
                f"{checkpoints.path('state.ckpt')} is of another training run, expected this recipe and seed",
                f"rm {checkpoints.path('state.ckpt')} to start over",
            )
        self._augmented = data.augmentation == "crop_flip"
        self._classes: tuple[Tensor, Tensor, Tensor] | None = None
        self._folded: dict[nn.Module, nn.Module] = {}
        if len(self.train):  # without any, a defense that asks for none can be fitted
            self._require_images()
        self.reseed("stage", 0)

    @property
    def autocast(self) -> Autocast:
        """The recipe's precision for forward passes."""
        return self.fabric.autocast

    @property
    def batches(self) -> int:
        """How many minibatches an epoch has."""
        full, rest = divmod(len(self.train), self.recipe.batch_size)
        return full + (rest >= 2 * self.fabric.world_size)

    @property
    def images(self) -> int:
        """How many training images an epoch sees, of all devices together."""
        return min(len(self.train), self.batches * self.recipe.batch_size)

    def epoch(self, number: int, replays: int = 1) -> Iterator[Batch]:
        """Shuffled, augmented minibatches on the device; the same number, the same order.

        A last batch of a single image is left out: BatchNorm has no statistics of one. Of each batch every
        device gets its share. With `replays` each comes as often in a row, the last as often as there is
        room, and the next epoch goes on where this one came to. With extra images a batch is whole, its own
        share of them drawn with replacement, and the steps of an epoch stay as many.
        """
        self._require_images()
        new = -(-self.batches // replays)
        self.reseed("epoch", self.stage, number, self.fabric.global_rank)
        for fresh in range(new):
            turn, place = divmod(number * new + fresh, self.batches)
            if fresh == 0 or place == 0:
                rows = self._order(turn)
            batch = self._minibatch(rows[place * self.own : (place + 1) * self.own])
            for _ in range(min(replays, self.batches - fresh * replays)):
                yield batch

    def _minibatch(self, rows: Tensor) -> Batch:
        """This device's share of a minibatch with these images, filled up with extra ones."""
        rank, world = self.fabric.global_rank, self.fabric.world_size
        own = self._batch(rows[rank::world])
        if self.extra is None:
            return own
        missing = len(range(rank, self.recipe.batch_size - len(rows), world))
        drawn = torch.randint(len(self.extra), (missing,), generator=self.generator, device=self.device)
        x, y = self.extra.batch(drawn)
        more = self._augment(x), y, drawn + len(self.train)
        order = torch.randperm(len(own) + missing, generator=self.generator, device=self.device)
        return Batch(*(torch.cat(both)[order] for both in zip((own.x, own.y, own.ids), more, strict=True)))

    def _order(self, turn: int) -> Tensor:
        """The shuffle of all training images that a turn through them goes by."""
        order = Generator().manual_seed(self._seed("order", self.stage, turn))
        return torch.randperm(len(self.train), generator=order).to(self.device)

    def _require_images(self) -> None:
        if len(self.train) < 2 * self.fabric.world_size:
            raise BadData(
                f"{self.task.data} has {len(self.train)} training images, expected at least 2 per device",
                "data with training images, or where attackers train networks of their own, --suite fast",
            )

    def like(self, labels: Tensor) -> Batch:
        """One random training image, augmented, of each of the given classes [B]; with replacement."""
        return self._answered(lambda: self._like(labels))

    def _like(self, labels: Tensor) -> Batch:
        self._require_images()
        if self._classes is None:
            self._classes = self._index()
        order, start, count = self._classes
        draws = torch.randint(2**40, labels.shape, generator=self.generator, device=self.device)
        return self._batch(order[start[labels] + draws % count[labels]])

    def draw(self, n: int) -> Batch:
        """That many random training images, augmented; with replacement."""
        self._require_images()
        return self._answered(
            lambda: self._batch(
                torch.randint(len(self.train), (n,), generator=self.generator, device=self.device)
            )
        )

    def part(self, part: nn.Module) -> nn.Module:
        """A part of what trains as a step's model is: in the recipe's precision, with logits in float32."""
        return training_model(part, self.autocast, self.recipe.channels_last)

    def observe(self, net: nn.Module, x: Tensor, mode: AttackMode = "eval") -> Features:
        """What a network makes of x [B, C, H, W]: no gradients, the recipe's precision.

        Of a network without `forward_features` it is the logits alone.
        """
        net = unwrap(net)
        return self._answered(lambda: self._observe(net, x, mode), net if mode == "train" else None)

    def _observe(self, net: nn.Module, x: Tensor, mode: AttackMode) -> Features:
        with frozen(net, mode):
            return observed(net, x, self.autocast, self.recipe.channels_last)

    def attack(
        self, net: nn.Module, attack: Attack, x: Tensor, *labels: Tensor, mode: AttackMode = "eval"
    ) -> Tensor:
        """Adversarial images [B, C, H, W] of a network, made with its parameters frozen.

        The first of the labels is the attack's y; further ones follow those it gives to its loss.
        """
        self.attacked = True
        net = unwrap(net)
        budget = Budget(self.budget.norm, self.budget.eps * self.strength)
        return self._answered(
            lambda: self.inner_attack(
                net, attack, x, *labels, generator=self.generator, budget=budget, mode=mode
            ),
            net if mode == "train" else None,
        )

    def around(self, around: Wrapper) -> None:
        """From now on training steps go through this; only one thing can be around them."""
        if self.hook is not None:
            raise BadValue(
                f"{type(around).__name__} would go around training steps that {type(self.hook).__name__} "
                "goes around already, expected one of the two",
                "a base without one of its own, such as awp[base=pgd_at]",
            )
        self.hook = around

    def rehearse(self, step: Step, model: nn.Module, batch: Batch) -> tuple[Terms, Callable[[], Terms]]:
        """A step's terms, and a function that computes them again with the weights as they are then."""
        tape = _Tape(self._random_state())

        def again() -> Terms:
            self._set_random_state(tape.start)
            tape.next = 0
            return self._taped(tape, step, model, batch)

        return self._taped(tape, step, model, batch), again

    def _taped(self, tape: _Tape, step: Step, model: nn.Module, batch: Batch) -> Terms:
        self._tape = tape
        try:
            return step(model, batch)
        finally:
            self._tape = None

    def _answered(self, answer: Callable[[], T], moved: nn.Module | None = None) -> T:
        """An answer to a step, from the tape where it is read; it may move the buffers of `moved`."""
        tape = self._tape
        if tape is None:
            return answer()
        if tape.next is None:
            found = answer()
            left = None if moved is None else buffers_of(moved)
            tape.answers.append(_Answer(found, self._random_state(), left))
            return found
        told = tape.answers[tape.next]
        tape.next += 1
        self._set_random_state(told.random)
        if moved is not None:
            put_back(moved, told.buffers)
        again: T = told.found
        return again

    def _random_state(self) -> RandomState:
        """Of the context's generator, of torch's own, and of torch's own on the card, if there is one."""
        cards = [torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else []
        return self.generator.get_state(), torch.get_rng_state(), *cards

    def _set_random_state(self, state: RandomState) -> None:
        mine, cpu, *cards = state
        self.generator.set_state(mine)
        torch.set_rng_state(cpu)
        for card in cards:
            torch.cuda.set_rng_state(card, self.device)

    def inner_attack(
        self,
        net: nn.Module,
        attack: Attack,
        x: Tensor,
        *labels: Tensor,
        generator: Generator,
        budget: Budget | None = None,
        mode: AttackMode = "eval",
    ) -> Tensor:
        """The same from a generator of one's own, with the full budget, and not a part of training."""
        net = unwrap(net)
        if self.recipe.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        return attack_network(
            net,
            attack,
            x,
            *labels,
            budget=budget or self.budget,
            generator=generator,
            num_classes=self.task.num_classes,
            autocast=self.autocast,
            folded=self._folded_of(net, x) if mode == "eval" else None,
            loss_scale=1024.0 if self.recipe.precision == "fp16" else 1.0,
            mode=mode,
        )

    def _folded_of(self, net: nn.Module, x: Tensor) -> nn.Module:
        """The network's faster copy for eval mode, made at its first attack; where there is none, itself."""
        if net not in self._folded:
            with frozen(net):
                self._folded[net] = fold(net, x[:2], self.recipe.channels_last)
        return self._folded[net]

    def save(self, **state: Any) -> None:
        """Keep the state of this run, from its first device only."""
        if self.fabric.is_global_zero:
            self.checkpoints.save_state(
                {**state, "owner": self._owner, "finished": self.finished, "history": self.history}
            )

    def save_weights(self, name: str) -> None:
        """Keep all weights of the defense as they are now, from the first device only."""
        if self.fabric.is_global_zero:
            self.checkpoints.save_weights(name, weights_of(self.whole))

    def save_log(self) -> None:
        """Keep the figures of all completed epochs, from the first device only."""
        if self.fabric.is_global_zero:
            self.checkpoints.save_log(self.history)

    def reseed(self, *parts: str | int) -> None:
        """Start the named random stream: the context's generator and torch's global one."""
        seed = self._seed(*parts)
        torch.manual_seed(seed)
        self.generator.manual_seed(seed)

    def _seed(self, *parts: str | int) -> int:
        return seed_for("train", *self.identity, *parts)

    def _batch(self, rows: Tensor) -> Batch:
        x, y = self.train.batch(rows)
        return Batch(self._augment(x), y, rows)

    def _augment(self, x: Tensor) -> Tensor:
        return crop_flip(x, self.generator) if self._augmented else x

    def _index(self) -> tuple[Tensor, Tensor, Tensor]:
        """Training rows sorted by class, where each class starts, and how many it has."""
        order = torch.argsort(self.train.y, stable=True)
        count = torch.bincount(self.train.y, minlength=self.task.num_classes)
        empty = (count == 0).nonzero().flatten().tolist()
        if empty:
            raise BadData(
                f"{self.task.data} has no training image of class {empty[0]}, expected one of each class"
            )
        return order, count.cumsum(0) - count, count


def _(context: TrainContext) -> FitContext:
    return context
