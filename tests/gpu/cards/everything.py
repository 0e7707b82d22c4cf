"""Every defense after two steps, and every attack cut to a few: what both kinds of cards are tried with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.api import Attack, Deployed, Trial
from bench.attacks.pgd import PGD
from bench.core.encoding import override
from bench.core.threat import DECISIONS, SCORES, WHITE_BOX, Budget
from bench.data.load import load
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Cell, Chunk, play
from bench.evaluate.numerics import Numerics
from bench.nn.architectures import network
from bench.plan import Request, TrainSpec, plan_training
from bench.records.store import Store
from bench.registry import ATTACKS, DEFENSES
from bench.runner.options import Options
from bench.runner.weights import build_trained, fit, load_data
from bench.train.foreign import Foreign

TWO_STEPS = {"epochs": "1", "batch_size": "192", "validation_examples": "8", "validation_steps": "1"}
QUICK = {"total_variation": {"iterations": "2"}}
KNOWLEDGE = {"gradients": WHITE_BOX, "scores": SCORES, "labels": DECISIONS}


def defenses() -> Iterator[Any]:
    """Every defense that is trained; of several settings of one class all but the first are slow."""
    seen = set()
    for name in DEFENSES.names():
        defense = DEFENSES.get(name)
        kind = type(defense)
        if not isinstance(defense, Foreign):
            yield pytest.param(name, marks=[pytest.mark.slow] if kind in seen else [])
        seen.add(kind)


def planned(name: str, **recipe: str) -> TrainSpec:
    """An epoch of two steps on made-up images."""
    settings = {"recipe": {**TWO_STEPS, **recipe}, "defense": QUICK.get(name, {})}
    return plan_training(Request(name, data="synthetic", settings=settings))


def trained(name: str, folder: Path, card: torch.device, **recipe: str) -> tuple[Any, ...]:
    """A defense after two steps on a card: its training, weights and data."""
    spec = planned(name, **recipe)
    options = Options(Store(folder), device=str(card))
    data = load_data(spec, options)
    return spec, fit(spec, options, data), data


def attacked(spec: TrainSpec, weights: Any, data: Any, numerics: Numerics | None = None) -> Cell:
    """What PGD does in three steps to eight images of its deployed network, where its data lie."""
    card = data.test.x.device
    net = build_trained(spec, weights, data, "best").to(card)
    deployed = spec.named.defense.deploy(net)
    x, y = data.test.batch(torch.arange(8, device=card))
    chosen = numerics or Numerics(eot_samples=2)
    arena = Arena(deployed, spec.budget, data.num_classes, {}, chosen, Batches(8), seed=0)
    return play(arena, Trial("pgd", PGD(steps=3), WHITE_BOX), Chunk(0, x, y, data.test.ids[:8]), 0)


def short(name: str, steps: int, queries: int) -> Attack:
    """An attack of the registry with so many steps or queries."""
    attack = ATTACKS.get(name)
    fields = {
        "queries": str(queries),
        "steps": str(min(getattr(attack, "steps", 0), steps)),
        "rounds": "1",
        "targets": "3",
    }
    chosen = {key: value for key, value in fields.items() if isinstance(getattr(attack, key, None), int)}
    return override(attack, chosen)


def digits(examples: int) -> tuple[nn.Module, Tensor, Tensor]:
    """Digits that a fresh network is right about, for it names them."""
    torch.manual_seed(0)
    data = load("digits")
    net = network(data.task("small_cnn")).eval()
    x, _ = data.test.batch(torch.arange(examples))
    with torch.no_grad():
        return net, x, net(x).argmax(1)


def suspicion(x: Tensor) -> Tensor:
    """Above 0 where an image has little contrast: of a detector that attacks may climb past."""
    return 0.3 - x.flatten(1).std(1)


def arena_of(attack: Attack, net: nn.Module, budget: Budget, images: Tensor) -> Arena:
    """Where an attack is played on digits; it has a detector if the attack wants one."""
    deployed = Deployed(net, suspicion=suspicion if attack.of_suspicion else None)
    return Arena(deployed, budget, 10, {}, Numerics(), Batches(64), seed=0, images=images)


def trial_of(name: str, attack: Attack) -> Trial:
    """With the knowledge that it needs, and no more."""
    return Trial(name, attack, KNOWLEDGE[attack.needs or "gradients"])
