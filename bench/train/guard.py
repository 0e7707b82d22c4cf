"""When a training is beyond hope (not a number, diverged, catastrophically overfitted), or learns nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.errors import TrainingFailed
from bench.train.recipe import Recipe

_TIMES = 10.0  # a diverged epoch's loss against the best epoch's
_FLOOR = 5.0  # and by how much more: losses near zero may rise tenfold in good health
_FALL = 0.15  # robust accuracy lost since its best epoch
_PATIENCE = 2  # epochs in a row: one bad epoch is noise
_ERRORS = 2.0  # standard errors by which luck may exceed chance


@dataclass(frozen=True)
class EpochFigures:
    """What an epoch is judged by; accuracies are fractions of the validation examples."""

    epoch: int  # from 1
    loss: float  # mean over the epoch
    clean_accuracy: float | None  # None: no validation
    robust_accuracy: float | None


def check_finite(terms: Mapping[str, float], epoch: int, images: int, learning_rate: float) -> None:
    """Raise TrainingFailed if a term's sum so far is not a number or infinite.

    >>> check_finite({"clean": float("nan")}, epoch=3, images=640, learning_rate=0.1)
    Traceback (most recent call last):
    bench.errors.TrainingFailed: the loss term 'clean' is not finite within the first 640 images of epoch 3; \
try: --set recipe.learning_rate=0.01 or --set recipe.clip_norm=1
    """
    for name, value in terms.items():
        if not math.isfinite(value):
            raise TrainingFailed(
                f"the loss term {name!r} is not finite within the first {images} images of epoch {epoch}",
                f"--set recipe.learning_rate={learning_rate / 10:.3g} or --set recipe.clip_norm=1",
            )


def check_history(history: Sequence[EpochFigures], adversarial: bool, learning_rate: float) -> None:
    """Raise TrainingFailed if the last epoch shows that training diverged or catastrophically overfitted.

    Catastrophic overfitting (Wong, Rice, Kolter, ICLR 2020) is what happens to training on attacks,
    `adversarial`: in each of the last two epochs robust accuracy is more than 15 points below its best and
    less than half of it, while clean accuracy has not fallen since that best epoch.
    """
    _check_divergence(history, learning_rate)
    if adversarial:
        _check_overfitting(history)


def at_chance(
    history: Sequence[EpochFigures], counts: Sequence[int], recipe: Recipe, adversarial: bool
) -> str | None:
    """What to say where the last two epochs were right hardly more often than one answer to all would be.

    `counts`: validation images of each class. Up to two standard errors above the share of the commonest one
    is chance. It is said and not raised: a hard problem may take some epochs to begin with.
    """
    patience = min(_PATIENCE, recipe.epochs)
    right = [epoch.clean_accuracy for epoch in history[-patience:] if epoch.clean_accuracy is not None]
    if len(right) < patience:
        return None
    n = sum(counts)
    constant = max(counts) / n
    if max(right) == 1 > constant:  # of few images chance reaches to all of them, and nobody does better
        return None
    if max(right) > constant + _ERRORS * math.sqrt(constant * (1 - constant) / n):
        return None
    gentler = f"--set recipe.learning_rate={recipe.learning_rate / 10:.3g} or a larger network, --arch NAME"
    if adversarial and not recipe.eps_warmup:
        gentler = "--set recipe.eps_warmup=0.4"
    last = history[-1]
    return (
        f"nothing is learnt: after epoch {last.epoch} (loss {last.loss:.3g}) {_percent(right[-1])} of the "
        f"validation images are right, and one answer to all of them would be right on {_percent(constant)}; "
        f"try: {gentler}"
    )


def _check_divergence(history: Sequence[EpochFigures], learning_rate: float) -> None:
    if len(history) < 2:
        return
    last = history[-1]
    least = max(0.0, min(figures.loss for figures in history[:-1]))
    if last.loss > _TIMES * least + _FLOOR:
        raise TrainingFailed(
            f"training diverged: the mean loss of epoch {last.epoch} is {last.loss:.4g}, it was {least:.4g}",
            f"--set recipe.learning_rate={learning_rate / 10:.3g}",
        )


def _check_overfitting(history: Sequence[EpochFigures]) -> None:
    measured = [figures for figures in history if figures.robust_accuracy is not None]
    earlier, recent = measured[:-_PATIENCE], measured[-_PATIENCE:]
    if not earlier:
        return
    best = max(earlier, key=lambda figures: figures.robust_accuracy or 0.0)
    if all(_overfitted(figures, best) for figures in recent):
        last = recent[-1]
        raise TrainingFailed(
            f"catastrophic overfitting: robust validation accuracy fell from "
            f"{_percent(best.robust_accuracy)} in epoch {best.epoch} to "
            f"{_percent(last.robust_accuracy)} in epoch {last.epoch} while clean "
            f"accuracy did not fall; the weights of epoch {best.epoch} are kept as best.safetensors beside "
            f"log.csv, and more attack steps, a random start or fewer epochs avoid it",
            f"--set recipe.epochs={best.epoch}",
        )


def _overfitted(now: EpochFigures, best: EpochFigures) -> bool:
    if now.robust_accuracy is None or best.robust_accuracy is None:
        return False
    if now.clean_accuracy is None or best.clean_accuracy is None:
        return False
    fell = now.robust_accuracy < best.robust_accuracy - _FALL
    halved = now.robust_accuracy < best.robust_accuracy / 2
    return fell and halved and now.clean_accuracy >= best.clean_accuracy


def _percent(share: float | None) -> str:
    return f"{100 * (share or 0.0):.1f} %"
