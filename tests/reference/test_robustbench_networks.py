"""Our networks against RobustBench's, weight by weight and logit by logit."""

import importlib.util
from pathlib import Path

import pytest
import torch

from bench.nn.preact_resnet import PreActResNet
from bench.nn.resnet import ResNet
from bench.nn.wide_resnet import WideResNet

SHAPE, MEAN, STD = (3, 32, 32), (0.0,) * 3, (1.0,) * 3  # theirs normalise outside, or not at all


def theirs(name):
    """One of RobustBench's files of architectures, without its package and all that it imports."""
    package = importlib.util.find_spec("robustbench")  # finds the folder, runs nothing
    folder = Path(package.submodule_search_locations[0]) / "model_zoo" / "architectures"
    spec = importlib.util.spec_from_file_location(f"theirs_{name}", folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RESNET, WIDE = theirs("resnet"), theirs("wide_resnet")


PAIRS = {
    "resnet18": (RESNET.ResNet18, lambda: ResNet(SHAPE, 10, MEAN, STD)),
    "preact_resnet18 of Rice et al.": (
        lambda: RESNET.PreActResNet(RESNET.PreActBlock, [2, 2, 2, 2], bn_before_fc=True, out_shortcut=True),
        lambda: PreActResNet(SHAPE, 10, MEAN, STD),
    ),
    "preact_resnet18 without a last BatchNorm": (
        RESNET.PreActResNet18,
        lambda: PreActResNet(SHAPE, 10, MEAN, STD, bn_before_fc=False, out_shortcut=False),
    ),
    "wide_resnet_28_2": (
        lambda: WIDE.WideResNet(28, 10, 2),
        lambda: WideResNet(SHAPE, 10, MEAN, STD, depth=28, width=2),
    ),
    "wide_resnet_16_2 with sub_block1": (
        lambda: WIDE.WideResNet(16, 10, 2, sub_block1=True),
        lambda: WideResNet(SHAPE, 10, MEAN, STD, depth=16, width=2),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_same_weights_same_logits(name):
    torch.manual_seed(0)
    reference, mine = (build() for build in PAIRS[name])
    with torch.no_grad():  # running statistics and scales as after training
        for module in reference.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
        mine.load_state_dict(reference.state_dict(), strict=True)
        x = torch.rand(4, *SHAPE)
        expected, found = reference.eval()(x), mine.eval()(x)
        assert expected.std() > 1e-3
        assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
        assert torch.equal(mine.forward_features(x).logits, found)


@pytest.mark.parametrize("name", PAIRS)
def test_same_logits_and_statistics_while_training(name):
    torch.manual_seed(0)
    reference, mine = (build() for build in PAIRS[name])
    mine.load_state_dict(reference.state_dict(), strict=True)
    x = torch.rand(8, *SHAPE)
    assert torch.allclose(mine.train()(x), reference.train()(x), rtol=1e-4, atol=1e-4)
    theirs_after = reference.state_dict()
    for key, value in mine.state_dict().items():
        assert torch.allclose(value.float(), theirs_after[key].float(), rtol=1e-4, atol=1e-5), key


def test_the_spread_of_fresh_weights_is_theirs():
    torch.manual_seed(0)
    reference = WIDE.WideResNet(16, 10, 4).state_dict()
    for key, value in WideResNet(SHAPE, 10, MEAN, STD, depth=16, width=4).state_dict().items():
        if value.ndim == 4 and value.numel() > 10_000:
            assert float(value.std()) == pytest.approx(float(reference[key].std()), rel=0.05), key
