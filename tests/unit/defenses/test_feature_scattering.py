"""Feature scattering: transport against closed forms and other solvers, gradients against differences."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from bench.core.encoding import override
from bench.errors import BadValue
from bench.registry import DEFENSES
from defenses.feature_scattering import FeatureScattering, cosine_cost, scattering, transport_plan


def regularised(cost, entropy, iterations=2000):
    """min <T, C> - entropy H(T) over plans of equal masses: scaling vectors in float64."""
    cost = np.asarray(cost, dtype=np.float64)
    n = len(cost)
    kernel, v = np.exp(-cost / entropy), np.ones(n)
    for _ in range(iterations):
        u = 1 / n / (kernel @ v)
        v = 1 / n / (kernel.T @ u)
    plan = u[:, None] * kernel * v
    return plan, float((plan * cost).sum() + entropy * (plan * np.log(plan)).sum())


@pytest.fixture
def cost():
    return torch.rand(20, 20, generator=torch.Generator().manual_seed(0))


def test_two_by_two_has_a_closed_form():
    cost = torch.tensor([[0.1, 0.5], [0.3, 0.4]])
    stays = 0.5 / (1 + math.exp(-(0.5 + 0.3 - 0.1 - 0.4) / (2 * 0.2)))
    plan = transport_plan(cost, 0.2, 100)
    expected = torch.tensor([[stays, 0.5 - stays], [0.5 - stays, stays]])
    assert torch.allclose(plan, expected, atol=1e-6)


@pytest.mark.parametrize("entropy", [0.01, 0.1])
def test_the_plan_is_that_of_scaling_vectors_in_double_precision(cost, entropy):
    expected, _ = regularised(cost.numpy(), entropy)
    found = transport_plan(cost, entropy, 2000)
    assert np.allclose(found.numpy(), expected, atol=1e-5)


def test_with_little_entropy_it_costs_as_much_as_the_best_assignment(cost):
    rows, columns = linear_sum_assignment(cost.numpy())
    best = cost.numpy()[rows, columns].mean()
    for entropy in (0.01, 0.001):
        plan = transport_plan(cost, entropy, 5000)
        above = (plan * cost).sum().item() - best
        assert -1e-4 < above <= entropy * math.log(20), "plans differ in entropy by at most log n"
    assert (plan[rows, columns] > 0.9 / 20).float().mean() > 0.9


def test_marginals_hold(cost):
    plan = transport_plan(cost, 0.01, 500)
    assert torch.allclose(plan.sum(0), torch.full((20,), 1 / 20), atol=1e-6)
    assert torch.allclose(plan.sum(1), torch.full((20,), 1 / 20), atol=1e-4)
    few = transport_plan(cost, 0.01, FeatureScattering().iterations)
    assert torch.allclose(few.sum(0), torch.full((20,), 1 / 20), atol=1e-5) and (few >= 0).all()


def test_it_is_stable_where_a_kernel_would_underflow():
    cost = 2 * torch.rand(30, 30, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert math.exp(-2 / 0.01) < torch.finfo(torch.float32).tiny
    plan = transport_plan(cost, 0.01, 200)
    assert plan.isfinite().all()
    (gradient,) = torch.autograd.grad((plan * cost).sum(), cost)
    assert gradient.isfinite().all()


def test_it_ends_when_the_potentials_change_little(cost):
    early = transport_plan(cost, 0.1, 100, tolerance=0.1)
    assert not torch.equal(early, transport_plan(cost, 0.1, 100))
    few = [number for number in range(1, 100) if torch.equal(early, transport_plan(cost, 0.1, number))]
    assert few and few[0] < 20


def test_the_distance_knows_no_order():
    torch.manual_seed(0)
    z, z_adv = torch.randn(16, 10), torch.randn(16, 10)
    settings = {"entropy": 0.01, "iterations": 500}
    order, other = torch.randperm(16), torch.randperm(16)
    distance = scattering(z_adv, z, **settings)
    shuffled = scattering(z_adv[order], z[other], **settings)
    assert torch.allclose(shuffled, distance[order], atol=1e-5)
    assert scattering(z[order], z, **settings).sum() < 1e-4 < distance.sum(), (
        "the same set, whatever the order"
    )


def test_the_cost_is_a_cosine():
    a = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]])
    b = torch.tensor([[6.0, 8.0], [-1.0, 0.0], [0.0, 2.0]])
    expected = torch.tensor([[0.0, 1.6, 0.2], [0.4, 2.0, 1.0], [1.0, 1.0, 1.0]])
    assert torch.allclose(cosine_cost(a, b), expected, atol=1e-6)


@pytest.mark.parametrize("detach_plan", [False, True])
def test_the_gradient_is_that_of_the_cost_or_with_a_constant_plan_of_the_regularised_distance(detach_plan):
    torch.manual_seed(0)
    z, z_adv = torch.randn(5, 4), torch.randn(5, 4, requires_grad=True)
    settings = {"entropy": 0.1, "iterations": 2000, "detach_plan": detach_plan}
    scattering(z_adv, z, **settings).sum().backward()
    h = 1e-3
    for i, k in ((0, 0), (2, 3), (4, 1)):
        up, down = z_adv.detach().clone(), z_adv.detach().clone()
        up[i, k] += h
        down[i, k] -= h
        values = []
        for moved in (up, down):
            cost = cosine_cost(z.double(), moved.double()).numpy()
            plan, distance = regularised(cost, 0.1)
            values.append(distance if detach_plan else float((plan * cost).sum()))
        assert z_adv.grad[i, k].item() == pytest.approx((values[0] - values[1]) / (2 * h), abs=3e-4)


def test_the_step_scatters_the_batch_within_the_budget(short, attacks):
    short(FeatureScattering(), steps=3)
    assert len(attacks) == 3
    for made in attacks:
        (clean,) = made.labels
        noise = (2 * torch.rand_like(made.x) - 1) * 8 / 255
        with torch.no_grad():
            assert torch.allclose(clean, made.net(made.x), atol=1e-4), "logits of eval mode, and no label"
            distance = [
                scattering(made.net(x), clean, entropy=0.01, iterations=200).sum().item()
                for x in ((made.x + noise).clamp(0, 1), made.x_adv)
            ]
        assert distance[1] > 2 * distance[0]
        assert (made.x_adv - made.x).abs().max() <= 8 / 255 + 1e-6
        assert made.x_adv.min() >= 0 and made.x_adv.max() <= 1


def test_only_adversarial_images_are_trained_on(short, passes):
    assert passes(FeatureScattering()) == (1 + 1 + 1, 0, 1, 1)
    state = short(FeatureScattering(), steps=3).state_dict()
    assert {state[key].item() for key in state if key.endswith("num_batches_tracked")} == {3}


def test_smoothing_leaves_the_true_class_its_half_exactly():
    y = torch.tensor([3])
    ideal = torch.full((1, 10), 0.5 / 9).scatter(1, y[:, None], 0.5).log()
    (least,) = FeatureScattering().terms(ideal, y).values()
    assert least.item() == pytest.approx(math.log(6), abs=1e-6), "the entropy of those labels"
    (plain,) = FeatureScattering(label_smoothing=0).terms(ideal, y).values()
    assert plain.item() == pytest.approx(math.log(2), abs=1e-6)


def test_it_is_registered_with_the_published_figures():
    registered = DEFENSES.get("feature_scattering")
    assert registered == FeatureScattering(0.5, entropy=0.01, iterations=100, tolerance=0.1, steps=1)
    assert registered == FeatureScattering(detach_plan=False, step_size=Fraction(1), clip_start=False)
    assert registered._attack().start == "uniform" and not registered._attack().clip_start


@pytest.mark.parametrize(
    "settings",
    [
        *({"steps": "0"}, {"step_size": "0"}, {"label_smoothing": "1"}),
        *({"entropy": "0"}, {"iterations": "0"}, {"tolerance": "-1"}),
    ],
)
def test_values_out_of_range_are_one_sentence(settings):
    with pytest.raises(BadValue, match=next(iter(settings))):
        override(FeatureScattering(), settings)
