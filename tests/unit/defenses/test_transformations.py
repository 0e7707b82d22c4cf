"""Input transformations: each against another program or a closed form, and what attackers get of them."""

import io
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.optimize import minimize
from torch import nn

from bench.api import Task, Trait
from bench.attacks.pgd import PGD
from bench.core.encoding import override
from bench.core.threat import Budget, Norm
from bench.errors import BadValue
from bench.evaluate.bypass import passing_over
from bench.plan import parse_defense
from bench.train.inner import attack_network
from defenses.transformations import (
    BitDepth,
    Jpeg,
    RandomResize,
    TotalVariation,
    compressed,
    least_variation,
    quantized,
    resized,
)

TASK = Task("made_up", 10, (1, 8, 8), (0.5,), (0.25,), "small_cnn", Budget(Norm.LINF, Fraction(1, 5)))
BUDGET = TASK.budget


def built(name):
    """A transformation before a network of fresh weights, deployed."""
    defense = parse_defense(name, {}).defense
    torch.manual_seed(0)
    return defense.deploy(defense.build(TASK).eval())


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_what_pillow_writes_and_reads(channels):
    pixels = (torch.arange(channels * 32 * 32).view(channels, 32, 32) * 37 % 256).to(torch.uint8)
    whole = pixels.permute(1, 2, 0).squeeze(-1).numpy()
    file = io.BytesIO()
    Image.fromarray(whole).save(file, format="JPEG", quality=75)
    expected = np.asarray(Image.open(file))
    found = compressed(pixels.float()[None] / 255, 75)[0].permute(1, 2, 0).squeeze(-1).numpy()
    assert np.array_equal(np.rint(found * 255), expected)
    assert np.array_equal(expected, whole) is False, "it loses something"


def test_jpeg_of_other_channels_is_refused_in_a_sentence():
    with pytest.raises(BadValue, match="the images have 2 channels, expected one or three"):
        compressed(torch.rand(1, 2, 8, 8), 75)


def test_bits_by_hand():
    x = torch.tensor([0.0, 0.07, 0.08, 0.5, 1.0])
    assert quantized(x, 3).mul(7).tolist() == pytest.approx([0, 0, 1, 4, 7])  # rint(7 x): 0.49, 0.56, 3.5
    assert len(quantized(torch.linspace(0, 1, 999), 2).unique()) == 4


@pytest.mark.parametrize("lengths", ["pixels", "rows"])
def test_variation_has_the_closed_forms(lengths):
    held = torch.ones(1, 1, 1, 2, dtype=torch.float64)
    step = torch.tensor([[[[0.0, 1.0]]]], dtype=torch.float64)
    near = least_variation(step, held, 0.1, lengths, 500)  # both ends move by lam
    assert near.flatten().tolist() == pytest.approx([0.1, 0.9], abs=1e-6)
    held[..., 1] = 0  # nothing holds the second: it becomes the first
    assert least_variation(step, held, 0.1, lengths, 500).flatten().tolist() == pytest.approx(
        [0, 0], abs=1e-4
    )
    torch.manual_seed(0)
    image = torch.rand(2, 1, 6, 6, dtype=torch.float64)
    whole = least_variation(image, torch.ones_like(image), 50.0, lengths, 3000)
    assert torch.allclose(whole, image.mean((1, 2, 3), keepdim=True).expand_as(image), atol=1e-3)
    assert torch.allclose(least_variation(image, torch.ones_like(image), 0.0, lengths, 300), image, atol=1e-6)


def variation(u, x, held, lam, lengths):
    """The objective, and its smoothed form for a solver that needs slopes."""
    down, right = np.diff(u, axis=0), np.diff(u, axis=1)
    if lengths == "rows":
        parts = [(down**2).sum(1), (right**2).sum(0)]
    else:
        parts = [np.pad(down, ((0, 1), (0, 0))) ** 2 + np.pad(right, ((0, 0), (0, 1))) ** 2]
    return 0.5 * (held * (u - x) ** 2).sum() + lam * sum(np.sqrt(part + 1e-12).sum() for part in parts)


@pytest.mark.parametrize("lengths", ["pixels", "rows"])
def test_variation_is_as_small_as_scipy_can_make_it(lengths):
    torch.manual_seed(1)
    x = torch.rand(1, 1, 5, 5, dtype=torch.float64)
    held = (torch.rand_like(x) < 0.6).double()
    a, w = x[0, 0].numpy(), held[0, 0].numpy()
    ours = variation(least_variation(x, held, 0.05, lengths, 2000)[0, 0].numpy(), a, w, 0.05, lengths)
    best = minimize(lambda u: variation(u.reshape(5, 5), a, w, 0.05, lengths), a.flatten(), method="SLSQP")
    assert ours <= best.fun + 1e-4
    hundred = variation(least_variation(x, held, 0.05, lengths, 100)[0, 0].numpy(), a, w, 0.05, lengths)
    assert hundred <= 1.03 * ours, "what is deployed is near"


def test_gradients_pass_through_the_minimisation():
    torch.manual_seed(0)
    x = torch.rand(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    held = (torch.rand_like(x) < 0.5).double()
    assert torch.autograd.gradcheck(lambda x: least_variation(x, held, 0.05, "pixels", 5), (x,))


def test_a_resized_image_is_torchs_nearest_at_a_random_place():
    x = torch.rand(1, 1, 12, 12).expand(200, -1, -1, -1)
    torch.manual_seed(0)
    moved = resized(x, 0.8, pad=-1.0)
    sides = set()
    for one in moved:
        rows = (one[0] >= 0).any(1).nonzero().flatten()
        columns = (one[0] >= 0).any(0).nonzero().flatten()
        side = len(rows)
        sides.add(side)
        inner = one[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert torch.equal(inner[None], F.interpolate(x[:1], (side, side), mode="nearest"))
    assert sides == {9, 10, 11}, "from 0.8 of 12 to 11"
    places = {
        (int((one[0] >= 0).any(1).nonzero()[0]), int((one[0] >= 0).any(0).nonzero()[0])) for one in moved
    }
    assert len(places) == 16, "0 to 3 in each direction"


@pytest.mark.parametrize("name", ["jpeg", "bit_depth"])
def test_a_naive_attack_finds_no_gradient_and_the_stand_in_has_the_classifiers(name):
    naive, stated = built(f"{name}[gradients=end_to_end]"), built(name)
    assert naive.traits == stated.traits == {Trait.PREPROCESSING, Trait.NON_DIFFERENTIABLE}
    x = torch.rand(4, 1, 8, 8)
    (flat,) = torch.autograd.grad(naive.predict(x.requires_grad_()).sum(), x)
    assert not flat.any()
    (slope,) = torch.autograd.grad(stated.attackable(x).sum(), x)
    at = stated.purifier(x).detach().requires_grad_()
    (own,) = torch.autograd.grad(stated.classifier(at).sum(), at)
    assert torch.allclose(slope, own, atol=1e-6) and own.any()
    assert naive.attackable is None and passing_over(naive) is not None, "the adaptive suite builds its own"
    with torch.no_grad():
        assert torch.allclose(stated.attackable(x), stated.predict(x), atol=1e-6)


@pytest.mark.parametrize("name", ["random_resize", "total_variation"])
def test_random_ones_say_so_and_can_be_climbed(name):
    deployed = built(name)
    assert deployed.traits == {Trait.PREPROCESSING, Trait.RANDOMIZED} and deployed.randomized
    x = torch.rand(4, 1, 8, 8)
    (slope,) = torch.autograd.grad(deployed.predict(x.requires_grad_()).sum(), x)
    assert slope.isfinite().all() and slope.any()
    with torch.no_grad():
        assert not torch.equal(deployed.purifier(x), deployed.purifier(x))


def test_one_before_another_is_passed_over_as_a_whole():
    deployed = built("bit_depth[base=jpeg]")
    x = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        assert torch.allclose(deployed.classifier(deployed.purifier(x)), deployed.predict(x), atol=1e-6)
    adversarial = attack_network(
        deployed.attackable,
        PGD(steps=3),
        x,
        torch.arange(4),
        budget=BUDGET,
        generator=torch.Generator(),
        num_classes=10,
    )
    assert not torch.equal(adversarial, x)


def test_weights_are_the_bases_and_a_base_that_refuses_images_is_refused():
    defense = parse_defense("jpeg[base=pgd_at]", {})
    assert defense.label == "jpeg[base=pgd_at]"
    assert [type(part).__name__ for part in defense.defense.requires.values()] == ["PgdAt"]

    class Refuses(nn.Module):
        def deploy(self, net):
            from bench.api import Deployed

            return Deployed(net, suspicion=lambda x: x.flatten(1).mean(1))

    with pytest.raises(BadValue, match="which refuses images"):
        net = defense.defense.build(TASK)
        Jpeg(base=Refuses()).deploy(net)


@pytest.mark.parametrize(
    "defense, settings",
    [
        (Jpeg(), {"quality": "0"}),
        (BitDepth(), {"bits": "9"}),
        (TotalVariation(), {"keep": "1"}),
        (TotalVariation(), {"lam": "-1"}),
        (RandomResize(), {"smallest": "1"}),
        (RandomResize(), {"pad": "2"}),
    ],
)
def test_values_out_of_range_are_one_sentence(defense, settings):
    with pytest.raises(BadValue, match=next(iter(settings))):
        override(defense, settings)
