"""Does what an attacker climbs lead anywhere: landscape, noise, stand-in, averages, detector, closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.api import Deployed, Trial
from bench.attacks.apgd import APGD
from bench.attacks.geometry import project, random_start
from bench.attacks.losses import cross_entropy, margin
from bench.attacks.noise import UniformNoise
from bench.attacks.pgd import PGD
from bench.attacks.streams import seeded
from bench.audit.case import broken, kept, named, percent
from bench.audit.examined import Examined, Undone
from bench.core.metrics import proportion
from bench.core.outcomes import REFUSED
from bench.core.seeds import seed_for
from bench.core.threat import TRANSFER, WHITE_BOX, Budget, Norm, Source
from bench.evaluate.batches import Batches
from bench.evaluate.consistency import NEARBY, nearby
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.ledger import Ledger
from bench.evaluate.numerics import Numerics
from bench.evaluate.oracle import MeteredOracle
from bench.records.record import Check

NEAR, DIRECTIONS, UNSTABLE = 0.01, 100, 0.1
"""Random steps of so many eps, how many, and the mean relative change of the margin that is too much."""

DRAWS = {False: 1000, True: 100}
"""Uniform draws around each image, of plain and of randomized defenses."""

LOST_ON_THE_WAY = 0.1
"""The share of images that fool a stand-in and may fail on the defense."""

ALIGNED = 0.5
"""The cosine that two averaged gradients of a randomized defense should reach."""

REFUSED_CLEAN, REFUSED_NEARBY = 0.1, 0.5
"""Shares of what its network gets right that a detector may refuse: clean images, and such moved at random.

A tenth is twice what thresholds are customarily chosen for (5 % of clean images), so who refuses more buys
robustness by not answering. Noise of 1/32 is nobody's attack: who refuses half of what it touches refuses
whatever has changed, and every attacked image with it.
"""


@torch.no_grad()
def landscape(subject: Examined) -> Check:
    """A10: the margin hardly changes within a hundredth of the budget, around 20 examples."""
    if subject.deployed.randomized:
        return kept("A10", "the defense is randomized: its answers vary by intent, which A17 looks at")
    chunk, generator = subject.few(20), subject.generator(0)
    changes = {}
    for share in (NEAR, 1.0):
        budget = _shrunk(subject.budget, share)
        clean = margin(subject.deployed.predict(chunk.x).float(), chunk.y)
        total = torch.zeros_like(clean)
        for _ in range(DIRECTIONS):
            moved = margin(
                subject.deployed.predict(random_start(chunk.x, budget, generator)).float(), chunk.y
            )
            total += ((moved - clean).abs() / clean.abs().clamp(min=1e-12)).clamp(max=1)
        changes[share] = float(total.mean()) / DIRECTIONS
    figures = (
        f"{DIRECTIONS} random steps of eps/100 change the margin by {percent(changes[NEAR])} on average, of "
        f"eps by {percent(changes[1.0])}, around {len(chunk.y)} examples"
    )
    return kept("A10", figures) if changes[NEAR] <= UNSTABLE else broken("A10", figures)


def noise(subject: Examined) -> Check:
    """A13: a thousand uniform draws break none of 20 examples that the run left."""
    chunk, before = subject.standing(20)
    stood = int(before.robust.sum())
    if stood == 0:
        return kept("A13", "no example stands that noise could break")
    draws = DRAWS[subject.deployed.randomized]
    trial = Trial("noise", UniformNoise(draws=draws), WHITE_BOX)
    cell = play(subject.arena(), trial, chunk, seed_for(subject.identity, "A13"), before)
    if cell.outcomes is None:
        raise Undone(str(cell.error))
    found = stood - int(cell.outcomes.robust.sum())
    figures = f"{draws:,} uniform draws break {found} of {stood} examples that the run left"
    return broken("A13", figures) if found else kept("A13", figures)


def stand_in(subject: Examined) -> Check:
    """A16: what fools the differentiable stand-in fools the defense, on 100 examples."""
    deployed = subject.deployed
    if deployed.attackable is None:
        return kept("A16", "gradients are the defense's own: nothing stands in for it")
    chunk = subject.few(100)
    arena = subject.arena(others={Source.SURROGATE: deployed.attackable})
    ledger = Ledger(chunk.x, chunk.y, subject.num_classes)
    oracle = MeteredOracle(arena.access(TRANSFER), arena.referee, ledger, subject.batches)
    candidates = subject.attack(oracle, chunk.x, chunk.y, subject.budget, subject.generator(2))
    candidates = project(candidates, chunk.x, subject.budget)
    with torch.no_grad():
        standing_in = subject.batches.map(deployed.attackable, candidates).argmax(1) != chunk.y
        classes = arena.referee.classify(candidates)
        apart = subject.batches.map(deployed.attackable, chunk.x) - subject.batches.map(
            deployed.predict, chunk.x
        )
    fooled = (classes != chunk.y) & (classes != REFUSED)
    lost, tried = int((standing_in & ~fooled).sum()), int(standing_in.sum())
    if tried == 0:
        return Check("A16", "open", f"PGD fools the stand-in on none of {len(chunk.y)} examples")
    figures = (
        f"{lost} of {tried} images that fool the stand-in do not fool the defense; their logits differ by "
        f"{float(apart.abs().mean()):.3g} on clean images"
    )
    return broken("A16", figures) if lost > max(1.0, LOST_ON_THE_WAY * tried) else kept("A16", figures)


def averages(subject: Examined) -> Check:
    """A17: two averaged gradients point the same way, on 32 examples; and PGD with the randomness fixed."""
    deployed = subject.deployed
    if not deployed.randomized:
        return kept("A17", "the defense is not randomized")
    access = subject.arena().access(WHITE_BOX)
    x, y = subject.chunk.x[:32], subject.chunk.y[:32]
    with seeded(seed_for(subject.identity, "A17"), x.device):
        one, other = (access.gradients(cross_entropy, x, (y,))[0].flatten(1) for _ in range(2))
    cosine = float(torch.nn.functional.cosine_similarity(one, other).median())
    chunk = subject.few(100)
    held = {
        how: _accuracy(arena, subject.attack, chunk, subject.identity)
        for how, arena in (("varying", subject.arena()), ("fixed", subject.arena(deployed=_fixed(deployed))))
    }
    figures = (
        f"the cosine of two gradients, each the mean of {access.samples}, has median {cosine:.2f}; PGD "
        f"leaves {percent(held['varying'])} of {len(chunk.y)} examples, {percent(held['fixed'])} with fixed "
        "randomness"
    )
    return kept("A17", figures) if cosine >= ALIGNED else broken("A17", figures)


def detector(subject: Examined) -> Check:
    """A18: attacks can climb what refuses them, and what nobody attacked passes.

    What counts is the refusal of images that the network itself classifies right: to refuse its own mistakes
    is what a detector may well do.
    """
    deployed = subject.deployed
    if deployed.detector is None and deployed.suspicion is None:
        return kept("A18", "the defense refuses nothing")
    clean, near = (_turned_away(subject, x) for x in (subject.chunk.x, nearby(subject.chunk.x)))
    chunk = subject.few(100)
    cell = play(
        subject.arena(), Trial("pgd", subject.attack, WHITE_BOX), chunk, seed_for(subject.identity, "A18")
    )
    if cell.outcomes is None:
        raise Undone(str(cell.error))
    refused = float((cell.outcomes.attacked == REFUSED).mean())
    figures = (
        f"of images that the network gets right {_share(clean)} clean ones are refused and {_share(near)} "
        f"moved by {NEARBY:g} at random; {percent(refused)} of {len(chunk.y)} after PGD; a success is wrong "
        "and accepted"
    )
    if deployed.suspicion is None and deployed.adaptive_loss is None:
        return named("detector-not-attacked", f"no suspicion is stated that an attack could climb: {figures}")
    if deployed.suspicion is not None and _is_flat(deployed.suspicion, chunk.x):
        return named(
            "detector-not-attacked", f"the suspicion that is stated has no slope to climb: {figures}"
        )
    for code, held, most in (
        ("refuses-clean-images", clean, REFUSED_CLEAN),
        ("refuses-any-change", near, REFUSED_NEARBY),
    ):
        if len(held) and proportion(held).low > most:  # surely, by its 95 % interval
            return named(code, figures)
    many = bool(len(clean)) and clean.mean() > REFUSED_CLEAN
    return Check("A18", "warn", f"many clean images are refused: {figures}") if many else kept("A18", figures)


@torch.no_grad()
def _turned_away(subject: Examined, x: Tensor) -> NDArray[np.bool_]:
    """[m]: which are refused of the images x [n, C, H, W] that the network itself classifies right."""
    with seeded(seed_for(subject.identity, "turned away"), x.device):
        right = subject.batches.map(subject.deployed.predict, x).argmax(1) == subject.chunk.y
        refused = subject.arena().referee.classify(x)[right] == REFUSED
    held: NDArray[np.bool_] = refused.cpu().numpy()
    return held


def _share(held: NDArray[np.bool_]) -> str:
    return f"{int(held.sum())} of {len(held)}"


def _is_flat(suspicion: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Whether no image, clean or a little moved, has a gradient of its suspicion."""
    images = torch.cat([x, nearby(x)]).requires_grad_()
    with torch.enable_grad():
        told = suspicion(images)
        if not told.requires_grad:
            return True
        (slope,) = torch.autograd.grad(told.sum(), images, allow_unused=True, materialize_grads=True)
    return not bool(slope.any())


def closed_form(subject: Examined) -> Check:
    """A21: on a linear classifier PGD and APGD reach the number that is known, on 200 points.

    A point of margin m can be moved over exactly if m <= eps |w| in the dual norm; the box is far.
    """
    norm = subject.budget.norm if subject.budget.norm is Norm.L2 else Norm.LINF
    generator = torch.Generator().manual_seed(0)
    linear = nn.Linear(64, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(2, 64, generator=generator))
        linear.bias.zero_()
        x = 0.4 + 0.2 * torch.rand(200, 1, 8, 8, generator=generator)
        network = nn.Sequential(nn.Flatten(), linear).eval()
        w, b = linear.weight[1] - linear.weight[0], linear.bias[1] - linear.bias[0]
        linear.bias[1] -= (x.flatten(1) @ w + b).median()
        y = network(x).argmax(1)
        margins = -margin(network(x), y)
        dual = float(w.abs().sum()) if norm is Norm.LINF else float(w.norm())
        between = margins.sort().values[len(y) // 2 - 1 : len(y) // 2 + 1].mean()  # two points: none is on it
        eps = Fraction(float(between) / dual)
        known = float((margins > float(eps) * dual).double().mean())
    arena = Arena(Deployed(network), Budget(norm, eps), 2, {}, Numerics(), Batches(200), seed=0, images=x)
    chunk = Chunk(0, x, y, torch.arange(len(y)))
    held = {
        name: _accuracy(arena, attack, chunk, "closed form")
        for name, attack in (("PGD-50", PGD(steps=50)), ("APGD-50", APGD(steps=50)))
    }
    told = ", ".join(f"{name} {percent(share)}" for name, share in held.items())
    figures = f"a linear classifier under {norm.value}: {told}, known {percent(known)}"
    off = max(abs(share - known) for share in held.values())
    return kept("A21", figures) if off <= 0.005 + 1e-9 else broken("A21", figures)


class Fixed(nn.Module):
    """A network whose random numbers are the same in every call."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K]."""
        with seeded(0, x.device):
            logits: Tensor = self.network(x)
        return logits


def _fixed(deployed: Deployed) -> Deployed:
    climbed = None if deployed.attackable is None else Fixed(deployed.attackable)
    return replace(deployed, predict=Fixed(deployed.predict), attackable=climbed, randomized=False)


def _accuracy(arena: Arena, attack: PGD | APGD, chunk: Chunk, identity: str) -> float:
    cell = play(arena, Trial("pgd", attack, WHITE_BOX), chunk, seed_for(identity, "pgd"))
    if cell.outcomes is None:
        raise Undone(str(cell.error))
    return float(cell.outcomes.robust.mean())


def _shrunk(budget: Budget, share: float) -> Budget:
    eps = budget.eps * Fraction(share)
    return Budget(budget.norm, Fraction(max(1, round(eps))) if budget.norm is Norm.L0 else eps)
