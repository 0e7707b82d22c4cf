"""Broken defenses must raise the finding that names their fault; honest ones must raise none."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from bench.api import Deployed, Trial
from bench.attacks.fgsm import FGSM
from bench.attacks.noise import UniformNoise
from bench.attacks.pgd import PGD
from bench.core.outcomes import Outcomes
from bench.core.threat import WHITE_BOX, Budget, Norm
from bench.evaluate import diagnostics
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.numerics import Numerics


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)
    ).eval()


class Wrapped(nn.Module):
    def __init__(self, net, change):
        super().__init__()
        self.net, self.change = net, change

    def forward(self, x):
        return self.change(self.net, x)


class Zero(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return torch.zeros_like(gradient)


def in_train_mode(net, x):
    return net.train()(x)


class Seldom(nn.Module):
    """Adds something to every fifth answer, as a draw would that is seldom another one."""

    def __init__(self, net):
        super().__init__()
        self.net, self.calls = net, 0

    def forward(self, x):
        self.calls += 1
        return self.net(x) + (self.calls % 5 == 0)


def codes(deployed, trials=(), eps=Fraction(1, 50)):
    x = torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = deployed.predict.eval()(x).argmax(1)
    found = diagnostics.from_network(deployed, x[:16])
    budget = Budget(Norm.LINF, eps)
    arena = Arena(deployed, budget, 4, {}, Numerics(), Batches(64), seed=0)
    cells = {trial.column: play(arena, trial, Chunk(0, x, y, torch.arange(len(x))), 0) for trial in trials}
    outcomes = {name: cell.outcomes for name, cell in cells.items()}
    found += diagnostics.from_outcomes(outcomes, {name: cell.flat_gradients for name, cell in cells.items()})
    return {finding.code for finding in found}


TRIALS = (Trial("fgsm", FGSM(), WHITE_BOX), Trial("pgd_20", PGD(), WHITE_BOX))


def test_an_honest_network_raises_none():
    assert codes(Deployed(network()), TRIALS) == set()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda net, x: net((x * 16).round() / 16), "zero-gradients"),
        (lambda net, x: net(Zero.apply(x)), "zero-gradients"),
        (lambda net, x: net(x + 0.1 * torch.randn_like(x)), "undeclared-randomness"),
        (lambda net, x: net(x).softmax(1), "probabilities-for-logits"),
        (in_train_mode, "batch-dependent"),
        (in_train_mode, "train-mode"),
    ],
)
def test_a_broken_network_raises_its_finding(change, code):
    assert code in codes(Deployed(Wrapped(network(), change)), TRIALS)


def test_randomness_that_two_calls_do_not_show_is_a_finding():
    assert "undeclared-randomness" in codes(Deployed(Seldom(network())))


def test_declared_randomness_is_no_finding():
    noisy = Wrapped(network(), lambda net, x: net(x + 0.01 * torch.randn_like(x)))
    assert "undeclared-randomness" not in codes(Deployed(noisy, randomized=True))


class Leaving(UniformNoise):
    """Leaves the box and the ball."""

    def __call__(self, oracle, x, y, budget, generator):
        return x + 10


class Forgetful(PGD):
    """Returns the clean image, whatever it found."""

    def __call__(self, oracle, x, y, budget, generator):
        super().__call__(oracle, x, y, budget, generator)
        return x


class NotANumber(UniformNoise):
    def __call__(self, oracle, x, y, budget, generator):
        return x * torch.nan


@pytest.mark.parametrize(
    ("attack", "code"),
    [(Leaving(), "left-budget"), (Forgetful(), "silent-success"), (NotANumber(), "not-a-number")],
)
def test_a_broken_attack_raises_its_finding(attack, code):
    trial = Trial("pgd_20", attack, WHITE_BOX)
    assert codes(Deployed(network()), (trial,), eps=Fraction(1, 5)) == {code}


def outcomes(robust):
    """An attack that leaves these examples."""
    n = len(robust)
    ones, zeros = np.ones(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    no = np.zeros(n, dtype=bool)
    attacked = np.where(robust, 1, 0)
    return Outcomes(np.arange(n), ones, ones, attacked, zeros * 1.0, ones, ones, zeros, no, no, no)


def test_a_one_step_attack_that_beats_all_iterations_is_a_finding():
    weak, strong = np.array([True] * 50 + [False] * 50), np.array([True] * 60 + [False] * 40)
    found = diagnostics.from_outcomes({"fgsm": outcomes(weak), "pgd_20": outcomes(strong)}, {})
    assert [finding.code for finding in found] == ["weak-beats-strong"]
    assert "10 of 100" in found[0].detail
    assert not diagnostics.from_outcomes({"fgsm": outcomes(strong), "pgd_20": outcomes(weak)}, {})


def test_a_query_attack_that_beats_all_who_climb_is_a_finding_whatever_they_are_called():
    pgd, square, own = (outcomes(np.arange(100) < left) for left in (60, 50, 51))
    columns = {"pgd_20": pgd, "square": square, "own_loss": own}
    (found,) = diagnostics.from_outcomes(columns, {})
    assert found.code == "black-box-beats-white-box" and "10 of 100" in found.detail
    assert not diagnostics.from_outcomes(columns, {}, climbing={"own_loss"}), "one example is allowed"
