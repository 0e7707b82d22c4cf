"""Clean and robust accuracy on held-out images, after each epoch."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Generator, Tensor, nn

from bench.attacks.pgd import PGD
from bench.core.seeds import seed_for
from bench.errors import BadValue
from bench.nn.tf32 import tf32
from bench.train.context import TrainContext
from bench.train.inner import frozen

_CHUNK = 500


def validate(judge: nn.Module, context: TrainContext) -> tuple[float | None, float | None]:
    """Fractions of the first held-out images, which are of all classes, that are right, also after PGD.

    The random starts are those of every other epoch, so accuracies of epochs differ by weights alone.
    Gradients have the recipe's precision, verdicts full precision. None, None where nothing is held out.
    """
    n = min(context.recipe.validation_examples, len(context.validation))
    if n == 0:
        return None, None
    rank, world = context.fabric.global_rank, context.fabric.world_size
    generator = Generator(device=context.device)
    generator.manual_seed(seed_for("train", *context.identity, "validation", rank))
    right = torch.zeros(2, device=context.device)
    with frozen(judge):
        mine = torch.arange(n, device=context.device)[rank::world]
        for start in range(0, len(mine), _CHUNK):
            x, y = context.validation.batch(mine[start : start + _CHUNK])
            right += _count(judge, x, y, context, generator)
    right = context.fabric.all_reduce(right, reduce_op="sum")  # type: ignore[assignment]
    clean, robust = (right / n).tolist()
    return clean, robust


def _count(judge: nn.Module, x: Tensor, y: Tensor, context: TrainContext, generator: Generator) -> Tensor:
    """How many of the images are right, and how many stay so, [2]."""
    clean = _correct(judge, x, y, context.task.num_classes)
    attack = PGD(steps=context.recipe.validation_steps, step_size=Fraction(1, 4))
    x_adv = context.inner_attack(judge, attack, x, y, generator=generator)
    robust = clean & _correct(judge, x_adv, y, context.task.num_classes)
    return torch.stack([clean.sum(), robust.sum()]).float()


@tf32(False)
@torch.no_grad()
def _correct(judge: nn.Module, x: Tensor, y: Tensor, num_classes: int) -> Tensor:
    logits: Tensor = judge(x)
    if logits.shape != (len(x), num_classes):
        raise BadValue(
            f"the network being trained gives {list(logits.shape)} for {len(x)} images, expected logits "
            f"[{len(x)}, {num_classes}] to validate",
            "fit_classifier(..., judge=NETWORK) with the network that classifies through it",
        )
    return logits.argmax(1) == y
