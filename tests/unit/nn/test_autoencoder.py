"""The autoencoder: shapes, range, the code, skips, and that it can learn."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.api import FeatureNetwork
from bench.errors import BadValue
from bench.nn.autoencoder import Autoencoder, channel_plan
from bench.nn.fold import Folded, fold


def build(shape, widths=(8, 16), skip=False):
    torch.manual_seed(0)
    return Autoencoder(shape, widths, skip)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("widths", [(8,), (8, 16), (4, 8, 16)])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8), (3, 13, 22), (2, 5, 7), (1, 3, 1)])
def test_output_is_an_image_of_the_same_shape(shape, widths, skip):
    net = build(shape, widths, skip)
    with torch.no_grad():
        for x in (torch.rand(4, *shape), torch.zeros(4, *shape), 100 * torch.randn(4, *shape)):
            out = net(x)
            assert out.shape == x.shape
            assert out.dtype == torch.float32
            assert out.min() >= 0 and out.max() <= 1


@pytest.mark.parametrize(
    ("shape", "code"),
    [((1, 28, 28), (64, 7, 7)), ((3, 32, 32), (128, 4, 4)), ((1, 8, 8), (64, 2, 2))],
)
def test_the_usual_plan_gives_the_usual_codes(shape, code):
    net = build(shape, channel_plan(shape))
    assert net.encode(torch.rand(2, *shape)).shape == (2, *code)


@pytest.mark.parametrize("skip", [False, True])
def test_features_are_of_the_same_pass(skip):
    net = build((1, 28, 28), skip=skip).eval()
    x = torch.rand(3, 1, 28, 28)
    lent = net.forward_features(x)
    assert isinstance(net, FeatureNetwork)
    assert torch.equal(lent.logits, net(x))
    assert torch.equal(lent.stages[-1], net.encode(x))
    assert torch.equal(lent.features, net.encode(x).flatten(1))
    assert [stage.shape[-1] for stage in lent.stages] == [14, 7]


def test_without_skips_nothing_but_the_code_reaches_the_output():
    plain, skipping = build((1, 8, 8)).eval(), build((1, 8, 8), skip=True).eval()
    for net in (plain, skipping):
        net.encoder[1][0].weight.data.zero_()  # the code says nothing about the image any more
    a, b = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8)
    assert torch.equal(plain(a), plain(b))
    assert not torch.allclose(skipping(a), skipping(b))
    assert plain.state_dict().keys() == skipping.state_dict().keys()


def test_padding_repeats_the_border_and_leaves_the_rest():
    odd, even = build((1, 7, 6)).eval(), build((1, 8, 8)).eval()
    even.load_state_dict(odd.state_dict())
    x = torch.rand(2, 1, 7, 6)
    wide = torch.cat([x, x[..., -1:], x[..., -1:]], dim=-1)
    wide = torch.cat([wide, wide[:, :, -1:]], dim=-2)
    assert torch.allclose(odd(x), even(wide)[..., :7, :6], atol=1e-6)
    assert not torch.allclose(odd(x), even(F.pad(x, (0, 2, 0, 1)))[..., :7, :6], atol=1e-5)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 7, 9)])
def test_attacks_can_fold_it_before_a_classifier(shape, skip):
    net = nn.Sequential(build(shape, skip=skip), nn.Flatten(), nn.Linear(shape[1] * shape[2], 3)).eval()
    x = torch.rand(4, *shape)
    folded = fold(net, x[:2])
    assert isinstance(folded, Folded) and folded.pairs == 2
    assert torch.allclose(folded(x), net(x), atol=1e-5)


def test_half_precision_ends_in_float32():
    net = build((1, 8, 8)).eval()
    x = torch.rand(2, 1, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        out = net(x)
    assert out.dtype == torch.float32
    assert torch.allclose(out, net(x), atol=0.05)


def test_reconstruction_improves_on_the_mean_image():
    """A constant answer leaves the variance of the pixels; a working autoencoder leaves far less."""
    net = build((1, 8, 8), (16, 32))
    centre = torch.rand(64, 2, generator=torch.Generator().manual_seed(1)) * 7
    grid = torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij"))
    x = torch.exp(-(grid - centre[:, :, None, None]).square().sum(1) / 4)[:, None]
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        F.mse_loss(net(x), x).backward()
        optimizer.step()
    with torch.no_grad():
        left = F.mse_loss(net.eval()(x), x).item()
    assert left < 0.2 * x.var(dim=0).mean().item()


@pytest.mark.parametrize("widths", [(), (8, 0)])
def test_widths_out_of_range_are_one_sentence(widths):
    with pytest.raises(BadValue, match="expected at least one, each at least 1"):
        Autoencoder((1, 8, 8), widths)
