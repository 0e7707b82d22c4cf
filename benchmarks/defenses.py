"""A training step of every defense, over the passes that its formula demands."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD

from bench.api import Defense
from bench.nn.fold import fold
from benchmarks.formulas import (
    FORMULAS,
    Formula,
    attack_steps,
    attacked_in,
    defense_of,
    measured,
    pooled,
    trained,
)
from benchmarks.timing import Row, Settings, Stopwatch
from benchmarks.training import built, fit_paced, parents_of, random_images, task

ARCHITECTURE = "wide_resnet_10_1"  # convolutions dominate, and a step takes seconds on one core
STEPS = 2  # of attacks: few, so that what a defense does besides is seen
BAR = 1.15


def measure(settings: Settings) -> list[Row]:
    """Batches of 128 32x32 images (32 with --quick), fp32; each defense with attacks of two steps."""
    rows = []
    for name in settings.defenses or measured():
        settings.say(name)
        rows.append(_measure(name, settings))
    return rows


def _measure(name: str, settings: Settings) -> Row:
    of, batch = task(ARCHITECTURE), settings.batch
    formula, defense = FORMULAS[name], defense_of(name, STEPS)
    net, parents = built(defense, of), parents_of(defense, of)
    x, y = random_images(of, batch).batch(torch.arange(batch))
    bare = bare_passes(formula, defense, net, parents, x.to(settings.device), y.to(settings.device))
    watch = Stopwatch(settings.device)

    @contextmanager
    def around(number: int) -> Iterator[None]:
        if number == 0:  # the network is folded for the first time, memory is fetched
            bare()
            yield
            return
        if number % 2:
            with watch.timing("bare"):
                bare()
        with watch.timing(name):
            yield
        if not number % 2:
            with watch.timing("bare"):
                bare()

    fit_paced(
        defense,
        of,
        net=net,
        parents=parents,
        batch=batch,
        steps=1 + settings.rounds,
        precision="fp32",
        device=settings.device,
        around=around,
    )
    return watch.row("defenses", name, "bare", bar=BAR, note=_told(formula, defense, batch))


def bare_passes(
    formula: Formula,
    defense: Defense,
    net: nn.Module,
    parents: Mapping[str, nn.Module],
    x: Tensor,
    y: Tensor,
) -> Callable[[], None]:
    """The passes of a step with the product's numerics, on networks like its own, from one fixed batch.

    In eval mode forwards without gradients; forwards and gradients of the images on a folded network, or on
    one in train mode; in train mode forwards, the backwards that they share, and one step of the optimizer.
    """
    own = copy.deepcopy(net).to(x.device)
    training = trained(own).to(memory_format=torch.channels_last).requires_grad_(True)
    watched = copy.deepcopy(training).eval().requires_grad_(False)
    taught = {
        role: trained(copy.deepcopy(parents[role])).to(x.device).eval().requires_grad_(False)
        for role in formula.taught
    }
    attacked = own.classifier if formula.purifier else watched
    optimizer = SGD(training.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    sizes = [size for sizes in (*formula.trains, formula.passing) for size in sizes]
    images = {size: _laid_out(x.repeat(size, 1, 1, 1)) for size in {1, *sizes, *formula.looks}}
    images |= {look: _laid_out(x.repeat(look, 1, 1, 1)) for look in formula.taught.values()}
    labels = {size: y.repeat(size) for size in images}
    looks = [images[look] for look in formula.looks]
    if formula.pool:
        many = pooled(formula, defense)
        looks[-1] = _laid_out(torch.cat([looks[-1], x.repeat(1 + many // len(x), 1, 1, 1)[:many]]))
    climbed = fold(attacked.eval().requires_grad_(False), images[1][:2], channels_last=True)
    if attacked_in(defense) != "eval":
        climbed = copy.deepcopy(attacked).train()
    climbs = formula.attacks * attack_steps(defense)

    def work() -> None:
        with torch.no_grad():
            for look in looks:
                watched(look)
            for role, size in formula.taught.items():
                taught[role](images[size])
        for _ in range(climbs):
            asked = images[1].detach().requires_grad_()
            torch.autograd.grad(F.cross_entropy(climbed(asked).float(), y, reduction="sum"), asked)
        training.train()
        with torch.no_grad():
            for size in formula.passing:
                training(images[size])
        optimizer.zero_grad(set_to_none=True)
        for together in formula.trains:
            losses = [_loss(training(images[size]), images[size], labels[size]) for size in together]
            torch.stack(losses).sum().backward()
        optimizer.step()

    return work


def _loss(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Of logits, or of images that a purifier restored."""
    return F.mse_loss(out, x) if out.shape == x.shape else F.cross_entropy(out, y)


def _laid_out(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _told(formula: Formula, defense: Defense, batch: int) -> str:
    """The formula with what its letters stand for."""
    texts = {name: text for name, text in formula.texts().items() if text != "0"}
    letters = [f"K {attack_steps(defense)}"] if formula.attacks else []
    letters += [f"P {pooled(formula, defense)}"] if formula.pool else []
    shown = [texts["forwards"]]
    if "classifier_forwards" in texts:
        shown.append(f"{texts['classifier_forwards']} of the classifier")
    if "parent_forwards" in texts:
        shown.append(f"{texts['parent_forwards']} of teachers")
    return ", ".join(["; ".join(shown), *letters])
