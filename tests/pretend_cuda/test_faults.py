"""What goes wrong on a card alone: random streams, memory of failed batches, a card that has stopped."""

import gc
import weakref
from dataclasses import dataclass
from fractions import Fraction

import pytest
import torch
from torch import nn

from bench.api import Attack, Deployed, Trial
from bench.core.threat import WHITE_BOX, Budget, Norm
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, CardLost, Chunk, play
from bench.evaluate.numerics import Numerics
from bench.plan import Request, plan_training
from bench.records.store import Store
from bench.runner.options import Options, pick_device
from bench.runner.weights import fit
from bench.train.context import TrainContext

CARD = torch.device("cuda", 1)


@dataclass(frozen=True)
class Stopping(Attack):
    """What CUDA says of an index beyond its range, and to everybody afterwards."""

    def __call__(self, oracle, x, y, budget, generator):
        raise RuntimeError("CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA")


def test_a_card_of_a_number_is_the_current_one_from_then_on():
    assert pick_device("cuda:1") == CARD
    assert torch.ones(1, device="cuda").device == CARD, "as attacks of others make theirs"


def test_a_failed_batch_is_gone_before_the_cache_is_emptied(monkeypatch):
    held, alive = [], []

    def hungry(x):
        whole = torch.empty_like(x)
        held.append(weakref.ref(whole))
        if len(x) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return x + 1

    def empty():
        gc.collect()
        alive.append(sum(one() is not None for one in held))

    monkeypatch.setattr(torch.cuda, "empty_cache", empty)
    batches, x = Batches(16), torch.arange(16.0, device=CARD)
    assert batches.map(hungry, x).tolist() == (torch.arange(16.0) + 1).tolist()
    assert batches.size == 4 and alive == [0, 0]


def test_a_card_that_has_stopped_ends_the_run_and_fails_no_column():
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).to(CARD).eval()
    x = torch.rand(4, 1, 4, 4, device=CARD)
    arena = Arena(Deployed(net), Budget(Norm.LINF, Fraction(1, 10)), 3, {}, Numerics(), Batches(8), seed=0)
    chunk = Chunk(0, x, net(x).argmax(1), torch.arange(4))
    with pytest.raises(CardLost, match=r"the GPU stopped .*device-side assert.* what was done is kept"):
        play(arena, Trial("it", Stopping(), WHITE_BOX), chunk, 0)


def test_a_step_that_runs_again_draws_the_same_on_its_card():
    context = object.__new__(TrainContext)
    context.device, context.generator, context._tape = CARD, torch.Generator(CARD), None

    def step(model, batch):
        return {"drawn": torch.rand(2, device=CARD)}

    first, again = context.rehearse(step, None, None)
    torch.rand(5, device=CARD)
    assert again()["drawn"].tolist() == first["drawn"].tolist()


def test_a_training_leaves_the_random_streams_of_the_cards_alone(tmp_path):
    torch.manual_seed(1)
    expected = torch.rand(3, device=CARD).tolist()
    torch.manual_seed(1)
    recipe = {"epochs": "1", "batch_size": "192", "validation_examples": "8", "validation_steps": "1"}
    spec = plan_training(Request("at_awp", data="synthetic", settings={"recipe": recipe}))
    fit(spec, Options(Store(tmp_path), device=str(CARD)))
    assert torch.rand(3, device=CARD).tolist() == expected
