"""Past purifiers, noise and last layers: BPDA, EOT and lent features, on toys whose every answer is known."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import nn

from bench.api import Deployed, Features, Trait, Trial
from bench.attacks.combine import Restarts
from bench.attacks.feature_matching import FeatureMatching, Resemblance
from bench.attacks.losses import cross_entropy, margin
from bench.attacks.pgd import PGD
from bench.attacks.square import Square
from bench.core.threat import (
    GRAY_BOX_CLASSIFIER,
    GRAY_BOX_TWIN,
    SCORES,
    WHITE_BOX,
    WHITE_BOX_BPDA,
    Budget,
    Norm,
)
from bench.errors import AccessDenied
from bench.evaluate.access import Access, samples_of
from bench.evaluate.adaptive import answered_by, why_skipped
from bench.evaluate.batches import Batches
from bench.evaluate.bypass import StraightThrough, features_of, lends_features, passing_over
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.ledger import Ledger
from bench.evaluate.numerics import PLAIN, Numerics
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import Referee

LEVELS = 64
EPS = 4 / LEVELS  # a whole number of steps: rounding then loses nothing at the corners of the ball
BUDGET = Budget(Norm.LINF, Fraction(4, LEVELS))
PIXELS = 36


class Quantise(nn.Module):
    """Rounds pixels to 65 levels; its gradient is zero wherever it has one."""

    def forward(self, x):
        return (x * LEVELS).round() / LEVELS


class Noise(nn.Module):
    """Adds Gaussian noise to the pixels, at test time, too."""

    def __init__(self, sigma):
        super().__init__()
        self.sigma = sigma

    def forward(self, x):
        return x + self.sigma * torch.randn_like(x)


def linear(seed=0):
    """Both classes alike for a grey image, so that many images are close to a mistake."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 2)).requires_grad_(False)
    net[1].bias.copy_(-net[1].weight.sum(1) / 2)
    return net


def purified(purifier, net=None, **more):
    net = net or linear()
    return Deployed(nn.Sequential(purifier, net), classifier=net, purifier=purifier, **more)


def images(n=80):
    """On the grid of the quantiser, and far enough inside the box that no corner of the ball is cut."""
    levels = torch.randint(5, LEVELS - 5, (n, 1, 6, 6), generator=torch.Generator().manual_seed(1))
    return levels / LEVELS


def closed_form(net, x, y):
    """How many examples no perturbation within Linf eps breaks: the margin less eps times the slope's L1."""
    weight = net[1].weight
    slope = (weight[1 - y] - weight[y]).abs().sum(1)
    reached = margin(net(x), y) + EPS * slope
    assert reached.abs().min() > 1e-4, "no example sits on the boundary"
    return int((reached < 0).sum())


def arena(deployed, numerics=PLAIN, classes=2, others=None):
    return Arena(deployed, BUDGET, classes, others or {}, numerics, Batches(64), seed=0)


def left(deployed, attack, knowledge=WHITE_BOX, numerics=PLAIN, x=None, seed=0):
    """The cell, of images that the classifier gets right when nothing is done to them."""
    x = images() if x is None else x
    y = (deployed.classifier or deployed.predict)(x).argmax(1)
    return play(
        arena(deployed, numerics), Trial("it", attack, knowledge), Chunk(0, x, y, torch.arange(len(x))), seed
    )


STEPS = PGD(steps=20, step_size=Fraction(1, 4), loss="margin")


def test_a_quantiser_hides_from_gradients_and_not_from_bpda():
    deployed = purified(Quantise())
    x = images()
    y = deployed.classifier(x).argmax(1)
    known = closed_form(deployed.classifier, x, y)
    assert known < len(x) // 2, "there is something to break"
    blocked = left(deployed, STEPS)
    assert blocked.flat_gradients == len(x), "rounding has no gradient"
    past = left(deployed, STEPS, WHITE_BOX_BPDA)
    assert past.flat_gradients == 0
    assert int(past.outcomes.robust.sum()) == known < int(blocked.outcomes.robust.sum())


def test_bpda_answers_exactly_as_the_defense_and_slopes_as_its_classifier():
    deployed = purified(Quantise())
    x = torch.rand(16, 1, 6, 6, requires_grad=True)
    climbed = passing_over(deployed)
    assert isinstance(climbed, StraightThrough)
    assert torch.equal(climbed(x), deployed.predict(x))
    (gradient,) = torch.autograd.grad(climbed(x)[:, 0].sum(), x)
    expected = deployed.classifier[1].weight[0].reshape(1, 6, 6).expand_as(x)
    assert torch.equal(gradient, expected)


def test_a_stand_in_that_is_stated_is_what_bpda_climbs():
    stand_in = linear(5)
    assert passing_over(purified(Quantise(), attackable=stand_in)) is stand_in
    assert passing_over(Deployed(linear(), attackable=stand_in)) is stand_in


@pytest.mark.parametrize("deployed", [Deployed(linear()), purified(nn.Identity())])
def test_without_a_purifier_there_is_nothing_to_pass_over(deployed):
    assert passing_over(deployed) is None
    with pytest.raises(AccessDenied, match="neither an attackable nor a purifier"):
        Access(deployed, WHITE_BOX_BPDA, {}, PLAIN)
    assert "nothing is done to the images" in why_skipped(Trial("it", STEPS, WHITE_BOX_BPDA), arena(deployed))


def test_a_purifier_that_is_not_stated_is_told():
    hidden = Deployed(nn.Sequential(Quantise(), linear()), classifier=linear())
    reason = why_skipped(Trial("it", STEPS, WHITE_BOX_BPDA), arena(hidden))
    assert reason == "the defense states neither its purifier and classifier nor an attackable stand-in"


def test_bpda_climbs_the_victim_so_successes_are_known_at_once_and_limits_do_not_apply():
    access = Access(purified(Quantise()), WHITE_BOX_BPDA, {}, PLAIN)
    assert access.climbs_victim and access.knows_victim and access.limit is None
    cell = left(purified(Quantise()), STEPS, WHITE_BOX_BPDA)
    fallen = ~cell.outcomes.robust
    assert (cell.outcomes.first_success[fallen] > 0).all()
    assert cell.outcomes.forwards[fallen].max() < 20 == cell.outcomes.forwards[~fallen].min()


def test_folding_does_not_change_what_bpda_climbs():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)
    ).eval()
    net[1].running_mean.normal_()
    deployed, x, y = purified(Quantise(), net), images(8), torch.zeros(8, dtype=torch.int64)
    plain = Access(deployed, WHITE_BOX_BPDA, {}, PLAIN).gradients(cross_entropy, x, (y,))
    fast = Access(deployed, WHITE_BOX_BPDA, {}, Numerics()).gradients(cross_entropy, x, (y,))
    assert plain[0].abs().sum() > 0
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(plain, fast, strict=True))


def test_the_authors_number_of_samples_counts_unless_the_user_chose_one():
    noisy = Deployed(linear(), randomized=True, eot_samples=40)
    assert samples_of(noisy, Numerics()) == 40
    assert samples_of(noisy, Numerics(eot_samples=3)) == 3
    assert samples_of(Deployed(linear(), randomized=True), Numerics()) == 20
    assert samples_of(Deployed(linear(), eot_samples=40), Numerics()) == 1, "nothing is random"
    x, y = images(4), torch.zeros(4, dtype=torch.int64)
    for knowledge in (WHITE_BOX, WHITE_BOX_BPDA):
        deployed = purified(Noise(0.01), randomized=True, eot_samples=7)
        ledger, batches = Ledger(x, y, 2), Batches(8)
        access = Access(deployed, knowledge, {}, PLAIN)
        MeteredOracle(access, Referee(deployed, BUDGET, batches), ledger, batches).climb(margin, x, y)
        assert ledger.backwards.tolist() == [7] * 4


class Kinked(nn.Module):
    """Noise in front of a steep wall: one sample's gradient is almost pure noise, their mean is not."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        signs = torch.randn_like(x)
        return self.net(x) + 0.3 * (signs * (x - x.detach())).flatten(1).sum(1, keepdim=True) * torch.tensor(
            [1.0, -1.0]
        )


def test_the_mean_of_many_samples_finds_what_one_sample_misses():
    net = linear()
    deployed = Deployed(Kinked(net), randomized=True)
    x = images()
    y = net(x).argmax(1)
    attack = PGD(steps=4, step_size=Fraction(1, 4), loss="margin", random_start=False)
    one = int(left(deployed, attack, numerics=Numerics(fold=False, eot_samples=1), x=x).outcomes.robust.sum())
    many = int(
        left(deployed, attack, numerics=Numerics(fold=False, eot_samples=60), x=x).outcomes.robust.sum()
    )
    assert closed_form(net, x, y) <= many < one - 5


def test_one_draw_flatters_nobody():
    """Noise flips a fifth of the answers for images near the boundary: a vote of nine nearly none of them."""
    net = linear()
    x = images(400)
    y = net(x).argmax(1)
    near = margin(net(x), y).abs().argsort()[:200]
    x, y = x[near], y[near]
    deployed = purified(Noise(0.25), net, randomized=True)
    torch.manual_seed(0)
    once = float((deployed.predict(x).argmax(1) == y).float().mean())
    referee = Referee(deployed, BUDGET, Batches(64))
    voted = [float((referee.classify(x) == y).float().mean()) for _ in range(5)]
    assert referee.draws == 9
    assert once < min(voted) and max(voted) - min(voted) < 0.1


def test_features_are_what_the_last_layer_is_given_through_purifiers_and_ensembles():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 5), nn.Tanh())
    one, two = (nn.Sequential(body, nn.Linear(5, 2)) for _ in range(2))

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.members = nn.ModuleList([one, two])

        def forward(self, x):
            return one(x) + two(x)

    x = images(6)
    behind = features_of(nn.Sequential(Quantise(), one), x)
    assert torch.equal(behind.features, body(x)) and torch.equal(behind.logits, one(x))
    assert torch.equal(features_of(Both(), x).features, torch.cat([body(x), body(x)], 1))
    assert lends_features(Both(), 2) and not lends_features(Both(), 3)
    with pytest.raises(TypeError, match="no linear layer gives its logits"):
        features_of(nn.Flatten(), x)
    assert not any(layer._forward_pre_hooks for layer in Both().modules()), "no hook is left behind"


def test_a_network_that_lends_its_features_is_asked_for_them():
    class Own(nn.Module):
        def forward(self, x):
            return self.forward_features(x).logits

        def forward_features(self, x):
            flat = x.flatten(1)
            return Features(flat[:, :2], 3 * flat, (x,))

    assert torch.equal(features_of(Own(), images(2)).features, 3 * images(2).flatten(1))


def test_a_loss_of_features_is_climbed_and_charged_like_any_other():
    net = linear()
    x, guide = images(3), images(3).flip(0).flatten(1)
    ledger, batches = Ledger(x, net(x).argmax(1), 2), Batches(2)
    deployed = Deployed(net)
    asked = MeteredOracle(
        Access(deployed, WHITE_BOX, {}, PLAIN), Referee(deployed, BUDGET, batches), ledger, batches
    )
    climb = asked.climb(Resemblance(), x, guide)
    expected = 2 * (guide - x.flatten(1)) / PIXELS  # of minus the mean squared distance
    assert torch.allclose(climb.gradient.flatten(1), expected, atol=1e-6)
    assert torch.allclose(climb.logits, net(x))
    assert torch.equal(asked.features(x), x.flatten(1))
    assert ledger.forwards.tolist() == [2] * 3 and ledger.backwards.tolist() == [1] * 3
    with pytest.raises(AccessDenied):
        Access(deployed, SCORES, {}, PLAIN).features(x)


def test_what_lends_no_features_is_skipped_with_the_reason():
    class Mean(nn.Module):
        def forward(self, x):
            return torch.stack([x.flatten(1).mean(1), 1 - x.flatten(1).mean(1)], 1)

    trial = Trial("it", FeatureMatching(), WHITE_BOX)
    assert "Mean lends no features" in why_skipped(trial, arena(Deployed(Mean())))
    assert why_skipped(trial, arena(Deployed(linear()))) is None


def traits_of(deployed, attack, knowledge, climbed=True, numerics=PLAIN):
    found = answered_by(Trial("it", attack, knowledge), arena(deployed, numerics), climbed)
    return {trait.value for trait in found}


OWN = Restarts(PGD(loss="adaptive"), times=2)


@pytest.mark.parametrize(
    ("deployed", "attack", "knowledge", "answered"),
    [
        (Deployed(linear()), PGD(), WHITE_BOX, set()),
        (purified(Quantise()), PGD(), WHITE_BOX, set()),
        (purified(Quantise()), PGD(), WHITE_BOX_BPDA, {"preprocessing"}),
        (purified(Quantise()), PGD(), GRAY_BOX_CLASSIFIER, set()),
        (
            purified(Quantise(), attackable=linear()),
            PGD(),
            WHITE_BOX,
            {"preprocessing", "non-differentiable"},
        ),
        (purified(Quantise(), adaptive_loss=lambda x, y: x), OWN, WHITE_BOX, {"preprocessing"}),
        (Deployed(linear(), randomized=True), PGD(), WHITE_BOX, {"randomized"}),
        (Deployed(linear(), declared=(Trait.NON_DIFFERENTIABLE,)), Square(), SCORES, {"non-differentiable"}),
        (Deployed(linear(), declared=(Trait.ENSEMBLE,)), PGD(), WHITE_BOX, {"ensemble"}),
        (Deployed(linear(), declared=(Trait.ENSEMBLE,)), Square(), SCORES, set()),
        (Deployed(linear(), detector=lambda x: x.any()), PGD(), WHITE_BOX, set()),
    ],
)
def test_which_traits_a_trial_answers(deployed, attack, knowledge, answered):
    assert traits_of(deployed, attack, knowledge) == answered


def test_no_gradients_and_a_single_sample_answer_no_randomness():
    noisy = Deployed(linear(), randomized=True)
    assert traits_of(noisy, PGD(), WHITE_BOX, climbed=False) == set()
    assert traits_of(noisy, PGD(), WHITE_BOX, numerics=Numerics(eot_samples=1)) == set()


@pytest.mark.parametrize(
    ("attack", "knowledge", "reason"),
    [
        (PGD(), GRAY_BOX_TWIN, "nobody trained a twin"),
        (PGD(), GRAY_BOX_CLASSIFIER, "nothing around it is hidden"),
        (PGD(loss="adaptive"), WHITE_BOX, "no adaptive loss"),
        (OWN, WHITE_BOX, "no adaptive loss"),
    ],
)
def test_what_does_not_apply_says_why(attack, knowledge, reason):
    assert reason in why_skipped(Trial("it", attack, knowledge), arena(Deployed(linear())))
