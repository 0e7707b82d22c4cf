"""The portraits of a deployed defense: each is figures and arrays, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.api import Deployed, Suite, Trial
from bench.attacks.pgd import PGD
from bench.core.fidelity import psnr, ssim
from bench.core.seeds import seed_for
from bench.core.threat import GRAY_BOX_CLASSIFIER, WHITE_BOX
from bench.data.dataset import Dataset, test_subset
from bench.errors import BadValue
from bench.evaluate import landscape as landscapes
from bench.evaluate import portrait
from bench.evaluate.batches import AUTO, Batches
from bench.evaluate.engine import Arena, Chunk
from bench.evaluate.portrait import Lacking, Look, Seen
from bench.evaluate.unstopped import adversarial_images
from bench.nn.head import head
from bench.plan import RunSpec, TrainSpec
from bench.records import diagnostics as records
from bench.records.diagnostics import Arrays, Kind
from bench.records.record import Interval
from bench.runner.options import Options, pick_device
from bench.runner.summary import interval_of
from bench.runner.weights import build_trained, fit, load_data
from bench.train.fit import Trained

SHOWN = 6
"""Examples whose pictures are kept: the first of each class, as many as there are, then the first others."""

SURFACES = 3
"""Examples around which the loss is looked at."""

ATTACK = PGD(steps=20, step_size=Fraction(1, 4))

ATTACKS = Suite(
    name="diagnose",
    version=1,
    trials=(Trial("pgd_20", ATTACK, WHITE_BOX), Trial("classifier_pgd_20", ATTACK, GRAY_BOX_CLASSIFIER)),
    examples=200,
)
"""What makes the adversarial images; the second is for purifiers only."""


@dataclass(frozen=True)
class Subject:
    """A deployed defense with clean images, and with what the attack makes of them."""

    spec: RunSpec
    options: Options
    identity: str  # names all random streams; how features are embedded changes no image
    stage: int
    embedding: portrait.Method
    data: Dataset
    trained: Trained
    net: nn.Module
    deployed: Deployed
    arena: Arena
    rows: Tensor  # [n] positions in the test set
    x: Tensor  # [n, C, H, W]
    y: Tensor  # [n]

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
        return portrait.look_at(self.net, self.deployed, self.x[:8])

    @cached_property
    def seen(self) -> tuple[Seen, Seen]:
        """What the deployed defense makes of the clean and of the adversarial images; raises Lacking."""
        return self.see(self.look, self.x), self.see(self.look, self.attacked[0])

    def attack(self, trial: Trial) -> tuple[Tensor, Tensor]:
        """The images of a trial, and what the deployed defense says to them."""
        seed = seed_for(self.identity, trial.column)
        made = adversarial_images(self.arena, trial.attack, trial.knowledge, self.x, self.y, seed).x
        return made, self.verdicts(made)

    def verdicts(self, x: Tensor) -> Tensor:
        """The classes [n] of images, one for each example; -1: refused."""
        ids = self.data.test.ids
        return self.arena.verdicts(Chunk(0, self.x, self.y, ids[self.rows.to(ids.device)]), x)

    def see(self, look: Look, x: Tensor) -> Seen:
        """What a network makes of images."""
        return portrait.see(look, x, self.arena.batches, self.stage)

    def pictures(self, x: Tensor) -> NDArray[np.float32]:
        """Those of the shown examples."""
        found: NDArray[np.float32] = x[torch.from_numpy(self.shown).to(x.device)].cpu().numpy()
        return found


def subject_of(
    spec: RunSpec, options: Options, identity: str, stage: int, embedding: portrait.Method
) -> Subject:
    """Train or load, and deploy."""
    data, device = load_data(spec.training, options), pick_device(options.device)
    trained = fit(spec.training, options, data)
    net = _still(build_trained(spec.training, trained, data, spec.checkpoint), device)
    deployed = spec.training.named.defense.deploy(net)
    batches = Batches(options.batch_size or AUTO.get(device.type, 128))
    seed = spec.training.seed
    arena = Arena(deployed, spec.budget, data.num_classes, {}, spec.numerics, batches, seed=seed)
    rows = test_subset(data, spec.suite.examples)
    x, y = data.test.batch(rows)
    return Subject(spec, options, identity, stage, embedding, data, trained, net, deployed, arena, rows, x, y)


def answers(subject: Subject) -> tuple[Interval, Interval, Arrays]:
    """The accuracy on clean and on adversarial images, and the arrays that all portraits share."""
    x_adv, attacked = subject.attacked
    clean = subject.verdicts(subject.x)
    right = clean == subject.y
    held = right & ((attacked == subject.y) | (attacked < 0))
    ids = subject.data.test.ids
    arrays: dict[str, NDArray[Any]] = {
        "labels": subject.labels,
        "ids": ids[subject.rows.to(ids.device)].cpu().numpy(),
        "class_clean": clean.cpu().numpy(),
        "class_adversarial": attacked.cpu().numpy(),
        "shown": subject.shown,
        "image_clean": subject.pictures(subject.x),
        "image_adversarial": subject.pictures(x_adv),
    }
    return interval_of(right.cpu().numpy()), interval_of(held.cpu().numpy()), arrays


def attention(subject: Subject) -> tuple[records.Attention, Arrays]:
    """Attention of the student, and of the teacher where the defense has one."""
    own, moved = (_mapped(seen, subject.stage) for seen in subject.seen)
    height, width = own.shape[1:]
    distance = _apart(moved, own)
    arrays = {**_maps("student", own, moved, subject), "attention_distance_student": distance}
    try:
        identity, taught, taught_moved = _taught(subject)
        if taught.shape != own.shape:
            there, here = "x".join(map(str, taught.shape[1:])), f"{height}x{width}"
            raise Lacking(f"the teacher's maps are {there}, the student's {here}")
    except Lacking as reason:
        alone = records.Attention(
            subject.stage, height, width, _mean(distance), None, str(reason), None, None, None
        )
        return alone, arrays
    apart = _apart(moved, taught)
    figures = records.Attention(
        stage=subject.stage,
        height=height,
        width=width,
        student_moved=_mean(distance),
        teacher=identity,
        without_teacher=None,
        teacher_moved=_mean(_apart(taught_moved, taught)),
        apart_clean=_mean(_apart(own, taught)),
        apart_adversarial=_mean(apart),
    )
    arrays |= _maps("teacher", taught, taught_moved, subject)
    return figures, {**arrays, "attention_distance_student_teacher": apart}


def embedding(subject: Subject) -> tuple[records.Embedding, Arrays]:
    """Clean and adversarial features in one plane, and how well classes stand apart before it."""
    clean, adversarial = subject.seen
    both = np.concatenate([clean.features, adversarial.features])
    plane, explained = portrait.embedding(both, subject.embedding, seed=0)
    labels, n = subject.labels, len(subject.labels)
    near = [portrait.nearest_mean(seen.features, clean.features, labels) for seen in (clean, adversarial)]
    figures = records.Embedding(
        method=subject.embedding,
        features=both.shape[1],
        explained=None if explained is None else (round(explained[0], 6), round(explained[1], 6)),
        nearest_mean_clean=interval_of(near[0]) if len(near[0]) else None,
        nearest_mean_adversarial=interval_of(near[1]) if len(near[1]) else None,
        silhouette_clean=_rounded(portrait.silhouette(clean.features, labels)),
        silhouette_adversarial=_rounded(portrait.silhouette(adversarial.features, labels)),
    )
    return figures, {
        "features_clean": clean.features.astype(np.float32),
        "features_adversarial": adversarial.features.astype(np.float32),
        "embedding_clean": plane[:n].astype(np.float32),
        "embedding_adversarial": plane[n:].astype(np.float32),
    }


def contributions(subject: Subject) -> tuple[records.Contributions, Arrays]:
    """N_90 of every example, and how fast the largest contributions add up."""
    clean, adversarial = subject.seen
    weight = _last_layer(subject, clean)
    parts: dict[str, Any] = {"features": weight.shape[1], "share": portrait.COVERED}
    arrays: dict[str, NDArray[Any]] = {}
    for name, seen in (("clean", clean), ("adversarial", adversarial)):
        found = portrait.contributions(seen.features, weight, subject.labels)
        counts = portrait.contributing(found)
        low, median, high = (float(value) for value in np.quantile(counts, [0.25, 0.5, 0.75]))
        parts[name] = records.Spread(_mean(counts), low, median, high)
        parts[f"without_{name}"] = int((counts == 0).sum())
        arrays |= {f"n90_{name}": counts, f"coverage_{name}": portrait.coverage(found).astype(np.float32)}
    return records.Contributions(**parts), arrays


def purification(subject: Subject) -> tuple[records.Purification, Arrays]:
    """Images before and after the purifier: clean, attacked end to end, attacked past the purifier."""
    purifier, classifier = portrait.purifier_of(subject.net)
    pictures = {"clean": subject.x, "adversarial_white": subject.attacked[0]}
    if subject.deployed.classifier is not None:
        pictures["adversarial_gray"] = subject.attack(ATTACKS.trials[1])[0]
    batches, reference = subject.arena.batches, subject.x.cpu().numpy()
    figures: dict[str, records.Fidelity] = {}
    arrays: dict[str, NDArray[Any]] = {}
    with torch.no_grad():
        pictures |= {f"{name}_purified": batches.map(purifier, x) for name, x in pictures.items()}
        for name, x in pictures.items():
            if x.shape != subject.x.shape:
                raise Lacking(f"the purifier makes {list(x.shape[1:])} of images {list(reference.shape[1:])}")
            classes = batches.map(lambda part: classifier(part).argmax(dim=1), x)
            image = x.cpu().numpy()
            ratio, similarity = psnr(image, reference), ssim(image, reference)
            figures[name] = records.Fidelity(
                psnr=_mean(ratio) if np.isfinite(ratio).all() else None,
                ssim=_mean(similarity),
                accuracy=interval_of((classes == subject.y).cpu().numpy()),
            )
            told = {"psnr": ratio, "ssim": similarity, "verdict": classes.cpu().numpy()}
            arrays |= {f"{what}_{name}": values for what, values in told.items()}
            arrays[f"picture_{name}"] = subject.pictures(x)
    return records.Purification(figures), arrays


def training(subject: Subject) -> tuple[records.Curve, Arrays]:
    """The training log."""
    curve = records.read_log(subject.trained.folder / "log.csv")
    if curve is None:
        raise Lacking("its training wrote no log")
    return curve, {}


def gallery(subject: Subject) -> tuple[records.Gallery, Arrays]:
    """How sure the defense is of clean and adversarial images, and what a purifier makes of the latter."""
    x_adv = subject.attacked[0]
    at = torch.from_numpy(subject.shown).to(subject.x.device)
    arrays: dict[str, NDArray[Any]] = {
        f"confidence_{s}": _sure(subject, x) for s, x in (("clean", subject.x), ("adversarial", x_adv))
    }
    purifier = _purifier(subject)
    if purifier is not None:
        with torch.no_grad():
            arrays["gallery_purified"] = subject.arena.batches.map(purifier, x_adv[at]).float().cpu().numpy()
    change = float((x_adv[at] - subject.x[at]).abs().max())
    return records.Gallery(purifier is not None, round(change, 6)), arrays


def landscape(subject: Subject) -> tuple[records.Landscape, Arrays]:
    """The loss around the first shown images that the attack has moved."""
    moved = (subject.attacked[0] != subject.x).flatten(1).any(dim=1).cpu().numpy()
    right = (subject.arena.referee.classify(subject.x) == subject.y).cpu().numpy()
    rows = np.array([e for e in subject.shown if right[e] and moved[e]][:SURFACES], dtype=np.int64)
    if len(rows) == 0:
        raise Lacking("no shown image is right when clean and moved by the attack")
    at = torch.from_numpy(rows).to(subject.x.device)
    found = landscapes.landscape(
        subject.deployed.predict,
        subject.x[at],
        subject.attacked[0][at],
        subject.y[at],
        seed_for(subject.identity, "landscape"),
        subject.arena.batches,
    )
    arrays: dict[str, NDArray[Any]] = {"landscape_examples": rows, "landscape_at": found.at}
    arrays |= {"landscape_loss": found.loss, "landscape_margin": found.margin}
    arrays["landscape_class"] = found.classes
    return records.Landscape(len(found.at), float(found.at[-1])), arrays


PORTRAITS: Mapping[Kind, Callable[[Subject], tuple[Any, Arrays]]] = {
    "attention": attention,
    "embedding": embedding,
    "contributions": contributions,
    "purification": purification,
    "training": training,
    "gallery": gallery,
    "landscape": landscape,
}
"""Each raises Lacking where the defense does not have what it shows."""


def _taught(subject: Subject) -> tuple[str, NDArray[np.float64], NDArray[np.float64]]:
    """The teacher's training id, and its attention on clean and on adversarial images."""
    spec: TrainSpec | None = dict(subject.spec.training.parents).get("teacher")
    if spec is None:
        raise Lacking("the defense has no teacher")
    trained = fit(spec, subject.options, subject.data)
    net = _still(build_trained(spec, trained, subject.data, "best"), subject.x.device)
    look = portrait.look_at(net, spec.named.defense.deploy(net), subject.x[:8])
    clean, adversarial = (
        _mapped(subject.see(look, x), subject.stage) for x in (subject.x, subject.attacked[0])
    )
    return spec.id, clean, adversarial


def _sure(subject: Subject, x: Tensor) -> NDArray[np.float32]:
    """The softmax of the largest logit of the deployed defense, [n]."""
    with torch.no_grad():
        found = subject.arena.batches.map(
            lambda part: subject.deployed.predict(part).float().softmax(dim=1).amax(dim=1), x
        )
    sure: NDArray[np.float32] = found.cpu().numpy()
    return sure


def _purifier(subject: Subject) -> nn.Module | None:
    """What stands before the classifier and makes images of images; None: nothing does."""
    purifier = subject.deployed.purifier
    if purifier is None:
        try:
            purifier = portrait.purifier_of(subject.net)[0]
        except Lacking:
            return None
    with torch.no_grad():
        fits = purifier(subject.x[:2]).shape == subject.x[:2].shape
    return purifier if fits and not isinstance(purifier, nn.Identity) else None


def _last_layer(subject: Subject, seen: Seen) -> NDArray[np.float64]:
    """The weights [K, D] that make logits of features, checked with these features and logits."""
    try:
        layer = head(subject.look.network, subject.data.num_classes)
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
    who: str, clean: NDArray[Any], adversarial: NDArray[Any], subject: Subject
) -> dict[str, NDArray[Any]]:
    return {
        f"attention_{who}_clean": clean[subject.shown].astype(np.float32),
        f"attention_{who}_adversarial": adversarial[subject.shown].astype(np.float32),
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
