"""Numbers that the authors' released code computes on fixed tensors, and ours on the same.

`released.csv` holds them with the file that computed each. Random starts are given to both sides by formula.
Where code is for TensorFlow, its lines were run with torch's operations, or with gradients from torch.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.api import Batch, Features
from bench.attacks.losses import most_confusing
from bench.plan import parse_defense
from bench.train.inner import attack_network
from defenses.agkd_bml import AgkdBml
from defenses.ard import Ard
from defenses.awp import Perturbation
from defenses.bilateral import Bilateral
from defenses.fast_at import FGSM_RS, N_FGSM
from defenses.feature_scattering import FeatureScattering, scattering
from defenses.free_at import Perturbed
from defenses.ikl_at import IklAt
from defenses.lbgat import Lbgat
from defenses.losses import soft_cross_entropy
from defenses.mart import Mart
from defenses.pgd_at import PgdAt
from defenses.score import Score
from defenses.tla import Tla
from defenses.trades import Trades

from .formulas_of_tensors import EPS, STEPS, Formula, Y, feature_maps, features, images, logits, noise, wave
from .one_step import BUDGET, one_step

with (Path(__file__).parent / "released.csv").open(encoding="utf-8") as table:
    RELEASED = [
        (row["defense"], row["part"], [float(value) for value in row["values"].split()])
        for row in csv.DictReader(table)
    ]

THREE: dict[str, Any] = {"steps": STEPS, "step_size": Fraction(1, 6)}


def attacked(defense: Any, *labels: Tensor) -> Tensor:
    """Images that the defense's inner attack makes of the network."""
    attack = defense._attack()
    return attack_network(
        Formula(), attack, images(), *labels, budget=BUDGET, generator=torch.Generator(), num_classes=4
    )


def pixels(x: Tensor) -> list[float]:
    """Some of the images [n, C, H, W], and the mean of all."""
    return [*x[0, 0].flatten()[:6].tolist(), *x[3, 0].flatten()[:6].tolist(), x.mean().item()]


def as_it_trains(name: str) -> dict[str, list[float]]:
    """Of a whole training step: what was crafted in it, and BatchNorm's buffers afterwards."""
    net, x_adv = one_step(name)
    statistics = torch.cat([buffer.flatten() for buffer in net.buffers()])
    return {"inner attack as it trains": pixels(x_adv), "running statistics": statistics.tolist()}


def of_weights(net: nn.Module) -> list[float]:
    return net.get_parameter("linear.weight").grad[1, :6].tolist()


def of_both(net: nn.Module) -> list[float]:
    return of_weights(net) + net.get_parameter("conv.weight").grad[2].flatten()[:4].tolist()


def learnt(terms: Any) -> float:
    """The loss; its gradients are there afterwards."""
    loss = torch.stack(list(terms.values())).sum()
    loss.backward()
    return loss.item()


def of_pairs(defense: Any, *more: Tensor) -> dict[str, list[float]]:
    """Of a defense whose attack leaves the clean logits, and whose loss takes clean and adversarial ones."""
    net, x = Formula(), images()
    x_adv = attacked(defense, net(x).detach())
    loss = learnt(defense.terms(net(x), net(x_adv), Y, *more))
    return {"inner attack": pixels(x_adv), "loss": [loss], "gradient": of_both(net)}


def trades() -> dict[str, list[float]]:
    return of_pairs(Trades(beta=6, **THREE))


def mart() -> dict[str, list[float]]:
    defense, net, x = Mart(lam=5, **THREE), Formula(), images()
    x_adv = attacked(defense, Y)
    loss = learnt(defense.terms(net(x), net(x_adv), Y))
    return {"inner attack": pixels(x_adv), "loss": [loss], "gradient": of_both(net)}


def agkd_bml() -> dict[str, list[float]]:
    target = most_confusing(Formula()(images()), Y)
    x_adv = attacked(AgkdBml(**THREE), target)
    (clean, adv), (a, p, n), maps = logits(), features(), feature_maps()
    forward, backward = maps[0].requires_grad_(), maps[2].requires_grad_()
    student = Features(
        torch.cat([adv, clean, clean]),
        torch.cat([a, p, n]),
        (torch.cat([forward, torch.zeros_like(forward), backward]),),
    )
    taught = Features(torch.cat([clean, clean]), torch.cat([p, p]), (torch.cat([maps[1], maps[3]]),))
    loss = learnt(AgkdBml().terms(student, taught, Y))
    gradient = [adv.grad[1], clean.grad[2], a.grad[0], n.grad[3]]
    gradient += [forward.grad[0, 1].flatten()[:4], backward.grad[4, 0].flatten()[:4]]
    return {
        "inner attack": pixels(x_adv) + target.tolist(),
        "loss": [loss],
        "gradient": torch.cat(gradient).tolist(),
    }


def feature_scattering() -> dict[str, list[float]]:
    defense, net = FeatureScattering(), Formula()
    x_adv = attacked(defense, net(images()).detach())
    loss = learnt(defense.terms(net(x_adv), Y))
    clean, adv = logits()
    # plus 4: all directions are alike, and the plan moves mass between images
    cost = scattering(adv + 4, clean.detach() + 4, entropy=0.01, iterations=100, tolerance=0.1).sum()
    cost.backward()
    return {
        "inner attack": pixels(x_adv),
        "loss": [loss],
        "gradient": of_weights(net),
        "transport": [cost.item(), *adv.grad[0].tolist(), *adv.grad[3].tolist()],
    }


def ard() -> dict[str, list[float]]:
    defense, net, x = Ard(alpha=0.9, t=30, reduction="elements", **THREE), Formula(), images()
    x_adv = attacked(defense, Y)
    loss = learnt(defense.terms(net(x_adv), net(x), Formula(1.5)(x), Y))
    ours = {"inner attack": pixels(x_adv), "loss": [loss], "gradient": of_weights(net)}
    return ours | as_it_trains("ard[reduction=elements,steps=3,step_size=1/6]")


def pgd_at() -> dict[str, list[float]]:
    ours = {"inner attack": pixels(attacked(PgdAt(**THREE), Y))}
    return ours | as_it_trains("pgd_at[steps=3,step_size=1/6]")


def bilateral() -> dict[str, list[float]]:
    defense = Bilateral()
    x_adv = attacked(defense, most_confusing(Formula()(images()), Y))
    clean, adv = logits()
    labels = defense.labels(clean.detach(), Y)
    loss = learnt({"adversarial": soft_cross_entropy(adv, labels)})
    return {
        "inner attack": pixels(x_adv),
        "labels": labels[[0, 1, 5]].flatten().tolist(),
        "loss": [loss],
        "gradient": [*adv.grad[1].tolist(), *adv.grad[4].tolist()],
    }


def tla() -> dict[str, list[float]]:
    (_, adv), (a, p, n) = logits(), features()
    other = wave(6, 5, pace=2.3).requires_grad_()
    loss = learnt(Tla().terms(Features(adv, a, ()), Y, own=p, other=other, negative=n))
    return {"loss": [loss], "gradient": [*a.grad[0].tolist(), *other.grad[1].tolist(), *n.grad[3].tolist()]}


def fast_at() -> dict[str, list[float]]:
    on_mnist = parse_defense("fast_at", {}, "mnist").defense
    ours = {
        "inner attack": pixels(attacked(FGSM_RS, Y)),
        "inner attack on MNIST": pixels(attacked(on_mnist, Y)),
    }
    return ours | as_it_trains("fast_at")


def n_fgsm() -> dict[str, list[float]]:
    return {"inner attack": pixels(attacked(N_FGSM, Y))} | as_it_trains("n_fgsm")


def lbgat() -> dict[str, list[float]]:
    defense, net, guide, x = Lbgat(beta=6, **THREE), Formula(), Formula(1.5), images()
    x_adv = attacked(defense, net(x).detach())
    loss = learnt(defense.terms(net(x_adv), net(x), guide(x), Y))
    return {"inner attack": pixels(x_adv), "loss": [loss], "gradient": of_both(net) + of_weights(guide)[:4]}


def ikl_at() -> dict[str, list[float]]:
    return of_pairs(IklAt(**THREE), wave(4, 4, pace=1.4).softmax(1))


def score() -> dict[str, list[float]]:
    return of_pairs(Score(**THREE)) | as_it_trains("score[steps=3,step_size=1/6]")


def free_at() -> dict[str, list[float]]:
    """Two minibatches, three replays of each, steps of 0.1; the perturbation afterwards, and each loss."""
    net, perturbed, losses = Formula(), Perturbed(step_size=1 / 3), []
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for x in [images()] * 3 + [images().flip(0)] * 3:
        optimizer.zero_grad()
        x_adv = perturbed.added(x, BUDGET, epoch=0)
        losses.append(learnt({"adversarial": nn.functional.cross_entropy(net(x_adv), Y)}))
        optimizer.step()
    perturbed.added(x, BUDGET, epoch=0)  # moves by what the last pass got
    return {"inner attack": pixels(perturbed.delta), "loss": losses, "gradient": of_both(net)}


class Rehearsal:
    """The part of a context that AWP needs."""

    elapsed = Fraction(1, 2)

    def rehearse(self, step: Any, model: nn.Module, batch: Batch) -> Any:
        return step(model, batch), lambda: step(model, batch)


def perturbed(name: str, step: Callable[[nn.Module, Batch], Any]) -> dict[str, list[float]]:
    defense: Any = parse_defense(name, {}).defense
    net, x_adv = Formula(), (images() + EPS * noise()).clamp(0, 1)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    around = Perturbation(Rehearsal(), defense.gamma, defense.warmup)  # type: ignore[arg-type]
    terms = around.terms(net, step, net, Batch(x_adv, Y, Y))
    weights = [*net.linear.weight[1, :6].tolist(), *net.conv.weight[2].flatten()[:6].tolist()]
    loss = learnt(terms)
    around.after_backward(net)
    assert all(map(torch.equal, before, net.parameters()))
    return {"perturbed weights": weights, "loss": [loss], "gradient": of_weights(net)}


def at_awp() -> dict[str, list[float]]:
    ours = perturbed("at_awp", lambda net, batch: {"a": nn.functional.cross_entropy(net(batch.x), batch.y)})
    return ours | as_it_trains("at_awp[base=pgd_at[last_look=true,steps=3,step_size=1/6]]")


def trades_awp() -> dict[str, list[float]]:
    return perturbed("trades_awp", lambda net, batch: Trades().terms(net(images()), net(batch.x), batch.y))


OURS = {
    made.__name__: made
    for made in (
        *(trades, mart, agkd_bml, feature_scattering, ard, pgd_at, bilateral, tla, fast_at, n_fgsm),
        *(at_awp, trades_awp, lbgat, ikl_at, score, free_at),
    )
}


@pytest.fixture(autouse=True)
def starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random starts by the formula: uniform in [0, 1], and in the place of Gaussian noise."""
    monkeypatch.setattr(torch, "rand", lambda *_, **__: (noise() + 1) / 2)
    monkeypatch.setattr(torch, "randn", lambda *_, **__: noise())


@pytest.mark.parametrize(("defense", "part", "values"), RELEASED, ids=[f"{d}: {p}" for d, p, _ in RELEASED])
def test_ours_is_what_the_released_code_computes(defense: str, part: str, values: list[float]) -> None:
    assert OURS[defense]()[part] == pytest.approx(values, rel=2e-4, abs=2e-6)


def test_other_forms_are_told_apart() -> None:
    """The held numbers would notice what was wrong before."""
    held = {(defense, part): values for defense, part, values in RELEASED}
    clean, adv = logits()
    settings = {"entropy": 0.01, "iterations": 100, "tolerance": 0.1}
    scattering(adv + 4, clean.detach() + 4, detach_plan=True, **settings).sum().backward()
    transport = held["feature_scattering", "transport"][1:5]
    assert adv.grad[0].tolist() != pytest.approx(transport, rel=0.05)
    clipped = attacked(FeatureScattering(clip_start=True), Formula()(images()).detach())
    assert pixels(clipped) != pytest.approx(held["feature_scattering", "inner attack"], abs=1e-3)
    assert pixels(attacked(FGSM_RS, Y)) != pytest.approx(held["fast_at", "inner attack on MNIST"], abs=1e-3)
    free = attacked(Score(clip_start=False, **THREE), Formula()(images()).detach())
    assert pixels(free) != pytest.approx(held["score", "inner attack"], abs=1e-3)


@pytest.mark.parametrize("name", ["fast_at", "n_fgsm", "ard", "pgd_at", "score", "at_awp"])
def test_attacks_in_eval_mode_are_told_apart(name: str) -> None:
    held = {(defense, part): values for defense, part, values in RELEASED}
    settings = "attack_mode=eval" + ("" if "fgsm" in name or "fast" in name else ",steps=3,step_size=1/6")
    base = f"{name}[base=pgd_at[last_look=true,{settings}]]"
    ours = as_it_trains(base if name == "at_awp" else f"{name}[{settings}]")
    crafted, moved = "inner attack as it trains", "running statistics"
    assert ours[crafted] != pytest.approx(held[name, crafted], abs=1e-2)
    same = name == "score"  # whose attack moves no statistics in either mode: they follow what was crafted
    assert (ours[moved] == pytest.approx(held[name, moved], abs=1e-2)) == same


@pytest.mark.parametrize(
    "defense, cut",  # whether released code clamps its start before the first gradient
    [
        *((name, False) for name in ("trades", "mart", "lbgat", "ikl_at", "agkd_bml", "bilateral", "ard")),
        *(("feature_scattering", False), ("score", True), ("fast_at", True)),
    ],
)
def test_starts_are_cut_to_valid_pixels_where_released_code_cuts_them(defense: str, cut: bool) -> None:
    seen: list[Tensor] = []

    class Seen(Formula):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.detach())
            return super().forward(x)

    made: Any = parse_defense(defense, {}).defense
    labels = (
        Y if defense in ("mart", "ard", "fast_at", "agkd_bml", "bilateral") else Formula()(images()).detach()
    )
    attack_network(
        Seen(), made._attack(), images(), labels, budget=BUDGET, generator=torch.Generator(), num_classes=4
    )
    inside = bool((seen[0] >= 0).all() and (seen[0] <= 1).all())
    assert inside == made.clip_start == cut
    assert not torch.equal(seen[0], images())
