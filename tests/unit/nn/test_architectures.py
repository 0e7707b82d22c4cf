from fractions import Fraction

import pytest

from bench.api import Task
from bench.core.threat import Budget, Norm
from bench.errors import BadValue, UnknownName
from bench.nn.architectures import module_of, names, network
from bench.nn.wide_resnet import WideResNet

BUDGET = Budget(Norm.LINF, Fraction(8, 255))


def task(architecture, shape=(3, 32, 32), classes=10):
    mean, std = (0.4,) * shape[0], (0.2,) * shape[0]
    return Task("synthetic", classes, shape, mean, std, architecture, BUDGET)


def test_every_name_leads_to_a_module():
    assert {"small_cnn", "resnet18", "preact_resnet18", "wide_resnet_28_10", "wide_resnet_34_10"} <= set(
        names()
    )
    assert all(module_of(name).startswith("bench.nn.") for name in names())


def test_depth_and_width_are_in_the_name():
    net = network(task("wide_resnet_16_2", classes=7))
    assert isinstance(net, WideResNet)
    assert len(net.block1.layer) == 2  # (16 - 4) / 6
    assert net.fc.in_features == 128 and net.fc.out_features == 7


@pytest.mark.parametrize("name", ["wide_resnet_27_10", "wide_resnet_4_1", "wide_resnet_28_0"])
def test_impossible_sizes_are_refused(name):
    with pytest.raises(BadValue, match=f"{name}.*6n \\+ 4"):
        network(task(name))


@pytest.mark.parametrize(("name", "near"), [("resnet_18", "resnet18"), ("smal_cnn", "small_cnn")])
def test_a_typing_error_gets_a_guess(name, near):
    with pytest.raises(UnknownName, match=f"did you mean '{near}'"):
        module_of(name)


def test_a_class_that_takes_no_sizes_is_refused_too():
    with pytest.raises(BadValue, match="depth 12"):
        WideResNet((3, 32, 32), 10, (0.0,) * 3, (1.0,) * 3, depth=12)


def test_parameter_counts_are_the_published_ones():
    # ResNet-18 for CIFAR: 11,173,962; its pre-activation form: 11,171,146 and the last BatchNorm's 1,024;
    # WRN-16-4: 2,748,890 (2.7 million in Zagoruyko and Komodakis, table 5)
    counts = {
        name: sum(p.numel() for p in network(task(name)).parameters())
        for name in ("resnet18", "preact_resnet18", "wide_resnet_16_4")
    }
    assert counts["resnet18"] == 11_173_962
    assert counts["preact_resnet18"] == 11_171_146 + 1_024
    assert counts["wide_resnet_16_4"] == pytest.approx(2.7e6, rel=0.03)
