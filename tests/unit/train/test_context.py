"""Batches, partners and attacks that a defense is lent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.api import Batch
from bench.attacks.fgsm import FGSM
from bench.attacks.pgd import PGD
from bench.data.dataset import Dataset, Images
from bench.errors import BadData, BadValue
from bench.train.context import TrainContext

Make = Callable[..., TrainContext]


def _equal(one: list[Batch], other: list[Batch]) -> bool:
    return all(torch.equal(a.x, b.x) and torch.equal(a.ids, b.ids) for a, b in zip(one, other, strict=True))


def test_an_epoch_holds_every_image_once_and_its_own_label(
    make_context: Make, make_net: Callable[[], nn.Module], data: Dataset
) -> None:
    context = make_context(make_net(), replace(data, augmentation="none"))
    batches = list(context.epoch(0))
    assert len(context.train) == 257
    assert [len(batch) for batch in batches] == [64] * 4  # and one image alone is left out
    ids = torch.cat([batch.ids for batch in batches])
    assert len(ids.unique()) == len(ids)
    for batch in batches:
        x, y = data.train.batch(batch.ids)
        assert torch.equal(batch.x, x) and torch.equal(batch.y, y)


@pytest.mark.parametrize(("n", "sizes"), [(128, [64, 64]), (129, [64, 64]), (130, [64, 64, 2]), (63, [63])])
def test_only_a_last_batch_of_one_is_left_out(
    make_context: Make, make_net: Callable[[], nn.Module], data: Dataset, n: int, sizes: list[int]
) -> None:
    context = make_context(make_net(), replace(data, train=data.train.take(torch.arange(n))))
    assert [len(batch) for batch in context.epoch(0)] == sizes
    assert context.batches == len(sizes)


def test_an_epoch_depends_on_its_number_alone(make_context: Make, make_net: Callable[[], nn.Module]) -> None:
    context = make_context(make_net())
    first, second = list(context.epoch(0)), list(context.epoch(1))
    assert not _equal(first, second)
    torch.rand(7)
    again = make_context(make_net())
    assert _equal(list(again.epoch(1)), second) and _equal(list(again.epoch(0)), first)
    drawn = torch.rand(3)
    list(context.epoch(0))
    assert torch.equal(torch.rand(3), drawn), "dropout's stream starts with the epoch, too"


def test_replayed_minibatches_come_in_a_row_and_the_next_epoch_goes_on_with_others(
    make_context: Make, make_net: Callable[[], nn.Module], data: Dataset
) -> None:
    few = replace(data, train=data.train.take(torch.arange(40)))
    context = make_context(make_net(), few, batch_size=8)
    epochs = [list(context.epoch(number, 2)) for number in range(5)]
    assert all(len(epoch) == 5 for epoch in epochs), "as many steps as ever"
    for epoch in epochs:
        assert _equal(epoch[0:4:2], epoch[1:4:2]) and not torch.equal(epoch[1].ids, epoch[2].ids)
    seen = torch.cat([batch.ids for epoch in epochs for batch in epoch[::2]])
    assert seen.bincount().tolist() == [3] * 40, "three turns through all images"
    assert _equal(list(context.epoch(3, 2)), epochs[3]), "an epoch depends on nothing before it"


def test_of_each_batch_a_share_is_extra_images(
    make_context: Make, make_net: Callable[[], nn.Module], data: Dataset
) -> None:
    """As in the released code of Wang et al.: int(B * share) of them, as many batches as without."""
    more = Images(torch.full((30, 1, 8, 8), 255, dtype=torch.uint8), torch.full((30,), 2), torch.arange(30))
    plain = replace(data, augmentation="none", train=data.train.take(torch.arange(100)))
    context = make_context(make_net(), replace(plain, extra=more, extra_share=0.7), batch_size=16)
    batches = list(context.epoch(0))
    assert [len(batch) for batch in batches] == [16] * 7, "100 / 16, the last one filled up"
    for batch in batches:
        extra = batch.ids >= 100
        assert int(extra.sum()) == 11
        assert batch.x[extra].eq(1).all() and batch.y[extra].eq(2).all()
        x, y = plain.train.batch(batch.ids[~extra])
        assert torch.equal(batch.x[~extra], x) and torch.equal(batch.y[~extra], y)
    own = torch.cat([batch.ids[batch.ids < 100] for batch in batches])
    assert len(own.unique()) == len(own) == 35, "without replacement"
    assert any(not (batch.ids[:5] < 100).all() for batch in batches), "in no order"
    assert _equal(batches, list(context.epoch(0)))
    assert not set(context.draw(50).ids.tolist()) - set(range(100)), "partners are the data set's own"


def test_only_one_thing_goes_around_training_steps(
    make_context: Make, make_net: Callable[[], nn.Module]
) -> None:
    class Wraps:
        terms = after_backward = after_step = None

    context = make_context(make_net())
    context.around(Wraps())  # type: ignore[arg-type]
    with pytest.raises(BadValue, match="Wraps would go around training steps that Wraps goes around already"):
        context.around(Wraps())  # type: ignore[arg-type]


def test_augmentation_moves_images(
    make_context: Make, make_net: Callable[[], nn.Module], data: Dataset
) -> None:
    batch = next(iter(make_context(make_net()).epoch(0)))
    x, _ = data.train.batch(batch.ids)
    assert batch.x.shape == x.shape and not torch.equal(batch.x, x)


def test_partners_are_uniform_within_their_class(
    make_context: Make, make_net: Callable[[], nn.Module], data: Dataset
) -> None:
    rows = torch.cat([(data.train.y == label).nonzero().flatten()[: 2 + label] for label in (2, 0, 1)])
    few = replace(data, train=data.train.take(rows), augmentation="none")
    context = make_context(make_net(), few)
    labels = torch.tensor([2, 0, 1, 2]).repeat(2000)
    batch = context.like(labels)
    assert torch.equal(batch.y, labels) and torch.equal(few.train.y[batch.ids], labels)
    assert torch.equal(batch.x, few.train.batch(batch.ids)[0])
    for label, count, drawn in ((0, 2, 2000), (1, 3, 2000), (2, 4, 4000)):
        times = torch.bincount(batch.ids[labels == label], minlength=len(rows)).float()
        chosen = times[times > 0]
        assert len(chosen) == count
        chi_square = ((chosen - drawn / count) ** 2 / (drawn / count)).sum()
        assert chi_square < 20  # 3 degrees of freedom: p < 0.0002
    assert not torch.equal(context.like(labels).ids, batch.ids)


def test_a_class_without_images_is_named(
    make_context: Make, make_net: Callable[[], nn.Module], data: Dataset
) -> None:
    kept = (data.train.y != 1).nonzero().flatten()
    context = make_context(make_net(), replace(data, train=data.train.take(kept)))
    with pytest.raises(BadData, match="no training image of class 1"):
        context.like(torch.tensor([0]))


def test_too_few_images(make_context: Make, make_net: Callable[[], nn.Module], data: Dataset) -> None:
    with pytest.raises(BadData, match="has 1 training images, expected at least 2"):
        make_context(make_net(), replace(data, train=data.train.take(torch.arange(1))))


def test_attacks_stay_in_the_budget_and_leave_modes_alone(
    make_context: Make, make_net: Callable[[], nn.Module]
) -> None:
    net = make_net().train()
    context = make_context(net)
    batch = next(iter(context.epoch(0)))
    x_adv = context.attack(net, PGD(steps=3), batch.x, batch.y)
    moved = (x_adv - batch.x).abs().max()
    assert 0 < moved <= context.budget.radius + 1e-6
    assert x_adv.min() >= 0 and x_adv.max() <= 1
    assert all(module.training for module in net.modules())
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_an_attack_in_train_mode_is_made_by_the_network_as_it_trains(
    make_context: Make, make_net: Callable[[], nn.Module]
) -> None:
    """By hand: one step on the gradient that the batch's statistics give; nothing is folded."""
    net = make_net().train()
    net.dropout.p = 0.0  # type: ignore[assignment]
    batch = next(iter((context := make_context(net)).epoch(0)))
    x = batch.x.clone().requires_grad_()
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    F.cross_entropy(net(x), batch.y, reduction="sum").backward()
    after = {name: buffer.clone() for name, buffer in net.named_buffers()}
    expected = (batch.x + context.budget.radius * x.grad.sign()).clamp(0, 1)  # type: ignore[union-attr]
    for mode, left in (("train", after), ("batch", before), ("eval", before)):
        net.load_state_dict({**net.state_dict(), **before})
        found = context.attack(net, FGSM(), batch.x, batch.y, mode=mode)  # type: ignore[arg-type]
        same = ((found - expected).abs() < 1e-6).float().mean()
        assert same < 0.95 if mode == "eval" else same > 0.999, mode
        assert all(torch.equal(buffer, left[name]) for name, buffer in net.named_buffers()), mode
        assert all(module.training for module in net.modules())


def test_what_is_observed_has_the_mode_that_is_asked_for(
    make_context: Make, make_net: Callable[[], nn.Module]
) -> None:
    net = make_net().train()
    net.dropout.p = 0.0  # type: ignore[assignment]
    batch = next(iter((context := make_context(net)).epoch(0)))
    before = [buffer.clone() for buffer in net.buffers()]
    running, still = (context.observe(net, batch.x, mode).logits for mode in ("eval", "batch"))
    assert all(map(torch.equal, before, net.buffers()))
    training = context.observe(net, batch.x, "train").logits
    assert torch.equal(still, training) and not torch.allclose(running, training, atol=1e-2)
    assert not all(map(torch.equal, before, net.buffers()))
    with pytest.raises(BadValue, match="the mode is 'test', expected one of eval, train, batch"):
        context.observe(net, batch.x, "test")  # type: ignore[arg-type]


def test_what_is_observed_is_the_eval_mode_without_gradients(
    make_context: Make, make_net: Callable[[], nn.Module]
) -> None:
    net = make_net().train()
    batch = next(iter((context := make_context(net)).epoch(0)))
    seen = context.observe(net, batch.x)
    assert net.training and not seen.logits.requires_grad and not seen.features.requires_grad
    expected = net.eval().forward_features(batch.x)  # type: ignore[operator]
    assert torch.equal(seen.logits, expected.logits) and torch.equal(seen.feature_map, expected.feature_map)
    plain = context.observe(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), batch.x)
    assert plain.logits.shape == (len(batch), 3) and plain.stages == ()
