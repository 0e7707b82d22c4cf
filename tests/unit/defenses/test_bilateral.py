"""Bilateral training: labels and targets by hand, and that both come from clean images in eval mode."""

import math
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.attacks.ascent import Ascent
from bench.attacks.losses import towards
from bench.core.encoding import override
from bench.errors import BadValue
from bench.registry import DEFENSES
from defenses.bilateral import Bilateral, nearest_boundary

SKEWED = torch.tensor([[0.7, 0.2] + 8 * [0.0125]]).log()


def labels(logits, y, **settings):
    return Bilateral(**settings).labels(logits, torch.tensor([y]))[0].tolist()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_equal_wrong_classes_get_half_of_the_mass():
    expected = [0.5 / 9] * 3 + [0.5] + [0.5 / 9] * 6
    assert labels(torch.zeros(1, 10), 3) == pytest.approx(expected, abs=1e-6)
    sure = torch.zeros(1, 10)
    sure[0, 3] = 12.0
    assert labels(sure, 3) == pytest.approx(expected, abs=1e-4), "however sure the network is"


def test_the_likeliest_wrong_class_gets_least():
    label = labels(SKEWED, 0)
    assert label == pytest.approx([0.5293, 0.0002] + 8 * [0.0588], abs=5e-5)
    gap = math.log(0.2 / 0.0125) + 0.01
    total = 8 * gap + 0.01
    delta = 1 / (1 + 9 * gap / total)
    expected = [1 - delta, delta * 0.01 / total] + 8 * [delta * gap / total]
    assert label == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
def test_labels_are_distributions_whose_true_class_has_mu_times_the_largest_wrong_mass(classes):
    torch.manual_seed(0)
    y = torch.arange(64) % classes
    found = Bilateral(mu=4.0).labels(5 * torch.randn(64, classes), y)
    assert torch.allclose(found.sum(1), torch.ones(64), atol=1e-5) and (found > 0).all()
    wrong = found.scatter(1, y[:, None], 0.0).amax(1)
    assert torch.allclose(found.gather(1, y[:, None])[:, 0], 4 * wrong, rtol=1e-4)


def test_a_class_of_probability_zero_stays_finite():
    label = labels(torch.tensor([[200.0, 0.0, -200.0]]), 0)
    assert all(math.isfinite(mass) for mass in label) and sum(label) == pytest.approx(1)


def test_the_most_confusing_target_is_never_the_true_class():
    logits = torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    found = Bilateral().targets(nn.Identity(), logits, torch.tensor([0, 2]), generator())
    assert found.tolist() == [1, 1]
    already_wrong = Bilateral().targets(nn.Identity(), logits, torch.tensor([1, 1]), generator())
    assert already_wrong.tolist() == [0, 2]


def test_random_targets_are_uniform_over_wrong_classes():
    y = torch.arange(4).repeat(3000)
    found = Bilateral(target="random").targets(nn.Identity(), torch.zeros(12000, 4), y, generator())
    assert (found != y).all()
    for label in range(4):
        times = torch.bincount(found[y == label], minlength=4).tolist()
        assert sorted(times)[0] == 0 and min(sorted(times)[1:]) > 900
    again = Bilateral(target="random").targets(nn.Identity(), torch.zeros(12000, 4), y, generator())
    assert torch.equal(found, again)


def test_mosa_by_hand():
    weight = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 4.0]])
    logits, y = torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([0])
    assert nearest_boundary(logits, y, weight).tolist() == [2], "2 / 4 is less than 1 / 1"
    assert nearest_boundary(logits, y, torch.eye(3)).tolist() == [1], (
        "most confusing, where weights are apart alike"
    )


def test_mosa_ignores_classes_that_the_true_one_does_not_lead():
    weight, y = torch.eye(4), torch.tensor([0])
    ahead = torch.tensor([[1.0, 5.0, 1.0 - 0.5e-4, 0.0]])
    assert nearest_boundary(ahead, y, weight).tolist() == [3]
    assert nearest_boundary(ahead - torch.tensor([0.0, 0.0, 1e-4, 0.0]), y, weight).tolist() == [2]
    farther = torch.diag(torch.tensor([1.0, 1.0, 3.0, 2.0]))
    assert nearest_boundary(torch.tensor([[0.0, 1.0, 2.0, 3.0]]), y, farther).tolist() == [2]


def test_mosa_finds_the_boundary_that_is_nearest_on_a_linear_classifier():
    torch.manual_seed(0)
    net = nn.Linear(6, 5)
    x = torch.randn(40, 6)
    logits = net(x).detach()
    y = logits.argmax(1)
    target = Bilateral(target="mosa").targets(net, logits, y, generator())
    for i in range(len(x)):
        reached = {}
        for k in set(range(5)) - {int(y[i])}:  # walk straight to the boundary of y and k
            normal = net.weight[y[i]] - net.weight[k]
            there = x[i] - normal * (logits[i, y[i]] - logits[i, k]) / normal.square().sum()
            assert (net(there)[y[i]] - net(there)[k]).abs() < 1e-4
            reached[k] = (there - x[i]).norm().item()
        assert int(target[i]) == min(reached, key=reached.get)


def test_the_step_leads_towards_the_target_within_the_budget(short, attacks):
    short(Bilateral(), steps=3)
    assert len(attacks) == 3
    for made in attacks:
        (target,) = made.labels
        with torch.no_grad():
            clean, before, after = (
                made.net(made.x),
                F.cross_entropy(made.net(made.x), target),
                F.cross_entropy(made.net(made.x_adv), target),
            )
        assert after < before, "p_target rises"
        assert (clean.topk(2, dim=1).indices == target[:, None]).any(1).all(), (
            "chosen in eval mode, not train"
        )
        assert (made.x_adv - made.x).abs().max() <= 8 / 255 + 1e-6
        assert made.x_adv.min() >= 0 and made.x_adv.max() <= 1


def test_only_adversarial_images_are_trained_on(short, passes):
    assert passes(Bilateral()) == (1 + 1 + 1, 0, 1, 1)
    state = short(Bilateral(target="mosa"), steps=3).state_dict()
    assert {state[key].item() for key in state if key.endswith("num_batches_tracked")} == {3}


def test_it_is_registered_with_the_published_figures():
    registered = DEFENSES.get("bilateral")
    assert registered == Bilateral(
        target="most_confusing", mu=9.0, gamma=0.01, steps=1, step_size=Fraction(1)
    )
    attack = registered._attack()
    assert attack == Ascent(towards, 1, Fraction(1), "uniform", clip_start=False)


@pytest.mark.parametrize(
    "settings", [{"steps": "0"}, {"mu": "-1"}, {"gamma": "0"}, {"target": "least_likely"}, {"step_size": "0"}]
)
def test_values_out_of_range_are_one_sentence(settings):
    with pytest.raises(BadValue, match=next(iter(settings))):
        override(Bilateral(), settings)
