"""Every defense trains, deploys and is attacked on a card that is not the current one."""

import dataclasses

import pytest
import torch

from bench.api import Trial
from bench.attacks.pgd import PGD
from bench.core.threat import WHITE_BOX
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.numerics import Numerics
from bench.plan import Request, plan_training
from bench.records.store import Store
from bench.registry import DEFENSES
from bench.runner.options import Options
from bench.runner.weights import build_trained, fit, load_data
from bench.train.foreign import Foreign

CARD = torch.device("cuda", 1)
TWO_STEPS = {"epochs": "1", "batch_size": "192", "validation_examples": "8", "validation_steps": "1"}
QUICK = {"total_variation": {"iterations": "2"}}


def names():
    """Every defense that is trained; of several settings of one class all but the first are slow."""
    seen = set()
    for name in DEFENSES.names():
        defense = DEFENSES.get(name)
        kind = type(defense)
        if not isinstance(defense, Foreign):
            yield pytest.param(name, marks=[pytest.mark.slow] if kind in seen else [])
        seen.add(kind)


def trained(name, folder, **recipe):
    """A defense after an epoch of two steps on a card: its training, weights and data."""
    spec = plan_training(
        Request(
            name,
            data="synthetic",
            settings={"recipe": {**TWO_STEPS, **recipe}, "defense": QUICK.get(name, {})},
        )
    )
    options = Options(Store(folder), device=str(CARD))
    data = load_data(spec, options)
    return spec, fit(spec, options, data), data


def attacked(spec, weights, data, numerics=None, steps=3):
    """What PGD does to eight images of its deployed network."""
    net = build_trained(spec, weights, data, "best").to(CARD)
    deployed = spec.named.defense.deploy(net)
    x, y = data.test.batch(torch.arange(8, device=CARD))
    arena = Arena(
        deployed, spec.budget, data.num_classes, {}, numerics or Numerics(eot_samples=2), Batches(8), seed=0
    )
    return play(arena, Trial("pgd", PGD(steps=steps), WHITE_BOX), Chunk(0, x, y, data.test.ids[:8]), 0)


@pytest.mark.parametrize("name", [*names()])
def test_a_defense_trains_and_is_attacked(name, tmp_path):
    spec, weights, data = trained(name, tmp_path)
    assert data.test.x.device == CARD
    cell = attacked(spec, weights, data)
    assert cell.error is None and len(cell.outcomes) == 8


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_a_precision_is_taken_on_a_card(precision, tmp_path):
    spec, weights, data = trained("pgd_at", tmp_path, precision=precision)
    cell = attacked(spec, weights, data, Numerics(precision=precision))
    assert cell.error is None
    assert dataclasses.asdict(spec.recipe)["precision"] == precision
