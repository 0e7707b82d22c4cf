"""What a deployed network itself gives away on a few clean images: a look that every run can afford."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from bench.api import Deployed
from bench.attacks.losses import LOSSES
from bench.core.paired import mcnemar
from bench.evaluate.referee import not_numbers
from bench.records.record import Finding

SAME, CLOSE = 1e-5, 1e-3
"""Differences of logits that float arithmetic makes: of the same call, and in other company."""

FEW = 0.01
"""The share of images that may lack a gradient; one image always may."""

SURE = 1e-3
"""Below this p-value another scaling of the pixels is believed to be the one that the network wants."""


def steadiness(deployed: Deployed, x: Tensor) -> Iterator[Finding]:
    """P2 and P7: the same answer alone, in a batch, in another order, and each of ten times.

    Twice would not do: who draws one of nine shifts answers two calls alike once in nine times, and who
    tosses a coin every second time; ten alike come from a coin once in 512.
    """
    network = deployed.predict
    with torch.no_grad():
        first = network(x)
        differs = not _always(deployed, x, first)
        shuffled = network(x.flip(0)).flip(0)
        alone = _one_by_one(network, x[:4])
        after_training = [module for module in network.modules() if module.training]
    if differs and not deployed.randomized:
        detail = "ten calls on the same images disagree, and the defense does not say that it is randomized"
        yield Finding("undeclared-randomness", "block", detail)
    elif deployed.randomized and not differs:
        detail = "ten calls on the same images agree, though the defense says that it is randomized"
        yield Finding("declared-randomness-absent", "warn", detail)
    elif alone is None:
        detail = "one image alone cannot be classified: BatchNorm in train mode?"
        yield Finding("batch-dependent", "block", detail)
    elif not deployed.randomized and not (_near(first[: len(alone)], alone) and _near(first, shuffled)):
        detail = "the answer for an image depends on the images beside it: BatchNorm in train mode?"
        yield Finding("batch-dependent", "block", detail)
    if after_training:
        kind = type(after_training[0]).__name__
        detail = f"{kind} is in train mode although the defense was put in eval mode"
        yield Finding("train-mode", "block", detail)


def numbers(deployed: Deployed, x: Tensor) -> Iterator[Finding]:
    """P4: finite logits; an answer that is not a number counts as wrong."""
    with torch.no_grad():
        odd = int(not_numbers(deployed.predict(x)).sum())
    if odd:
        detail = (
            f"{odd} of {len(x)} answers to clean images and such near them are not finite: they are wrong"
        )
        yield Finding("answers-not-finite", "warn", detail)


def outputs(deployed: Deployed, x: Tensor) -> Iterator[Finding]:
    """P4: logits, not probabilities."""
    with torch.no_grad():
        answers = deployed.predict(x)
    if bool((answers >= 0).all()) and bool(((answers.sum(dim=1) - 1).abs() < 1e-3).all()):
        detail = "the outputs are probabilities, not logits: gradients vanish where the network is sure"
        yield Finding("probabilities-for-logits", "warn", detail)


def scaling(
    deployed: Deployed, x: Tensor, y: Tensor, mean: Sequence[float], std: Sequence[float]
) -> Iterator[Finding]:
    """P3: no other scaling of the pixels makes the network better, by McNemar's exact test."""
    shape = (1, -1, 1, 1)
    middle, spread = x.new_tensor(mean).view(shape), x.new_tensor(std).view(shape)
    others = {"standardised": (x - middle) / spread, "in [-1, 1]": 2 * x - 1, "in [0, 255]": 255 * x}
    with torch.no_grad():
        right = deployed.predict(x).argmax(1) == y
        for name, images in others.items():
            then = deployed.predict(images).argmax(1) == y
            won, lost = int((then & ~right).sum()), int((right & ~then).sum())
            if won > lost and mcnemar(won, lost) < SURE:
                detail = (
                    f"{int(right.sum())} of {len(y)} images are classified right as they are, and "
                    f"{int(then.sum())} where pixels are {name}: normalisation belongs inside the network"
                )
                yield Finding("normalised-outside", "block", detail)
                return


def slopes(deployed: Deployed, x: Tensor) -> Iterator[Finding]:
    """P5: the gradients of three losses at the predicted class are finite and not zero."""
    lacking: dict[str, int] = {}
    broken: dict[str, int] = {}
    for name in ("cross_entropy", "dlr", "margin"):
        try:
            gradient = _gradient(deployed, name, x)
        except RuntimeError as error:
            detail = (
                f"the defense cannot be differentiated and names no stand-in ({str(error).split('.')[0]})"
            )
            yield Finding("no-gradients", "warn", detail)
            return
        finite = gradient.isfinite().all(1)
        broken[name] = int((~finite).sum())
        lacking[name] = int((finite & ~gradient.any(1)).sum())
    allowed = max(1, int(FEW * len(x)))
    for code, counts, what in (
        ("zero-gradients", lacking, "zero"),
        ("gradients-not-finite", broken, "not finite"),
    ):
        name, most = max(counts.items(), key=lambda pair: pair[1])
        if most > allowed:
            detail = f"the gradient of {name} is {what} on {most} of {len(x)} clean images"
            yield Finding(code, "warn", detail)


def labour(deployed: Deployed, x: Tensor) -> Iterator[Finding]:
    """P6: nothing is optimised while an image is classified.

    A backward pass reads what a forward pass left for it: those readings are counted.
    """
    reads = 0

    def read(kept: Tensor) -> Tensor:
        nonlocal reads
        reads += 1
        return kept

    with torch.no_grad(), torch.autograd.graph.saved_tensors_hooks(lambda kept: kept, read):
        deployed.predict(x[:2])
    if reads:
        detail = (
            f"a forward pass computes gradients ({reads} readings of its graph): the defense optimises while "
            "it classifies, so an attack of fixed cost may be too weak"
        )
        yield Finding("optimises-at-inference", "warn", detail)


def _gradient(deployed: Deployed, loss: str, x: Tensor) -> Tensor:
    """[n, D], of what a white-box attacker climbs."""
    network = deployed.attackable or deployed.predict
    images = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        logits = network(images).float()
        each = LOSSES[loss](logits, logits.detach().argmax(1))
        (gradient,) = torch.autograd.grad(each.sum(), images, allow_unused=True)
    if gradient is None:
        raise RuntimeError("its output does not depend on the image as far as autograd knows")
    return gradient.flatten(1)


def _always(deployed: Deployed, x: Tensor, answer: Tensor, calls: int = 9) -> bool:
    with torch.no_grad():
        return all(
            torch.allclose(deployed.predict(x), answer, atol=SAME, equal_nan=True) for _ in range(calls)
        )


def _one_by_one(network: nn.Module, x: Tensor) -> Tensor | None:
    """Logits of each image asked alone; None where the network refuses to."""
    try:
        return torch.cat([network(image[None]) for image in x])
    except (ValueError, RuntimeError):  # what torch raises for statistics of one value
        return None


def _near(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, atol=CLOSE, rtol=CLOSE, equal_nan=True)
