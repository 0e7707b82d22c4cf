"""Verdicts on randomized defenses: none is won by asking often, and none is lost by being attacked often."""

import random
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import binom
from torch import nn

from bench.api import Deployed, Trial
from bench.attacks.combine import Restarts
from bench.attacks.noise import UniformNoise
from bench.attacks.pgd import PGD
from bench.attacks.square import Square
from bench.attacks.streams import seeded
from bench.core.outcomes import NEVER, worst_case
from bench.core.survival import survival
from bench.core.threat import GRAY_BOX_CLASSIFIER, GRAY_BOX_TWIN, SCORES, WHITE_BOX, Budget, Norm, Source
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.follow_up import FollowUp
from bench.evaluate.numerics import PLAIN, Numerics
from bench.evaluate.referee import Referee

BUDGET = Budget(Norm.LINF, Fraction(1, 20))
N = 400


class Coin(nn.Module):
    """Right with probability p at each answer; the first pixel is the label, out of reach."""

    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        y = (x[:, 0, 0, 0] > 0.5).long()
        wrong = (torch.rand(len(x)) > self.p).long()
        return 5 * F.one_hot(y ^ wrong, 2).float() + 0 * x.flatten(1).sum(1, keepdim=True)


class Noisy(nn.Module):
    """A network whose input is shaken."""

    def __init__(self, net, sd):
        super().__init__()
        self.net, self.sd = net, sd

    def forward(self, x):
        return self.net(x + self.sd * torch.randn_like(x))


def coins(n=N):
    y = torch.arange(n) % 2
    x = torch.full((n, 1, 4, 4), 0.5)
    x[:, 0, 0, 0] = torch.where(y == 1, 0.9, 0.1)
    return Chunk(0, x, y, torch.arange(n))


class Linear(nn.Module):
    """Two classes on either side of a plane through the middle of the box."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(16, generator=torch.Generator().manual_seed(0)))

    def forward(self, x):
        gap = (x.flatten(1) - 0.5) @ self.w
        return torch.stack([-gap, gap], dim=1)


def around_the_plane(net, n=N):
    """Images of which PGD within the budget breaks more than half."""
    x = (0.5 + 0.2 * torch.randn(n, 1, 4, 4, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    return Chunk(0, x, net(x).argmax(1), torch.arange(n))


def arena(deployed, others=None, seed=0):
    return Arena(deployed, BUDGET, 2, others or {}, Numerics(eot_samples=2), Batches(128), seed=seed)


TRIALS = (
    Trial("noise", UniformNoise(10), WHITE_BOX),
    Trial("pgd", PGD(20), WHITE_BOX),
    Trial("restarts", Restarts(PGD(20), 3), WHITE_BOX),
    Trial("square", Square(200), SCORES),
)


@pytest.mark.parametrize("p", [0.7, 0.85])
def test_a_coin_that_ignores_the_image_keeps_under_every_attack_what_it_has_without(p):
    held = arena(Deployed(Coin(p), randomized=True))
    outcomes = {trial.column: play(held, trial, coins(), seed).outcomes for seed, trial in enumerate(TRIALS)}
    for column, found in outcomes.items():
        assert (found.robust == found.correct).all(), column
        assert (found.first_success == NEVER).all(), column
    kept = worst_case(list(outcomes.values())).mean()
    low, high = binom.interval(0.999, N, binom.sf(4, 9, p))  # most of nine draws are right
    assert low / N <= kept <= high / N


def test_other_seeds_draw_others():
    trial = Trial("noise", UniformNoise(2), WHITE_BOX)
    one, other = (
        play(arena(Deployed(Coin(0.6), randomized=True), seed=seed), trial, coins(), 1).outcomes
        for seed in (0, 1)
    )
    assert (one.correct != other.correct).any()


def test_what_fools_every_draw_is_broken_and_what_fools_some_is_judged_by_draws_of_its_own():
    net = Linear()
    chunk = around_the_plane(net)
    sure = play(arena(Deployed(Noisy(net, 0.001), randomized=True)), TRIALS[1], chunk, 1).outcomes
    plain = play(arena(Deployed(net)), TRIALS[1], chunk, 1).outcomes
    assert abs(sure.robust.mean() - plain.robust.mean()) < 0.02, "hardly any noise, hardly any difference"
    assert (sure.first_success[~sure.robust & sure.correct] > 0).all()

    deployed = Deployed(Noisy(net, 0.1), randomized=True)
    cell = play(arena(deployed), TRIALS[2], chunk, 1)
    assert 0.05 < cell.outcomes.robust.mean() < 0.95, "a case in between"
    shown = chunk.x.clone()
    shown[torch.from_numpy(cell.broken.ids)] = torch.from_numpy(cell.broken.images)
    fell = torch.from_numpy(cell.outcomes.correct & ~cell.outcomes.robust)
    referee = Referee(deployed, BUDGET, Batches(128))
    with seeded(99, shown.device):
        again = torch.stack([referee.classify(shown) == chunk.y for _ in range(20)]).double().mean(0)
    # most of what was called broken is broken by fresh draws, too, which luck among many queries would not be
    assert again[fell].mean() < 0.25


def test_a_sequel_goes_on_from_the_same_clean_verdicts_and_never_saves_an_example():
    held = arena(Deployed(Coin(0.7), randomized=True))
    before = play(held, Trial("one", UniformNoise(1), WHITE_BOX), coins(), 1).outcomes
    for number in range(3):
        after = play(
            held, FollowUp(f"more {number}", UniformNoise(1), WHITE_BOX), coins(), 2 + number, before
        )
        assert (after.outcomes.correct == before.correct).all()
        assert not (after.outcomes.robust & ~before.robust).any()
        before = after.outcomes
    assert (before.robust == before.correct).all()


def test_clean_images_that_a_random_detector_refuses_stay_refused_in_a_sequel():
    deployed = Deployed(Coin(1.0), detector=lambda x: torch.rand(len(x)) < 0.5, randomized=True)
    one = play(arena(deployed), Trial("one", UniformNoise(1), WHITE_BOX), coins(), 1).outcomes
    two = play(arena(deployed), FollowUp("two", UniformNoise(1), WHITE_BOX), coins(), 2, one).outcomes
    assert (one.clean == -1).any()
    assert not (two.robust & ~one.robust).any()


def test_votes_that_are_tied_favour_nobody():
    class Deck(nn.Module):
        """Answers class 3 in four draws, class 7 in four and class 1 in one, in an order of its own."""

        def __init__(self):
            super().__init__()
            self.order = [3] * 4 + [7] * 4 + [1]

        def forward(self, x):
            return F.one_hot(torch.full((len(x),), self.order.pop(0)), 10).float()

    won = []
    for seed in range(60):
        net = Deck()
        random.Random(seed).shuffle(net.order)
        expected = next(c for c in net.order if c != 1)
        classes = Referee(Deployed(net, randomized=True), BUDGET, Batches(8)).classify(torch.rand(2, 1, 2, 2))
        assert classes.tolist() == [expected] * 2
        won.append(expected)
    assert 15 < won.count(3) < 45


def test_an_answer_that_is_not_a_number_is_wrong_whatever_the_label():
    class Nothing(nn.Module):
        def forward(self, x):
            return torch.full((len(x), 3), torch.nan)

    y = torch.tensor([0, 1, 2])
    classes = Referee(Deployed(Nothing()), BUDGET, Batches(8)).classify(torch.rand(3, 1, 2, 2))
    assert (classes != y).all()
    assert (classes >= 0).all(), "nor is it a refusal"


def test_the_twin_of_a_randomized_defense_is_climbed_by_as_many_samples():
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    deployed = Deployed(Noisy(net, 0.1), randomized=True)
    twin = {Source.TWIN: Noisy(net, 0.1)}
    samples = [Access(deployed, level, twin, PLAIN).samples for level in (WHITE_BOX, GRAY_BOX_TWIN)]
    assert samples == [20, 20]
    around = Deployed(Noisy(net, 0.1), classifier=net, randomized=True)
    assert Access(around, GRAY_BOX_CLASSIFIER, {}, PLAIN).samples == 1, "the bare classifier draws nothing"


def test_noise_from_numpy_or_python_is_drawn_from_the_seed_too():
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))

    class Foreign(nn.Module):
        def forward(self, x):
            noise = np.random.normal(0, 0.3, x.shape).astype("float32")
            return net(x + torch.from_numpy(noise) + 0.1 * random.random())

    x = torch.rand(N, 1, 4, 4)
    chunk = Chunk(0, x, net(x).argmax(1), torch.arange(N))
    np.random.seed(7)
    random.seed(7)
    outside = np.random.get_state()[1].copy(), random.getstate()
    one, other = (
        play(arena(Deployed(Foreign(), randomized=True)), TRIALS[0], chunk, 5).outcomes for _ in range(2)
    )
    assert (one.attacked == other.attacked).all()
    assert (np.random.get_state()[1] == outside[0]).all()
    assert random.getstate() == outside[1]


def test_the_curve_of_a_sequel_begins_where_the_column_before_it_ended():
    net = Linear()
    chunk = around_the_plane(net, 200)
    one = play(arena(Deployed(net)), Trial("pgd", PGD(1), WHITE_BOX), chunk, 1).outcomes
    two = play(arena(Deployed(net)), FollowUp("square", Square(100), SCORES), chunk, 2, one).outcomes
    curve = survival(two)
    assert curve.robust[0] == one.robust.sum() < one.correct.sum()
    assert curve.robust[-1] == two.robust.sum()
