"""Rules that need a network: toys whose fault is known, and a linear classifier whose numbers are."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from bench.api import Deployed, Trial
from bench.attacks.pgd import PGD
from bench.audit import convergence, probes, strength
from bench.audit.examined import Examined
from bench.core.seeds import seed_for
from bench.core.threat import WHITE_BOX, Budget, Norm
from bench.evaluate import checks, diagnostics
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.numerics import Numerics

D, N = 64, 100
EPS = Fraction(1, 100)


def linear(seed: int = 0) -> nn.Sequential:
    """Two classes, the boundary through the middle of the box."""
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(D, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(2, D, generator=generator))
        layer.bias.copy_(-layer.weight.sum(1) / 2)
    return nn.Sequential(nn.Flatten(), layer).eval()


class Changed(nn.Module):
    def __init__(self, net: nn.Module, change: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.change = net, change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self.net, x)


def images() -> Tensor:
    """Far from the edges of the box, so that it never binds below an eps of 0.4."""
    return 0.4 + 0.2 * torch.rand(N, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def subject(deployed: Deployed | None = None, attack: PGD | None = None, eps: Fraction = EPS) -> Examined:
    """As an audit finds it after a run of that attack alone."""
    x, truth = images(), linear()
    with torch.no_grad():
        y = truth(x).argmax(1)
    deployed, attack = deployed or Deployed(truth), attack or PGD(steps=50, step_size=Fraction(1, 10))
    budget, chunk = Budget(Norm.LINF, eps), Chunk(0, x, y, torch.arange(N))
    arena = Arena(deployed, budget, 2, {}, Numerics(), Batches(128), seed=0)
    found = play(arena, Trial("pgd", attack, WHITE_BOX), chunk, seed_for("run", "pgd")).outcomes
    assert found is not None
    return Examined(deployed, budget, 2, chunk, identity="test", seed=0, found=found, attack=attack)


def standing(eps: float) -> float:
    """The closed form: a margin above eps times the dual norm of the difference of the weights."""
    net, x = linear(), images()
    with torch.no_grad():
        logits = net(x)
        w = net[1].weight[0] - net[1].weight[1]
        return float(((logits[:, 0] - logits[:, 1]).abs() > eps * w.abs().sum()).double().mean())


def test_accuracy_over_radii_is_the_closed_form() -> None:
    check = strength.radii(subject())
    assert check.verdict == "pass"
    found = {float(e): float(a) / 100 for e, a in re.findall(r"([\d.]+): ([\d.]+) %", check.detail)}
    assert len(found) == 8
    for eps, accuracy in found.items():
        assert accuracy == pytest.approx(standing(eps), abs=0.011)  # one point that lies on the edge
    assert 0.05 < found[0.01] < 0.95 and found[0.02] < found[0.0025]


@torch.no_grad()
def at_distances(distances: Tensor) -> tuple[Tensor, Tensor]:
    """Images [n, 1, 8, 8] from which the boundary is so far in Linf, and their classes [n]."""
    layer = linear()[1]
    w = (layer.weight[0] - layer.weight[1]).double()
    b = (layer.bias[0] - layer.bias[1]).double()
    flat = images().flatten(1).double()
    toward = w.sign() * (2 * (torch.arange(N) % 2) - 1)[:, None]
    flat -= ((flat @ w + b) / w.abs().sum())[:, None] * w.sign()  # onto the boundary
    moved = (flat + distances.double()[:, None] * toward).float().reshape(N, 1, 8, 8)
    return moved, linear()(moved).argmax(1)


def seen_on(x: Tensor, y: Tensor, deployed: Deployed, eps: Fraction) -> Examined:
    looked = subject(deployed, eps=eps)
    right = replace(looked.found, labels=y.numpy(), clean=y.numpy(), attacked=y.numpy())
    return replace(looked, chunk=replace(looked.chunk, x=x, y=y), found=right)


def test_a_network_as_steep_as_mnist_makes_them_is_no_cliff() -> None:
    """Distances as measured of adversarial training on MNIST: logistic, median 1.07 eps, scale 0.025 eps."""
    ranks = (torch.arange(N) + 0.5) / N
    x, y = at_distances(float(EPS) * (1.07 + 0.025 * torch.logit(ranks)))
    check = strength.radii(seen_on(x, y, Deployed(linear()), EPS))
    assert check.verdict == "pass", check.detail
    found = [float(share) for share in re.findall(r": ([\d.]+) %", check.detail)]
    assert found[3] > 90 and found[4] < 5, "it falls from one to the other of the eight radii"


@pytest.mark.parametrize("reach", ["1", "11/10", "7/5"])
def test_a_table_that_ends_at_one_radius_is_a_cliff(reach: str) -> None:
    """All images within the reach of one keep its label; beyond it the linear network is as good as gone."""
    x, y = at_distances(float(EPS) * torch.linspace(0.1, 0.5, N))

    def table(net: nn.Module, images: Tensor) -> Tensor:
        logits: Tensor = net(images)
        apart, nearest = torch.cdist(images.flatten(1), x.flatten(1), p=torch.inf).min(1)
        known = nn.functional.one_hot(y[nearest], 2)
        within = apart <= float(EPS * Fraction(reach)) + 1e-6
        return torch.where(within[:, None], 10 * known + 0.01 * logits, logits)

    check = strength.radii(seen_on(x, y, Deployed(Changed(linear(), table)), EPS))
    assert check.verdict == "warn" and check.detail.startswith("cliff-at-a-radius: 100.0 % at eps")
    inner, outer = map(float, re.findall(r"% at eps ([\d.]+)", check.detail))
    assert inner <= float(EPS * Fraction(reach)) <= outer <= 1.011 * inner


@pytest.mark.parametrize("right", [0, 9])
def test_a_few_images_make_no_cliff(right: int) -> None:
    """All of these images lie at one distance; of so few that may be chance."""
    x, y = at_distances(torch.full((N,), 1.1 * float(EPS)))
    looked = seen_on(x, torch.where(torch.arange(N) < right, y, 1 - y), Deployed(linear()), EPS)
    clean = y.numpy()
    looked = replace(looked, found=replace(looked.found, clean=clean, attacked=clean))
    assert strength.radii(looked).verdict == "pass"


def test_an_honest_classifier_passes_what_attacks_ask() -> None:
    looked = subject()
    rules = (strength.whole_box, convergence.convergence, strength.more, probes.landscape, probes.noise)
    assert [rule(looked).verdict for rule in rules] == ["pass"] * 5


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_attacks_reach_the_closed_form(norm: Norm) -> None:
    check = probes.closed_form(replace(subject(), budget=Budget(norm, EPS)))
    assert (check.verdict, "known 50.0 %" in check.detail) == ("pass", True)


def test_an_attack_that_stops_early_is_seen_by_its_loss() -> None:
    looked = subject(attack=PGD(steps=20, step_size=Fraction(1, 1000)))
    assert convergence.convergence(looked).verdict == "warn", "indicator 4: incomplete optimisation"
    assert convergence.convergence(subject(attack=PGD(steps=10))).verdict == "warn", "too few to tell"


def test_a_sure_network_is_not_stuck_because_its_loss_rounds_to_zero() -> None:
    """Logits 40 times as large: float32 has no loss for what stands, but a slope, and PGD climbs it."""
    sure = Deployed(Changed(linear(), lambda net, x: 40 * net(x)))
    looked = subject(sure, eps=EPS)
    logits = sure.predict(looked.chunk.x)
    rounded = nn.functional.cross_entropy(logits, looked.chunk.y, reduction="none") == 0
    assert int(rounded.sum()) > N / 2
    check = convergence.convergence(looked)
    assert check.verdict == "pass" and "never rises" not in check.detail, check.detail


@pytest.mark.parametrize("steps", [10, 20])
def test_a_number_that_rests_on_other_attacks_is_not_accused_of_a_short_pgd(steps: int) -> None:
    looked = subject(attack=PGD(steps=steps, step_size=Fraction(1, 1000)))
    without, outdone = replace(looked, times=0), replace(looked, outdone=True)
    checks = [convergence.convergence(one) for one in (without, outdone)]
    assert [check.verdict for check in checks] == ["open", "open"]
    assert "it has no PGD" in checks[0].detail and "its other columns broke more" in checks[1].detail


def test_only_what_the_run_left_is_looked_at() -> None:
    """The short attack leaves examples that it would break; others of the run broke just those."""
    short = subject(attack=PGD(steps=20, step_size=Fraction(1, 1000)))
    broke = subject().found
    check = convergence.convergence(replace(short, found=broke))
    left = round(100 * standing(float(EPS)))
    assert f" of {left} examples that stand" in check.detail


def test_a_loss_that_never_rises_has_not_converged() -> None:
    flat = Deployed(Changed(linear(), lambda net, x: 1e4 * net(x)))
    check = convergence.convergence(subject(flat))
    assert check.verdict == "warn" and "it never rises on" in check.detail, check.detail


def noisy(scale: float) -> Deployed:
    """The linear classifier with normal noise on its images, in shares of eps, which it declares."""
    net = Changed(linear(), lambda net, x: net(x + scale * float(EPS) * torch.randn_like(x)))
    return Deployed(net, randomized=True, eot_samples=4)


def test_the_noise_of_a_randomized_defense_is_no_rise() -> None:
    """One step of 2 eps reaches the best corner: nothing rises from there on but the best of the noise."""
    seeming = []
    for name in ("one", "two", "three"):
        looked = replace(subject(noisy(2.0), PGD(steps=12, step_size=Fraction(2))), identity=name)
        assert convergence.convergence(looked).verdict == "pass"
        watched = convergence.Watched(looked.attack)
        play(looked.arena(), Trial("it", watched, WHITE_BOX), looked.few(100), len(name))
        best = torch.stack(watched.losses).cummax(0).values
        seeming += ((best[-1] - best[-11]) > 0.05 * (best[-1] - best[0])).tolist()
    assert sum(seeming) > 0.4 * len(seeming), "the answers themselves seem to rise"


@pytest.mark.parametrize(("step_size", "scale"), [("1/1000", 0.01), ("1/50", 0.5)])
def test_an_attack_on_a_randomized_defense_that_stops_early_is_seen(step_size: str, scale: float) -> None:
    check = convergence.convergence(subject(noisy(scale), PGD(steps=20, step_size=Fraction(step_size))))
    assert check.verdict == "warn", check.detail


def test_a_settled_example_is_accused_once_in_a_thousand_at_most() -> None:
    """Draws of mean 0, of any size: the t test keeps its level."""
    generator = torch.Generator().manual_seed(0)
    size = torch.logspace(-6, 6, 20_000, dtype=torch.float64)
    draws = torch.randn(convergence.DRAWS, len(size), generator=generator, dtype=torch.float64) * size
    accused = int(convergence._surely_positive(draws).sum())
    assert 5 <= accused <= 40, "20 are expected, of 20,000"
    assert not convergence._surely_positive(torch.zeros(20, 1)).any()
    assert convergence._surely_positive(torch.full((20, 1), 1e-9)).all(), "without noise any rise is one"


def test_an_attack_that_stops_early_is_seen_by_doubling_it() -> None:
    short = PGD(steps=2, step_size=Fraction(1, 4), random_start=False)
    check = strength.more(subject(attack=short))
    assert check.verdict == "warn"
    left, more = re.findall(r"left (\d+) of 100 examples; PGD of 4 steps breaks (\d+)", check.detail)[0]
    assert int(left) == round(100 * standing(0.005))
    assert int(more) == round(100 * standing(0.005)) - round(100 * standing(0.01))


def test_more_of_an_attack_is_compared_with_what_the_run_left() -> None:
    """Two steps are too few, but the run was stronger: all that more of them break it has broken, too."""
    short = PGD(steps=2, step_size=Fraction(1, 4), random_start=False)
    check = strength.more(replace(subject(), attack=short, times=0))
    assert check.verdict == "pass"
    left = round(100 * standing(0.01))
    assert f"which has no PGD, left {left} of 100 examples; PGD of 4 steps breaks 0" in check.detail


def test_more_of_an_attack_wins_nothing_by_luck() -> None:
    """PGD ends in the worst corner, so no step more can help; only draws for the verdicts could."""

    def noisy(net: nn.Module, x: Tensor) -> Tensor:
        logits: Tensor = net(x)
        return logits + torch.randn_like(logits)

    looked = subject(Deployed(Changed(linear(), noisy), randomized=True), PGD(steps=10))
    n = len(looked.few(200).y)
    assert n == 40 and 0 < looked.left(200)[1].robust.sum() < n
    check = strength.more(looked)
    assert check.verdict == "pass" and "of 40 examples" in check.detail
    noise = probes.noise(looked)
    assert noise.verdict == "pass" and "100 uniform draws break 0 of" in noise.detail


def test_a_stand_in_that_nothing_fools_shows_nothing() -> None:
    deaf = Deployed(linear(), attackable=Changed(linear(), lambda net, x: 1e3 * net(x.detach()) + 0 * net(x)))
    check = probes.stand_in(subject(deaf, eps=Fraction(1, 10**6)))
    assert check.verdict == "open" and "on none of 100" in check.detail


def test_a_network_without_gradients_survives_every_image() -> None:
    stepped = Deployed(Changed(linear(), lambda net, x: net((x * 20).round() / 20)))
    assert strength.whole_box(subject(stepped)).verdict == "warn", "indicator 6: unconstrained attack failure"


def test_noise_that_beats_gradients_is_told() -> None:
    stepped = Deployed(Changed(linear(), lambda net, x: net((x * 20).round() / 20)))
    still = PGD(steps=1, random_start=False)
    assert probes.noise(subject(stepped, still, Fraction(1, 5))).verdict == "info"


def test_a_ragged_loss_is_seen() -> None:
    def ragged(net: nn.Module, x: Tensor) -> Tensor:
        logits: Tensor = net(x)
        return logits * (1 + 0.9 * torch.sin(1e6 * x.flatten(1).sum(1, keepdim=True)))

    check = probes.landscape(subject(Deployed(Changed(linear(), ragged))))
    assert check.verdict == "warn", "indicator 2: unstable predictions"


def test_a_stand_in_that_leads_elsewhere_is_seen() -> None:
    eps, net = Fraction(1, 20), linear()
    honest = subject(Deployed(net, attackable=net), eps=eps)
    astray = subject(Deployed(net, attackable=linear(seed=5)), eps=eps)
    assert probes.stand_in(honest).verdict == "pass"
    assert probes.stand_in(astray).verdict == "warn", "indicator 5: transfer failure"


@pytest.mark.parametrize(("sigma", "expected"), [(0.001, "pass"), (30.0, "warn")])
def test_too_few_samples_of_a_random_gradient_are_seen(sigma: float, expected: str) -> None:
    def gated(net: nn.Module, x: Tensor) -> Tensor:  # each call sees its own random weights
        logits: Tensor = net(x * (1 + sigma * torch.randn_like(x)))
        return logits

    assert probes.averages(subject(Deployed(Changed(linear(), gated), randomized=True))).verdict == expected


def test_a_detector_that_attacks_cannot_climb_blocks() -> None:
    def level(x: Tensor) -> Tensor:
        return x.flatten(1).mean(1) - 0.6

    shut = Deployed(linear(), detector=lambda x: level(x) > 0)
    told = Deployed(linear(), detector=lambda x: level(x) > 0, suspicion=level)
    eager = Deployed(linear(), detector=lambda x: level(x) > -1, suspicion=level)
    checks = [probes.detector(subject(d)) for d in (shut, told, eager)]
    assert [check.verdict for check in checks] == ["block", "pass", "block"]
    assert [check.detail.partition(":")[0] for check in checks[::2]] == [
        "detector-not-attacked",
        "refuses-clean-images",
    ]


def refusing(rows: Tensor, near: bool = False) -> Deployed:
    """Refuses these clean images [m], or such near them, by a suspicion that has a slope."""

    def suspicion(x: Tensor) -> Tensor:
        apart, nearest = torch.cdist(x.flatten(1), images().flatten(1), p=torch.inf).min(1)
        is_meant = torch.isin(nearest, rows) & ((apart > 1e-6) if near else (apart <= 1e-6))
        return torch.where(is_meant, 1.0, -1.0) + 0 * x.flatten(1).sum(1) + 1e-3 * x.flatten(1).mean(1)

    return Deployed(linear(), suspicion=suspicion)


@pytest.mark.parametrize(
    ("deployed", "verdict", "code"),
    [
        (refusing(torch.arange(8)), "pass", "of images that the network gets right 8 of 100 clean ones"),
        (refusing(torch.arange(14)), "warn", "many clean images are refused"),  # 14 % may be 10 %
        (refusing(torch.arange(20)), "block", "refuses-clean-images"),
        (refusing(torch.arange(40), near=True), "pass", "of images that the network gets right 0 of 100"),
        (refusing(torch.arange(70), near=True), "block", "refuses-any-change"),
    ],
)
def test_who_refuses_what_nobody_attacked_blocks(deployed: Deployed, verdict: str, code: str) -> None:
    check = probes.detector(subject(deployed))
    assert (check.verdict, check.detail.startswith(code)) == (verdict, True), check.detail


def test_a_detector_may_refuse_the_mistakes_of_its_network() -> None:
    looked = subject(refusing(torch.arange(40)))
    y = looked.chunk.y.clone()
    y[:40] = 1 - y[:40]  # whoever is refused would have been wrong
    assert probes.detector(replace(looked, chunk=replace(looked.chunk, y=y))).verdict == "pass"


def optimising(net: nn.Module, x: Tensor) -> Tensor:
    with torch.enable_grad():
        moved = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(net(moved).logsumexp(1).sum(), moved)
    logits: Tensor = net(x + 0.01 * slope)
    return logits


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda net, x: net(x.detach()), "no-gradients"),
        (lambda net, x: net((x * 20).round() / 20), "zero-gradients"),
        (
            lambda net, x: net(x) / 1e-2 + 0 * (x - x).flatten(1).sum(1, keepdim=True).sqrt(),
            "gradients-not-finite",
        ),
        (optimising, "optimises-at-inference"),
    ],
)
def test_a_network_gives_its_fault_away(change: Callable[[nn.Module, Tensor], Tensor], code: str) -> None:
    deployed = Deployed(Changed(linear(), change))
    found = [*checks.slopes(deployed, images()[:32]), *checks.labour(deployed, images()[:32])]
    assert code in {finding.code for finding in found}


def test_pixels_that_should_have_been_standardised_are_seen() -> None:
    net = linear()
    with torch.no_grad():
        net[1].bias.zero_()  # so that it wants pixels around zero
        x = images()
        y = net((x - 0.5) / 0.06).argmax(1)
    assert [f.code for f in checks.scaling(Deployed(net), x[:32], y[:32], (0.5,), (0.06,))] == [
        "normalised-outside"
    ]
    inside = Changed(net, lambda net, x: net((x - 0.5) / 0.06))
    assert not [*checks.scaling(Deployed(inside), x[:32], y[:32], (0.5,), (0.06,))]


def test_randomness_that_is_declared_and_absent_is_seen() -> None:
    found = diagnostics.from_network(Deployed(linear(), randomized=True), images()[:32])
    assert "declared-randomness-absent" in {finding.code for finding in found}


def test_an_honest_network_has_no_finding() -> None:
    looked = subject()
    assert not diagnostics.from_network(
        looked.deployed, looked.chunk.x[:32], looked.chunk.y[:32], (0.5,), (0.06,)
    )
