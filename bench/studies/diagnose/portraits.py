"""The portraits of a deployed defense: each is figures and arrays, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.api import Trial
from bench.core.fidelity import psnr, ssim
from bench.core.seeds import seed_for
from bench.errors import BadValue
from bench.evaluate.engine import Chunk
from bench.evaluate.look import Lacking, Look, look_at, look_behind, purifier_of
from bench.evaluate.unstopped import adversarial_images
from bench.nn.head import head
from bench.plan import TrainSpec
from bench.records.arrays import Arrays
from bench.runner.options import Options
from bench.runner.subject import Subject
from bench.runner.summary import interval_of
from bench.runner.weights import build_trained, fit
from bench.studies.diagnose import features, record, surface
from bench.studies.diagnose.features import Seen
from bench.studies.diagnose.plan import ATTACKS, SHOWN
from bench.studies.diagnose.record import Kind, Method

SURFACES = 3
"""Examples around which the loss is looked at."""


@dataclass(frozen=True)
class Sitter:
    """A deployed defense with clean images, and with what the attack makes of them."""

    subject: Subject
    options: Options
    identity: str  # names all random streams; how features are embedded changes no image
    stage: int
    embedding: Method

    @cached_property
    def chunk(self) -> Chunk:
        """All images as one chunk."""
        test, rows = self.subject.data.test, torch.cat(self.subject.rows)
        return Chunk(0, *test.batch(rows), test.ids[rows.to(test.ids.device)])

    @property
    def x(self) -> Tensor:
        """[n, C, H, W] the clean images."""
        return self.chunk.x

    @property
    def y(self) -> Tensor:
        """[n] true classes."""
        return self.chunk.y

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """[n] true classes."""
        labels: NDArray[np.int64] = self.y.cpu().numpy()
        return labels

    @cached_property
    def shown(self) -> NDArray[np.int64]:
        """Positions of the examples whose pictures are kept; nobody chose them."""
        first = np.sort(np.unique(self.labels, return_index=True)[1])
        others = np.setdiff1d(np.arange(len(self.labels)), first)
        return np.sort(np.concatenate([first, others])[:SHOWN])

    @cached_property
    def attacked(self) -> tuple[Tensor, Tensor]:
        """The adversarial images, and what the deployed defense says to them; -1: refused."""
        return self.attack(ATTACKS.trials[0])

    @cached_property
    def look(self) -> Look:
        """Where the features of the deployed defense can be seen; raises Lacking."""
        return look_behind(self.subject.net, self.subject.deployed, self.x[:8])

    @cached_property
    def seen(self) -> tuple[Seen, Seen]:
        """What the deployed defense makes of the clean and of the adversarial images; raises Lacking."""
        return self.see(self.look, self.x), self.see(self.look, self.attacked[0])

    def attack(self, trial: Trial) -> tuple[Tensor, Tensor]:
        """The images of a trial, and what the deployed defense says to them."""
        seed = seed_for(self.identity, trial.column)
        made = adversarial_images(self.subject.arena, trial.attack, trial.knowledge, self.x, self.y, seed).x
        return made, self.verdicts(made)

    def verdicts(self, x: Tensor) -> Tensor:
        """The classes [n] of images, one for each example; -1: refused."""
        return self.subject.arena.verdicts(self.chunk, x)

    def see(self, look: Look, x: Tensor) -> Seen:
        """What a network makes of images."""
        return features.see(look, x, self.subject.batches, self.stage)

    def pictures(self, x: Tensor) -> NDArray[np.float32]:
        """Those of the shown examples."""
        found: NDArray[np.float32] = x[torch.from_numpy(self.shown).to(x.device)].cpu().numpy()
        return found


def answers(examined: Sitter) -> Arrays:
    """What the deployed defense says to clean and to adversarial images, and what all portraits share."""
    x_adv, attacked = examined.attacked
    return {
        "labels": examined.labels,
        "ids": examined.chunk.ids.cpu().numpy(),
        "class_clean": examined.verdicts(examined.x).cpu().numpy(),
        "class_adversarial": attacked.cpu().numpy(),
        "shown": examined.shown,
        "image_clean": examined.pictures(examined.x),
        "image_adversarial": examined.pictures(x_adv),
    }


def attention(examined: Sitter) -> tuple[record.Attention, Arrays]:
    """Attention of the student, and of the teacher where the defense has one."""
    own, moved = (_mapped(seen, examined.stage) for seen in examined.seen)
    height, width = own.shape[1:]
    distance = _apart(moved, own)
    arrays = {**_maps("student", own, moved, examined), "attention_distance_student": distance}
    try:
        identity, taught, taught_moved = _taught(examined)
        if taught.shape != own.shape:
            there, here = "x".join(map(str, taught.shape[1:])), f"{height}x{width}"
            raise Lacking(f"the teacher's maps are {there}, the student's {here}")
    except Lacking as reason:
        alone = record.Attention(
            examined.stage, height, width, _mean(distance), None, str(reason), None, None, None
        )
        return alone, arrays
    apart = _apart(moved, taught)
    figures = record.Attention(
        stage=examined.stage,
        height=height,
        width=width,
        student_moved=_mean(distance),
        teacher=identity,
        without_teacher=None,
        teacher_moved=_mean(_apart(taught_moved, taught)),
        apart_clean=_mean(_apart(own, taught)),
        apart_adversarial=_mean(apart),
    )
    arrays |= _maps("teacher", taught, taught_moved, examined)
    return figures, {**arrays, "attention_distance_student_teacher": apart}


def embedding(examined: Sitter) -> tuple[record.Embedding, Arrays]:
    """Clean and adversarial features in one plane, and how well classes stand apart before it."""
    clean, adversarial = examined.seen
    both = np.concatenate([clean.features, adversarial.features])
    plane, explained = features.embedding(both, examined.embedding, seed=0)
    labels, n = examined.labels, len(examined.labels)
    near = [features.nearest_mean(seen.features, clean.features, labels) for seen in (clean, adversarial)]
    figures = record.Embedding(
        method=examined.embedding,
        features=both.shape[1],
        explained=None if explained is None else (round(explained[0], 6), round(explained[1], 6)),
        nearest_mean_clean=interval_of(near[0]) if len(near[0]) else None,
        nearest_mean_adversarial=interval_of(near[1]) if len(near[1]) else None,
        silhouette_clean=_rounded(features.silhouette(clean.features, labels)),
        silhouette_adversarial=_rounded(features.silhouette(adversarial.features, labels)),
    )
    return figures, {
        "features_clean": clean.features.astype(np.float32),
        "features_adversarial": adversarial.features.astype(np.float32),
        "embedding_clean": plane[:n].astype(np.float32),
        "embedding_adversarial": plane[n:].astype(np.float32),
    }


def contributions(examined: Sitter) -> tuple[record.Contributions, Arrays]:
    """N_90 of every example, and how fast the largest contributions add up."""
    clean, adversarial = examined.seen
    weight = _last_layer(examined, clean)
    parts: dict[str, Any] = {"features": weight.shape[1], "share": features.COVERED}
    arrays: dict[str, NDArray[Any]] = {}
    for name, seen in (("clean", clean), ("adversarial", adversarial)):
        found = features.contributions(seen.features, weight, examined.labels)
        counts = features.contributing(found)
        low, median, high = (float(value) for value in np.quantile(counts, [0.25, 0.5, 0.75]))
        parts[name] = record.Spread(_mean(counts), low, median, high)
        parts[f"without_{name}"] = int((counts == 0).sum())
        arrays |= {f"n90_{name}": counts, f"coverage_{name}": features.coverage(found).astype(np.float32)}
    return record.Contributions(**parts), arrays


def purification(examined: Sitter) -> tuple[record.Purification, Arrays]:
    """Images before and after the purifier: clean, attacked end to end, attacked past the purifier."""
    purifier, classifier = purifier_of(examined.subject.net)
    pictures = {"clean": examined.x, "adversarial_white": examined.attacked[0]}
    if examined.subject.deployed.classifier is not None:
        pictures["adversarial_gray"] = examined.attack(ATTACKS.trials[1])[0]
    batches, reference = examined.subject.batches, examined.x.cpu().numpy()
    figures: dict[str, record.Fidelity] = {}
    arrays: dict[str, NDArray[Any]] = {}
    with torch.no_grad():
        pictures |= {f"{name}_purified": batches.map(purifier, x) for name, x in pictures.items()}
        for name, x in pictures.items():
            if x.shape != examined.x.shape:
                raise Lacking(f"the purifier makes {list(x.shape[1:])} of images {list(reference.shape[1:])}")
            classes = batches.map(lambda part: classifier(part).argmax(dim=1), x)
            image = x.cpu().numpy()
            ratio, similarity = psnr(image, reference), ssim(image, reference)
            figures[name] = record.Fidelity(
                psnr=_mean(ratio) if np.isfinite(ratio).all() else None,
                ssim=_mean(similarity),
                accuracy=interval_of((classes == examined.y).cpu().numpy()),
            )
            told = {"psnr": ratio, "ssim": similarity, "verdict": classes.cpu().numpy()}
            arrays |= {f"{what}_{name}": values for what, values in told.items()}
            arrays[f"picture_{name}"] = examined.pictures(x)
    return record.Purification(figures), arrays


def training(examined: Sitter) -> tuple[record.TrainingLog, Arrays]:
    """The training log."""
    curve = record.read_log(examined.subject.trained.folder / "log.csv")
    if curve is None:
        raise Lacking("its training wrote no log")
    return curve, {}


def gallery(examined: Sitter) -> tuple[record.Gallery, Arrays]:
    """How sure the defense is of clean and adversarial images, and what a purifier makes of the latter."""
    x_adv = examined.attacked[0]
    at = torch.from_numpy(examined.shown).to(examined.x.device)
    arrays: dict[str, NDArray[Any]] = {
        f"confidence_{s}": _sure(examined, x) for s, x in (("clean", examined.x), ("adversarial", x_adv))
    }
    purifier = _purifier(examined)
    if purifier is not None:
        with torch.no_grad():
            arrays["gallery_purified"] = (
                examined.subject.batches.map(purifier, x_adv[at]).float().cpu().numpy()
            )
    change = float((x_adv[at] - examined.x[at]).abs().max())
    return record.Gallery(purifier is not None, round(change, 6)), arrays


def landscape(examined: Sitter) -> tuple[record.Landscape, Arrays]:
    """The loss around the first shown images that the attack has moved."""
    moved = (examined.attacked[0] != examined.x).flatten(1).any(dim=1).cpu().numpy()
    right = (examined.subject.arena.referee.classify(examined.x) == examined.y).cpu().numpy()
    rows = np.array([e for e in examined.shown if right[e] and moved[e]][:SURFACES], dtype=np.int64)
    if len(rows) == 0:
        raise Lacking("no shown image is right when clean and moved by the attack")
    at = torch.from_numpy(rows).to(examined.x.device)
    found = surface.landscape(
        examined.subject.deployed.predict,
        examined.x[at],
        examined.attacked[0][at],
        examined.y[at],
        seed_for(examined.identity, "landscape"),
        examined.subject.batches,
    )
    arrays: dict[str, NDArray[Any]] = {"landscape_examples": rows, "landscape_at": found.at}
    arrays |= {"landscape_loss": found.loss, "landscape_margin": found.margin}
    arrays["landscape_class"] = found.classes
    return record.Landscape(len(found.at), float(found.at[-1])), arrays


PORTRAITS: Mapping[Kind, Callable[[Sitter], tuple[Any, Arrays]]] = {
    "attention": attention,
    "embedding": embedding,
    "contributions": contributions,
    "purification": purification,
    "training": training,
    "gallery": gallery,
    "landscape": landscape,
}
"""Each raises Lacking where the defense does not have what it shows."""


def _taught(examined: Sitter) -> tuple[str, NDArray[np.float64], NDArray[np.float64]]:
    """The teacher's training id, and its attention on clean and on adversarial images."""
    spec: TrainSpec | None = dict(examined.subject.spec.training.parents).get("teacher")
    if spec is None:
        raise Lacking("the defense has no teacher")
    trained = fit(spec, examined.options, examined.subject.data)
    net = _still(build_trained(spec, trained, examined.subject.data, "best"), examined.x.device)
    look = look_at(net, spec.named.defense.deploy(net), examined.x[:8])
    clean, adversarial = (
        _mapped(examined.see(look, x), examined.stage) for x in (examined.x, examined.attacked[0])
    )
    return spec.id, clean, adversarial


def _sure(examined: Sitter, x: Tensor) -> NDArray[np.float32]:
    """The softmax of the largest logit of the deployed defense, [n]."""
    with torch.no_grad():
        found = examined.subject.batches.map(
            lambda part: examined.subject.deployed.predict(part).float().softmax(dim=1).amax(dim=1), x
        )
    sure: NDArray[np.float32] = found.cpu().numpy()
    return sure


def _purifier(examined: Sitter) -> nn.Module | None:
    """What stands before the classifier and makes images of images; None: nothing does."""
    purifier = examined.subject.deployed.purifier
    if purifier is None:
        try:
            purifier = purifier_of(examined.subject.net)[0]
        except Lacking:
            return None
    with torch.no_grad():
        fits = purifier(examined.x[:2]).shape == examined.x[:2].shape
    return purifier if fits and not isinstance(purifier, nn.Identity) else None


def _last_layer(examined: Sitter, seen: Seen) -> NDArray[np.float64]:
    """The weights [K, D] that make logits of features, checked with these features and logits."""
    try:
        layer = head(examined.look.network, examined.subject.data.num_classes)
    except BadValue:
        raise Lacking("the network has no linear last layer") from None
    weight: NDArray[np.float64] = layer.weight.detach().double().cpu().numpy()
    bias = 0.0 if layer.bias is None else layer.bias.detach().double().cpu().numpy()
    fits = weight.shape[1] == seen.features.shape[1]
    if not fits or not np.allclose(seen.features @ weight.T + bias, seen.logits, rtol=1e-3, atol=1e-3):
        raise Lacking("the logits are not a linear layer of the features")
    return weight


def _mapped(seen: Seen, stage: int) -> NDArray[np.float64]:
    if seen.attention is not None:
        return seen.attention
    if stage != -1 and seen.stages:
        raise BadValue(
            f"--stage is {stage}, but the network has {seen.stages} stages, expected 0 to {seen.stages - 1}, "
            "or -1 for the last",
            "--stage -1",
        )
    raise Lacking("the network lends no feature maps")


def _maps(
    who: str, clean: NDArray[Any], adversarial: NDArray[Any], examined: Sitter
) -> dict[str, NDArray[Any]]:
    return {
        f"attention_{who}_clean": clean[examined.shown].astype(np.float32),
        f"attention_{who}_adversarial": adversarial[examined.shown].astype(np.float32),
    }


def _apart(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean absolute difference of maps [n, H, W], for each example."""
    distance: NDArray[np.float64] = np.abs(one - other).mean(axis=(1, 2))
    return distance


def _still(net: nn.Module, device: torch.device) -> nn.Module:
    return net.to(device).eval().requires_grad_(False)


def _mean(values: NDArray[Any]) -> float:
    return round(float(values.mean()), 6)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
