"""Conformance: does a defense or an attack keep the contract of `bench.api`? Run on tiny data, in seconds."""

from __future__ import annotations

import copy
import csv
import dataclasses
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.api import Attack, Deployed, Task, Trial
from bench.attacks.fgsm import FGSM
from bench.attacks.norms import norms_of
from bench.core.encoding import decode, encode, kinds_in
from bench.core.threat import WHITE_BOX, Budget, Norm
from bench.core.traits import told
from bench.data.catalog import source
from bench.errors import BenchError
from bench.evaluate.batches import Batches
from bench.evaluate.bypass import passing_over
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.numerics import Numerics
from bench.plan import Request, plan_training
from bench.records.store import Store
from bench.runner.options import Options
from bench.runner.weights import fit, load_data
from bench.train.checkpoints import load_weights

DATA, ARCHITECTURE = "synthetic", "wide_resnet_10_1"
"""Tiny images, and a network with BatchNorm, whose statistics are the easiest thing to get wrong."""

BUDGETS = tuple(
    Budget(norm, Fraction(eps))
    for norm, eps in ((Norm.LINF, "1/10"), (Norm.L2, "1/2"), (Norm.L1, "2"), (Norm.L0, "4"))
)
"""What attacks are tried on, if they have the norm."""

CLASSES, SHAPE = 3, (1, 8, 8)
"""Of that data set."""

QUICK = {"epochs": "3", "validation_examples": "32"}


@dataclass(frozen=True)
class Checked:
    """One clause of the contract."""

    clause: str
    kept: bool
    detail: str = ""


def check_defense(
    name: str, settings: Mapping[str, str] | None = None, weights: Path | None = None
) -> Iterator[Checked]:
    """Train a defense on tiny data and examine it, clause by clause; a raised fault ends the list.

    `weights` is a file for a defense that loads what others trained.

    >>> all(checked.kept for checked in check_defense("standard"))
    True
    """
    with tempfile.TemporaryDirectory() as folder:
        yield from _guarded(_defense_clauses(name, dict(settings or {}), weights, Path(folder)))


def traits_of(name: str) -> frozenset[str]:
    """What a defense says it is made of, from its defaults, with weights that nothing was done to.

    Raises BenchError for a defense that is not built but loaded.
    """
    known = source(DATA)
    named = plan_training(Request(name, data=DATA, architecture=ARCHITECTURE)).named
    task = Task(DATA, CLASSES, SHAPE, known.mean or (0.5,), known.std or (0.5,), ARCHITECTURE, known.budget)
    deployed = named.defense.deploy(named.defense.build(task))
    return frozenset(trait.value for trait in deployed.traits)


def check_attack(attack: Attack) -> Iterator[Checked]:
    """Run an attack on a linear classifier, for which every answer is known to be finite and smooth."""
    yield from _guarded(_attack_clauses(attack))


def _guarded(clauses: Iterator[Checked]) -> Iterator[Checked]:
    try:
        yield from clauses
    except BenchError:
        raise
    except Exception as error:  # whatever a plug-in raises is its finding, not our crash
        yield Checked("runs without raising", False, f"{type(error).__name__}: {error}")


def _defense_clauses(
    name: str, settings: dict[str, str], weights: Path | None, folder: Path
) -> Iterator[Checked]:
    settings_of = {"defense": settings, "recipe": QUICK}
    request = Request(name, data=DATA, architecture=ARCHITECTURE, settings=settings_of, weights=weights)
    spec = plan_training(request)
    options = Options(Store(folder), device="cpu")
    data = load_data(spec, options)
    task, defense = data.task(ARCHITECTURE), spec.named.defense

    yield Checked("is a frozen dataclass", _frozen(defense))
    yield Checked("says what it implements", bool(defense.paper))
    yield Checked("encodes to JSON and back", decode(encode(defense), kinds_in(defense)) == defense)
    before = {role: _state(fit(parent, options, data).folder) for role, parent in spec.parents}
    trained = fit(spec, options, data)
    after = {role: _state(options.store.model(parent.id)) for role, parent in spec.parents}
    yield Checked("leaves its parents as they were", before == after)
    yield _loss_falls(trained.folder / "log.csv")

    net = defense.build(task)
    load_weights(trained.folder / "last.safetensors", net)
    yield Checked("builds the modules that its weights fit, strictly", True)
    yield from _deployed_clauses(defense.deploy(net), net, data.test.batch(torch.arange(16)), task.budget)


def _deployed_clauses(
    deployed: Deployed, net: nn.Module, images: tuple[Tensor, Tensor], budget: Budget
) -> Iterator[Checked]:
    x, y = images
    network = deployed.predict.eval()
    with torch.no_grad():
        logits = network(x)
        again, alone = network(x), network(x[:1])
    classes = logits.shape[1]
    yield Checked("answers [n, K] finite numbers", logits.ndim == 2 and bool(logits.isfinite().all()))
    sums_to_one = bool((logits >= 0).all()) and bool(((logits.sum(1) - 1).abs() < 1e-4).all())
    yield Checked("answers logits, not probabilities", not sums_to_one)
    if not deployed.randomized:
        yield Checked("answers the same twice, unless it says it is randomized", torch.equal(logits, again))
        close = torch.allclose(alone, logits[:1], atol=1e-4, rtol=1e-4)
        yield Checked("answers one image as it answers it among others", close)
    yield from _gradient_clauses(deployed, x, y)
    answer = (deployed.attackable or network)(x)
    if deployed.attackable is not None and not deployed.randomized:
        agrees = torch.allclose(answer, logits, atol=1e-4, rtol=1e-4)
        yield Checked("has an attackable that agrees with predict", agrees)
    yield from _trait_clauses(deployed, x)
    held = copy.deepcopy(net.state_dict())
    trial = Trial("fgsm", FGSM(), WHITE_BOX)
    arena = Arena(deployed, budget, classes, {}, Numerics(eot_samples=2), Batches(8), seed=0, images=x)
    cell = play(arena, trial, Chunk(0, x, y, torch.arange(len(x))), seed=0)
    yield Checked("can be attacked", cell.outcomes is not None, cell.error or "")
    same = all(torch.equal(held[key], value) for key, value in net.state_dict().items())
    yield Checked("keeps weights and BatchNorm statistics under attack", same)


def _gradient_clauses(deployed: Deployed, x: Tensor, y: Tensor) -> Iterator[Checked]:
    clause = "has a finite, non-zero input gradient"
    kept, past = _slopes(deployed.attackable or deployed.predict, x, y), passing_over(deployed)
    if not kept and past is not None and _slopes(past, x, y):
        yield Checked(
            clause, True, "past its purifier alone (BPDA): no other attack of gradients says anything"
        )
        return
    owes = "a defense without gradients owes its `purifier` or an `attackable` (BPDA)"
    yield Checked(clause, kept, "" if kept else owes)


def _slopes(network: nn.Module, x: Tensor, y: Tensor) -> bool:
    """Whether a network has a gradient to climb."""
    inputs = x.clone().requires_grad_()
    loss = nn.functional.cross_entropy(network.eval()(inputs), y)
    if not loss.requires_grad:
        return False
    (gradient,) = torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True)
    return bool(gradient.isfinite().all()) and bool(gradient.any())


def _trait_clauses(deployed: Deployed, x: Tensor) -> Iterator[Checked]:
    """What the defense says it is made of, against what it does."""
    yield Checked(
        "says what it is made of", True, told({t.value for t in deployed.traits}) or "a plain network"
    )
    with torch.no_grad():
        if deployed.randomized:
            # votes may all agree: then the probabilities behind them tell
            drawing = deployed.attackable if deployed.smoothed is not None else None
            answers = [(drawing or deployed.predict)(x) for _ in range(3)]
            differ = any(not torch.equal(answers[0], other) for other in answers[1:])
            yield Checked("answers differently from time to time, as it says", differ)
        if deployed.purifier is not None:
            yield from _purifier_clauses(deployed, x)
    if deployed.suspicion is not None:
        yield from _suspicion_clauses(deployed, x)


def _purifier_clauses(deployed: Deployed, x: Tensor) -> Iterator[Checked]:
    clause = "answers what its classifier makes of the purified image"
    if deployed.classifier is None or deployed.purifier is None:
        yield Checked(clause, False, "it states a purifier and no classifier behind it")
        return
    torch.manual_seed(0)  # a randomized purifier draws the same both times
    whole = deployed.predict(x)
    torch.manual_seed(0)
    parts = deployed.classifier(deployed.purifier(x))
    apart = float((whole - parts).abs().max())
    close = torch.allclose(whole, parts, atol=1e-4, rtol=1e-4)
    yield Checked(clause, close, "" if close else f"logits differ by up to {apart:.2g}, so BPDA is misled")


def _suspicion_clauses(deployed: Deployed, x: Tensor) -> Iterator[Checked]:
    suspicion = deployed.suspicion
    if suspicion is None:
        return
    inputs = torch.cat([x, torch.rand_like(x)]).requires_grad_()
    found = suspicion(inputs)
    yield Checked(
        "answers one finite suspicion for each image",
        found.shape == (len(inputs),) and bool(found.isfinite().all()),
    )
    if deployed.detector is not None:
        agree = torch.equal(deployed.detector(inputs.detach()).bool(), found.detach() > 0)
        yield Checked("refuses exactly where its suspicion is above 0", agree)
    gradient = None
    if found.requires_grad:
        (gradient,) = torch.autograd.grad(found.sum(), inputs, allow_unused=True)
    climbs = gradient is not None and bool(gradient.isfinite().all()) and bool(gradient.any())
    yield Checked("has a suspicion with a finite, non-zero gradient", climbs)


def _attack_clauses(attack: Attack) -> Iterator[Checked]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(2 * 6 * 6, 4))
    x = torch.rand(12, 2, 6, 6)
    chunk = Chunk(0, x, net(x).argmax(dim=1), torch.arange(12))
    clean = x.clone()
    kept_json = decode(encode(attack), kinds_in(attack)) == attack
    yield Checked("is a frozen dataclass", _frozen(attack))
    yield Checked("encodes to JSON and back", kept_json)
    kept_to = norms_of(attack)
    for budget in BUDGETS:
        norm = budget.norm
        if norm not in kept_to:
            continue
        trial = Trial("attack", attack, WHITE_BOX)

        def once(budget: Budget = budget, chunk: Chunk = chunk, trial: Trial = trial) -> object:
            trusting = Deployed(net, suspicion=lambda x: x.flatten(1).mean(1) - 2)  # refuses nothing
            arena = Arena(trusting, budget, 4, {}, Numerics(), Batches(64), seed=0, images=x)
            return play(arena, trial, chunk, seed=7)

        first, second = once(), once()
        outcomes = getattr(first, "outcomes", None)
        yield Checked(f"runs under {norm.value}", outcomes is not None, getattr(first, "error", "") or "")
        if outcomes is None:
            return
        again = getattr(second, "outcomes", None)
        same = again is not None and bool((outcomes.attacked == again.attacked).all())
        yield Checked(f"draws only from the given generator under {norm.value}", same)
        yield Checked(f"stays inside budget and box under {norm.value}", not outcomes.moved.any())
        yield Checked(f"returns what it found under {norm.value}", not outcomes.lost.any())
        none = once(Budget(norm, Fraction(0)))
        held = getattr(none, "outcomes", None)
        yield Checked(f"breaks nothing with eps 0 under {norm.value}", held is not None and held.robust.all())
        one = once(budget, Chunk(0, x[:1], chunk.y[:1], chunk.ids[:1]))
        yield Checked(f"attacks one image under {norm.value}", getattr(one, "outcomes", None) is not None)
    yield Checked("leaves the clean images as they were", torch.equal(clean, x))


def _frozen(value: object) -> bool:
    parameters = getattr(type(value), "__dataclass_params__", None)
    return dataclasses.is_dataclass(value) and bool(getattr(parameters, "frozen", False))


def _state(folder: Path) -> bytes:
    return (folder / "best.safetensors").read_bytes()


def _loss_falls(log: Path) -> Checked:
    clause = "lowers its own loss in a few epochs"
    if not log.is_file():
        return Checked(clause, True, "it trains nothing")
    with log.open(encoding="utf-8") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    detail = f"{losses[0]:.4g} at first, {min(losses[1:] or losses):.4g} at best"
    return Checked(clause, len(losses) > 1 and min(losses[1:]) < losses[0], detail)
