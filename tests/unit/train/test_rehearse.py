"""A step that runs twice is answered the same, and what surrounds the steps sees each of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.api import Batch, Step, Terms
from bench.attacks.pgd import PGD
from bench.train.context import TrainContext
from bench.train.loop import fit_classifier

Make = Callable[..., TrainContext]
MakeNet = Callable[[], nn.Module]


class Asking:
    """A step that asks for everything, and draws numbers of its own in between."""

    def __init__(self, context: TrainContext) -> None:
        self.context, self.seen = context, list[list[torch.Tensor]]()

    def __call__(self, model: nn.Module, batch: Batch) -> Terms:
        context = self.context
        drawn = [torch.rand(2, generator=context.generator), torch.rand(2)]
        x_adv = context.attack(model, PGD(steps=1), batch.x, batch.y)
        drawn += [torch.rand(2, generator=context.generator), x_adv]
        drawn += [context.like(batch.y).x, context.draw(3).x, context.observe(model, batch.x).logits]
        drawn += [torch.rand(2, generator=context.generator), torch.rand(2)]
        self.seen.append(drawn)
        return {"adversarial": F.cross_entropy(model(x_adv), batch.y)}


@pytest.fixture
def asked(make_context: Make, make_net: MakeNet) -> tuple[TrainContext, nn.Module, Asking, Batch]:
    net = make_net()
    context = make_context(net)
    return context, net, Asking(context), next(iter(context.epoch(0)))


def test_the_second_time_every_answer_and_every_draw_is_the_first(
    asked: tuple[TrainContext, nn.Module, Asking, Batch],
) -> None:
    context, net, step, batch = asked
    first, again = context.rehearse(step, net, batch)
    after = context.generator.get_state()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1)  # the answers are of the weights as they were
    second = again()
    one, other = step.seen
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert torch.equal(context.generator.get_state(), after)
    assert first["adversarial"].item() != second["adversarial"].item(), "the loss is of the weights now"


def test_the_second_time_running_statistics_are_those_that_an_attack_in_train_mode_left(
    make_context: Make, make_net: MakeNet
) -> None:
    """One pass of the step, three of the attack, one that looks; then the step's again."""
    net = make_net().train()
    context, passes = make_context(net), list[int]()
    counter = next(buffer for name, buffer in net.named_buffers() if name.endswith("num_batches_tracked"))

    def step(model: nn.Module, batch: Batch) -> Terms:
        clean = model(batch.x)  # its backward is to come when statistics are put back
        x_adv = context.attack(net, PGD(steps=3), batch.x, batch.y, mode="train")
        context.observe(net, x_adv, "train")
        passes.append(int(counter))
        return {"adversarial": F.cross_entropy(model(x_adv), batch.y) + F.cross_entropy(clean, batch.y)}

    batch = next(iter(context.epoch(0)))
    first, again = context.rehearse(step, net, batch)
    left = [buffer.clone() for buffer in net.buffers()]
    first["adversarial"].backward()
    again()["adversarial"].backward()
    assert passes == [5, 5] and int(counter) == 6
    assert all(map(torch.equal, left, net.buffers()))


def test_without_a_change_the_second_loss_is_the_first_dropout_included(
    asked: tuple[TrainContext, nn.Module, Asking, Batch],
) -> None:
    context, net, step, batch = asked
    net.train()
    first, again = context.rehearse(step, net, batch)
    assert torch.equal(first["adversarial"], again()["adversarial"])


def test_the_second_time_attacks_nothing(
    asked: tuple[TrainContext, nn.Module, Asking, Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, net, step, batch = asked
    _, again = context.rehearse(step, net, batch)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a second attack")

    monkeypatch.setattr(context, "inner_attack", refuse)
    monkeypatch.setattr(context, "_like", refuse)
    again()


def test_what_surrounds_the_steps_sees_each_and_may_change_its_terms(
    make_context: Make, make_net: MakeNet
) -> None:
    net = make_net()
    context = make_context(net, epochs=1)
    order: list[str] = []

    class Doubled:
        def terms(self, net: nn.Module, step: Step, model: nn.Module, batch: Batch) -> Terms:
            order.append("terms")
            return {name: 2 * term for name, term in step(model, batch).items()}

        def after_backward(self, net: nn.Module) -> None:
            order.append("after")
            assert all(weight.grad is not None for weight in net.parameters())
            self.before = [weight.detach().clone() for weight in net.parameters()]

        def after_step(self, net: nn.Module) -> None:
            order.append("moved")
            assert not all(map(torch.equal, self.before, net.parameters()))

    def clean(model: nn.Module, batch: Batch) -> Terms:
        order.append("step")
        return {"clean": F.cross_entropy(model(batch.x), batch.y)}

    context.around(Doubled())
    fit_classifier(net, context, clean)
    assert order == ["terms", "step", "after", "moved"] * context.batches
    assert float(context.history[0]["loss"] or 0) > 1.2, "twice the loss of three classes"
