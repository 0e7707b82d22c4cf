"""Suites meet the exact truth: of mixed integer programs, and of complete verifiers where their files are."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from torch import nn

ROOT = Path(__file__).parents[2]
VERIFIED = ROOT.parent / "shared" / "truth"


@pytest.fixture(scope="module")
def exact():
    """The programs, in the folder `benchmarks`, which is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        yield import_module("benchmarks.exact")


@pytest.fixture(scope="module")
def known(exact):
    """The networks whose truth is known."""
    return import_module("benchmarks.truth")


@pytest.fixture(scope="module")
def wanted(known):
    """Two of them, of which one has no gradient of cross-entropy."""
    return list(known.solved(20, (0.02,), ((24,),)))


def test_the_largest_margin_of_a_linear_network_is_its_closed_form(exact, known):
    """A linear classifier is broken if and only if eps |w_t - w_y|_1 exceeds a margin; the box is far."""
    x, y = known.digits()
    x = 0.4 + 0.2 * x[:40]
    network = exact.tiny(x, y[:40], (), seed=0)
    weight, bias = exact.layers_of(network)[0].weight, exact.layers_of(network)[0].bias
    for eps in (0.001, 0.01, 0.05, 0.2):
        for image, label, found in zip(x, y, exact.truths(network, x, y[:40].tolist(), eps), strict=False):
            gaps = (weight - weight[label]) @ image + bias - bias[label]
            most = np.delete(gaps + eps * np.abs(weight - weight[label]).sum(axis=1), label).max()
            assert found == ("breakable" if most > exact.CLOSE else "robust"), most


def test_a_hidden_layer_is_solved_as_a_grid_finds(exact):
    """Two pixels, six neurons: a million images, one after the other."""
    random = np.random.default_rng(3)
    axis = np.linspace(-1, 1, 1001)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    seen = set()
    for _ in range(12):
        x, y = random.uniform(0.3, 0.7, (200, 2)), random.integers(0, 3, 200)
        network, eps = exact.tiny(x, y, (6,), seed=int(random.integers(99))), 0.15
        hidden, last = exact.layers_of(network)
        images = x[0] + eps * grid
        logits = np.maximum(images @ hidden.weight.T + hidden.bias, 0) @ last.weight.T + last.bias
        label = int(logits[len(grid) // 2].argmax())
        apart = (logits - logits[:, label : label + 1])[:, np.arange(3) != label].max()
        if abs(apart) > 0.01:  # a grid is not exact
            seen.add(expected := "breakable" if apart > 0 else "robust")
            assert exact.truth([hidden, last], x[0], label, eps) == expected
    assert len(seen) == 2, "or nothing is tried"


@pytest.mark.parametrize("suite", ["fast", "whitebox"])
def test_suites_break_what_can_be_broken_and_nothing_else(wanted, suite):
    """Also where the gradient of cross-entropy is zero; weights are multiples of 1/64 on every processor."""
    assert len(wanted) == 2 and all({"robust", "breakable"} <= set(one.truth) for one in wanted)
    for one in wanted:
        wrong, left = one.wrong(one.judged(0, suite))
        assert not len(wrong) and not len(left), (one.name, wrong, left)


def test_who_breaks_what_is_proved_robust_is_told(wanted):
    one = wanted[0]
    wrong, left = one.wrong(np.zeros(len(one.y), dtype=bool))
    assert len(wrong) == one.truth.count("robust") > 0 and not len(left)
    wrong, left = one.wrong(np.ones(len(one.y), dtype=bool))
    assert not len(wrong) and len(left) == one.truth.count("breakable") > 0


def test_another_network_has_no_such_program(exact):
    with pytest.raises(ValueError, match="linear layers with a ReLU"):
        exact.layers_of(nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)))


@pytest.mark.slow
@pytest.mark.skipif(not VERIFIED.is_dir(), reason="no verified networks beside the checkout")
def test_every_counterexample_that_verifiers_know_is_found_and_no_proof_is_broken(known):
    for one in known.verified(VERIFIED):
        wrong, left = one.wrong(one.judged(0))
        assert not len(wrong), f"{one.name} at {one.eps}: images {wrong} are proved robust"
        print(f"{one.name} at {one.eps}: {one.truth.count('breakable')} to break, left {left}")
        assert not len(left), f"{one.name} at {one.eps}: images {left} can be broken"
