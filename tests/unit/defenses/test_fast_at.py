"""Single-step training: how far each variant moves, and that its overfitting does not go unnoticed."""

from fractions import Fraction
from itertools import count

import pytest
import torch
from torch import nn

import bench.train.loop
from bench.attacks.ascent import Ascent
from bench.attacks.fgsm import FGSM
from bench.attacks.losses import cross_entropy
from bench.core.encoding import override
from bench.core.threat import Budget, Norm
from bench.errors import BadValue, TrainingFailed
from bench.plan import Request, plan_training
from bench.records.store import Store
from bench.registry import DEFENSES
from bench.runner.options import Options
from bench.runner.weights import fit
from bench.train.inner import attack_network
from defenses.fast_at import FGSM_RS, N_FGSM, FastAt, NoisyFGSM

EPS = 8 / 255
BUDGET = Budget(Norm.LINF, Fraction(8, 255))


def attacked(attack, x, seed=0, budget=BUDGET, net=None):
    """Images attacked on a linear classifier of two classes whose gradient has the sign of its weights."""
    torch.manual_seed(0)
    net = net or nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 2))
    y = torch.zeros(len(x), dtype=torch.int64)
    generator = torch.Generator().manual_seed(seed)
    found = attack_network(net, attack, x, y, budget=budget, generator=generator, num_classes=2)
    uphill = (net[1].weight[1] - net[1].weight[0]).sign().view_as(x[0])
    return found, uphill


def test_noisy_fgsm_is_the_noise_and_then_a_step_uphill():
    x = torch.full((64, 3, 8, 8), 0.5)
    x_adv, uphill = attacked(NoisyFGSM(), x)
    noise = x_adv - x - EPS * uphill
    assert noise.abs().max() <= 2 * EPS + 1e-6 and noise.abs().max() > 1.99 * EPS
    assert noise.mean().abs() < 0.02 * EPS
    assert noise.std().item() == pytest.approx(2 * EPS / 3**0.5, rel=0.02), "uniform"
    moved = (x_adv - x).abs().max()
    assert 2.9 * EPS < moved <= 3 * EPS + 1e-6, "not projected to the ball"


def test_noisy_fgsm_stays_in_the_box():
    x = torch.rand(16, 3, 8, 8).round()
    x_adv, _ = attacked(NoisyFGSM(), x)
    assert x_adv.min() == 0 and x_adv.max() == 1
    assert (x_adv - x).abs().max() > 2.5 * EPS


def test_without_noise_it_is_fgsm():
    x = torch.rand(16, 3, 8, 8)
    ours, _ = attacked(NoisyFGSM(noise=Fraction(0)), x)
    assert torch.allclose(ours, attacked(FGSM(), x)[0], atol=1e-6)


def test_under_l2_lengths_add_up_the_same_way():
    x = torch.full((64, 3, 8, 8), 0.5)
    x_adv, _ = attacked(NoisyFGSM(), x, budget=Budget(Norm.L2, Fraction(1, 2)))
    lengths = (x_adv - x).flatten(1).norm(dim=1)
    assert (lengths <= 3 * 0.5 + 1e-5).all() and lengths.max() > 0.5


def test_the_first_step_is_that_of_the_evaluations_fgsm():
    x = torch.rand(16, 3, 8, 8).round()
    rs = FGSM(step_size=Fraction(5, 4), random_start=True)
    assert torch.equal(attacked(FGSM_RS._attack(), x)[0], attacked(rs, x)[0])


def test_the_noise_comes_from_the_generator_alone():
    x = torch.rand(4, 3, 8, 8)
    first, again, other = (attacked(NoisyFGSM(), x, seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(("defense", "farthest"), [(FGSM_RS, 1), (N_FGSM, 3)])
def test_each_variant_trains_on_images_as_far_as_published(defense, farthest, short, attacks):
    short(defense, steps=4)
    assert len(attacks) == 4
    moved = torch.stack([(made.x_adv - made.x).abs().max() for made in attacks]).max().item()
    assert 0.9 * farthest * EPS < moved <= farthest * EPS + 1e-6
    assert all(made.x_adv.min() >= 0 and made.x_adv.max() <= 1 for made in attacks)


def test_fgsm_rs_steps_beyond_the_ball_and_is_projected_back():
    x = torch.full((16, 3, 8, 8), 0.5)
    x_adv, uphill = attacked(FGSM_RS._attack(), x)
    reached = ((x_adv - x) * uphill / EPS).flatten()  # a start in [-1, 1], plus 5/4, at most 1
    assert reached.max().item() == pytest.approx(1, abs=1e-5) and reached.min() >= 0.25 - 1e-4
    assert (reached > 1 - 1e-5).float().mean().item() == pytest.approx(1.25 / 2, abs=0.03)


def test_a_step_costs_two_forwards_and_two_backwards(passes):
    assert passes(FGSM_RS) == passes(N_FGSM) == (2, 0, 1, 1)


@pytest.mark.parametrize("name", ["fast_at", "n_fgsm"])
def test_catastrophic_overfitting_stops_the_training(name, tmp_path, monkeypatch):
    robust = [0.4, 0.42, 0.05, 0.01]
    epoch = count()
    monkeypatch.setattr(bench.train.loop, "validate", lambda *_: (0.8, robust[next(epoch)]))
    spec = plan_training(Request(name, data="synthetic", settings={"recipe": {"epochs": "4"}}))
    with pytest.raises(TrainingFailed, match=r"catastrophic overfitting.*42\.0 % in epoch 2"):
        fit(spec, Options(Store(tmp_path), device="cpu"))
    assert list(tmp_path.glob("**/best.safetensors")), "the weights before it are kept"


def test_the_variants_are_registered_with_the_published_figures():
    assert DEFENSES.get("fast_at") == FGSM_RS and DEFENSES.get("n_fgsm") == N_FGSM
    assert FGSM_RS._attack() == Ascent(cross_entropy, 1, Fraction(5, 4), "uniform", clip_start=True)
    assert N_FGSM._attack() == NoisyFGSM(step_size=Fraction(1), noise=Fraction(2))
    typed = override(FGSM_RS, {"variant": "n_fgsm"})
    assert typed == N_FGSM, "the step size follows the variant"
    assert override(N_FGSM, {"step_size": "1/2"})._attack().step_size == Fraction(1, 2)


@pytest.mark.parametrize(
    "settings",
    [{"step_size": "0"}, {"noise": "-1", "variant": "n_fgsm"}, {"variant": "fgsm"}],
)
def test_values_out_of_range_are_one_sentence(settings):
    with pytest.raises(BadValue, match=next(iter(settings))):
        override(FastAt(), settings)
