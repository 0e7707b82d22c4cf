"""The loop does what its recipe says, and stops where nothing can be learnt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from bench.api import Batch, FeatureNetwork, Terms
from bench.attacks.pgd import PGD
from bench.core.progress import Silent
from bench.data.load import load
from bench.errors import BadValue, TrainingFailed
from bench.train.checkpoints import load_weights
from bench.train.context import TrainContext
from bench.train.loop import fit_classifier
from bench.train.validate import validate

Make = Callable[..., TrainContext]
MakeNet = Callable[[], nn.Module]


def _clean(model: nn.Module, batch: Batch) -> Terms:
    return {"clean": F.cross_entropy(model(batch.x), batch.y)}


def _by_hand(net: nn.Module, context: TrainContext, optimizer: torch.optim.Optimizer, clip: float) -> None:
    """Plain torch: the same batches, the same loss, torch's own optimizer, schedule and clipping."""
    net.train()
    total = context.recipe.epochs * context.batches
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    for epoch in range(context.recipe.epochs):
        for batch in context.epoch(epoch):
            optimizer.zero_grad()
            F.cross_entropy(net(batch.x), batch.y).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
            optimizer.step()
            scheduler.step()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_as_a_loop_written_in_plain_torch(
    make_context: Make, make_net: MakeNet, tmp_path: Path, optimizer: str
) -> None:
    settings: dict[str, Any] = {
        "optimizer": optimizer,
        "schedule": "cosine",
        "clip_norm": 0.05,
        "weight_decay": 1e-3,
        "nesterov": optimizer == "sgd",
        "ema_decay": 0.0,
        "select": "last",
    }
    net, other = make_net(), make_net()
    fit_classifier(net, make_context(net, **settings), _clean)
    theirs: torch.optim.Optimizer = (
        torch.optim.SGD(other.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=1e-3)
        if optimizer == "sgd"
        else torch.optim.Adam(other.parameters(), 0.05, weight_decay=1e-3)
    )
    context = make_context(other, folder=tmp_path / "other", **settings)
    _by_hand(other, context, theirs, 0.05)
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(tensor, other.state_dict()[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("decayed", ["all", "kernels"])
def test_weight_decay_acts_on_what_the_recipe_names(
    make_context: Make, make_net: MakeNet, decayed: str, optimizer: str
) -> None:
    """Without a gradient of its own a weight moves by its decay alone."""
    net = make_net()
    before = {name: weight.detach().clone() for name, weight in net.named_parameters()}
    settings: dict[str, Any] = {"epochs": 1, "weight_decay": 0.1, "ema_decay": 0.0, "select": "last"}

    def step(model: nn.Module, batch: Batch) -> Terms:
        return {"clean": 0 * model(batch.x).sum()}

    fit_classifier(net, make_context(net, decayed=decayed, optimizer=optimizer, **settings), step)
    moved = {name for name, weight in net.named_parameters() if not torch.equal(weight, before[name])}
    kernels = {"conv.weight", "linear.weight"}
    some = {name for name, weight in before.items() if weight.abs().sum() > 0}
    assert moved == (some if decayed == "all" else kernels)


def test_clipping_bounds_the_first_step(make_context: Make, make_net: MakeNet) -> None:
    net = make_net()
    before = nn.utils.parameters_to_vector(net.parameters()).detach().clone()
    moved: list[float] = []

    def step(model: nn.Module, batch: Batch) -> Terms:
        now = nn.utils.parameters_to_vector(net.parameters()).detach()
        moved.append(float((now - before).norm()))
        return {"clean": 1000 * F.cross_entropy(model(batch.x), batch.y)}

    settings = {"clip_norm": 0.2, "weight_decay": 0.0, "schedule": "constant", "momentum": 0.0, "epochs": 1}
    fit_classifier(net, make_context(net, **settings), step)
    assert moved[1] == pytest.approx(0.2 * 0.05, rel=1e-3)  # norm times learning rate


def test_gradients_reach_every_parameter(make_context: Make, make_net: MakeNet) -> None:
    net, seen = make_net(), []

    def step(model: nn.Module, batch: Batch) -> Terms:
        seen.append([p.grad is not None and bool(p.grad.abs().sum() > 0) for p in net.parameters()])
        x_adv = context.attack(net, PGD(steps=1), batch.x, batch.y)
        return {"adversarial": F.cross_entropy(model(x_adv), batch.y)}

    context = make_context(net, epochs=1)
    fit_classifier(net, context, step)
    assert all(all(reached) for reached in seen[1:])


def test_the_model_of_a_step_lends_what_its_network_lends(
    make_context: Make, make_net: MakeNet, tmp_path: Path
) -> None:
    net = make_net()
    found: list[nn.Module] = []

    def step(model: nn.Module, batch: Batch) -> Terms:
        found.append(model)
        lent = model.forward_features(batch.x)  # type: ignore[operator]
        assert lent.logits.dtype == lent.feature_map.dtype == torch.float32
        return {"clean": F.cross_entropy(lent.logits, batch.y)}

    fit_classifier(net, make_context(net, epochs=1, precision="bf16", channels_last=True), step)
    assert isinstance(found[0], FeatureNetwork) and found[0].linear is net.linear
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    found.clear()

    def second(model: nn.Module, batch: Batch) -> Terms:
        found.append(model)
        return _clean(model, batch)

    context = make_context(plain, folder=tmp_path / "plain", epochs=1)
    fit_classifier(plain, context, second)
    assert not isinstance(found[0], FeatureNetwork)


def test_the_log_is_the_mean_of_every_term(make_context: Make, make_net: MakeNet, tmp_path: Path) -> None:
    net = make_net()
    losses: list[tuple[float, int]] = []

    def step(model: nn.Module, batch: Batch) -> Terms:
        loss = F.cross_entropy(model(batch.x), batch.y)
        losses.append((loss.item(), len(batch)))
        return {"clean": loss, "half": 0.5 * loss}

    fit_classifier(net, make_context(net, epochs=2), step)
    log = pd.read_csv(tmp_path / "log.csv")
    assert list(log.columns) == [
        *("stage", "epoch", "lr", "clean", "half", "loss"),
        *("clean_accuracy", "robust_accuracy", "images_per_second", "seconds"),
    ]
    assert log["epoch"].tolist() == [1, 2]
    for epoch, part in enumerate((losses[: len(losses) // 2], losses[len(losses) // 2 :])):
        mean = sum(loss * n for loss, n in part) / sum(n for _, n in part)
        assert log["clean"][epoch] == pytest.approx(mean, rel=1e-4)
        assert log["loss"][epoch] == pytest.approx(1.5 * mean, rel=1e-4)
    assert (log["robust_accuracy"] <= log["clean_accuracy"]).all()


def test_a_term_that_some_steps_lack_has_the_mean_of_those_that_have_it(
    make_context: Make, make_net: MakeNet, tmp_path: Path
) -> None:
    net, seen = make_net(), []

    def step(model: nn.Module, batch: Batch) -> Terms:
        seen.append(len(batch))
        terms = {"clean": F.cross_entropy(model(batch.x), batch.y)}
        return terms if len(seen) % 2 else {**terms, "seldom": 3.0 + 0 * terms["clean"]}

    fit_classifier(net, make_context(net, epochs=1, batch_size=100), step)
    assert seen == [100, 100, 57]
    log = pd.read_csv(tmp_path / "log.csv")
    assert log["seldom"][0] == pytest.approx(3.0)
    assert log["loss"][0] == pytest.approx(log["clean"][0] + 3.0 * 100 / 257, rel=1e-5)


@dataclass
class Recording(Silent):
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def start(self, title: str, total: int, unit: str, done: int = 0) -> None:
        self.calls.append(("start", total, unit, done))

    def advance(self, amount: int = 1, **figures: float) -> None:
        self.calls.append(("advance", amount))
        assert figures["loss"] > 0

    def say(self, message: str) -> None:
        self.calls.append(("say", message))

    def finish(self) -> None:
        self.calls.append(("finish",))


def test_progress_counts_every_image(make_context: Make, make_net: MakeNet) -> None:
    net = make_net()
    context = make_context(net, epochs=2)
    context.progress = recording = Recording()
    fit_classifier(net, context, _clean)
    images = sum(len(batch) for batch in context.epoch(0))
    assert images < len(context.train), "a last image alone is left out, and not counted"
    assert recording.calls[0] == ("start", 2 * images, "images", 0)
    assert recording.calls[-1] == ("finish",)
    assert sum(call[1] for call in recording.calls if call[0] == "advance") == 2 * images


def _scripted(
    monkeypatch: pytest.MonkeyPatch, accuracies: list[tuple[float, float]]
) -> list[dict[str, torch.Tensor]]:
    """Validation answers from a list; the weights that it was asked about."""
    asked: list[dict[str, torch.Tensor]] = []

    def validate(judge: nn.Module, context: TrainContext) -> tuple[float, float]:
        asked.append({name: tensor.clone() for name, tensor in judge.state_dict().items()})
        return accuracies[len(asked) - 1]

    monkeypatch.setattr("bench.train.loop.validate", validate)
    return asked


@pytest.mark.parametrize(
    ("attacks", "settings", "keep", "kept"),
    [
        (True, {}, None, 2),  # trained on attacks: the most robust epoch, of two the more accurate
        (False, {}, None, 3),  # trained on clean images: the most accurate
        (True, {}, "clean", 3),
        (False, {}, "robust", 2),
        (True, {}, "last", 4),
        (True, {"select": "last"}, "robust", 4),
    ],
)
def test_the_epoch_that_is_kept(
    make_context: Make,
    make_net: MakeNet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    attacks: bool,
    settings: dict[str, Any],
    keep: Any,
    kept: int,
) -> None:
    asked = _scripted(monkeypatch, [(0.5, 0.3), (0.6, 0.4), (0.8, 0.35), (0.55, 0.4)])
    net = make_net()
    context = make_context(net, epochs=4, **settings)

    def step(model: nn.Module, batch: Batch) -> Terms:
        x = context.attack(net, PGD(steps=1), batch.x, batch.y) if attacks else batch.x
        return {"loss_of_all": F.cross_entropy(model(x), batch.y)}

    fit_classifier(net, context, step, keep=keep)
    assert all(torch.equal(tensor, asked[kept - 1][name]) for name, tensor in net.state_dict().items())
    last = make_net()
    load_weights(tmp_path / "last.safetensors", last)
    assert all(torch.equal(tensor, asked[3][name]) for name, tensor in last.state_dict().items())


@pytest.mark.parametrize(
    ("accuracies", "begins", "kept"),
    [
        # the most accurate epoch is of before the attacks, the most robust one of after
        ([(0.5, 0.02), (0.6, 0.04), (0.9, 0.06), (0.5, 0.3), (0.6, 0.55), (0.55, 0.4)], 4, 5),
        # what a network kept by chance before is no measure, nor is it overfitting to lose it
        ([(0.5, 0.5), (0.7, 0.4), (0.7, 0.1), (0.7, 0.12), (0.7, 0.11)], 3, 4),
        # they come in the last epoch
        ([(0.5, 0.02), (0.9, 0.06), (0.6, 0.3)], 3, 3),
    ],
)
def test_a_defense_that_attacks_after_some_epochs_keeps_the_most_robust_one(
    make_context: Make,
    make_net: MakeNet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    accuracies: list[tuple[float, float]],
    begins: int,
    kept: int,
) -> None:
    asked = _scripted(monkeypatch, accuracies)
    net = make_net()
    context = make_context(net, epochs=len(accuracies), ema_decay=0.0)

    def step(model: nn.Module, batch: Batch) -> Terms:
        now = len(asked) + 1 >= begins
        x = context.attack(net, PGD(steps=1), batch.x, batch.y) if now else batch.x
        if now and len(asked) == begins:  # the file is of the epoch that counts as soon as attacks begin
            load_weights(tmp_path / "best.safetensors", found)
            assert all(torch.equal(tensor, asked[-1][name]) for name, tensor in found.state_dict().items())
        return {"loss_of_all": F.cross_entropy(model(x), batch.y)}

    found = make_net()
    fit_classifier(net, context, step)
    assert context.finished[-1]["epoch"] == kept
    assert all(torch.equal(tensor, asked[kept - 1][name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("stopped", [2, 4])
def test_interrupted_it_keeps_the_same_epoch(
    make_context: Make, make_net: MakeNet, monkeypatch: pytest.MonkeyPatch, stopped: int
) -> None:
    asked = _scripted(monkeypatch, [(0.5, 0.5), (0.7, 0.4), (0.7, 0.1), (0.7, 0.12), (0.7, 0.11)])
    stops = [stopped]

    def step(model: nn.Module, batch: Batch) -> Terms:
        if len(asked) in stops:
            stops.clear()
            raise KeyboardInterrupt
        x = context.attack(net, PGD(steps=1), batch.x, batch.y) if len(asked) >= 2 else batch.x
        return {"loss_of_all": F.cross_entropy(model(x), batch.y)}

    net = make_net()
    context = make_context(net, epochs=5)
    with pytest.raises(KeyboardInterrupt):
        fit_classifier(net, context, step)
    net = make_net()
    context = make_context(net, epochs=5)
    fit_classifier(net, context, step)
    assert len(asked) == 5 and context.finished[-1]["epoch"] == 4
    assert all(torch.equal(tensor, asked[3][name]) for name, tensor in net.state_dict().items())


def test_a_loss_that_leaps_when_attacks_begin_has_not_diverged(
    make_context: Make, make_net: MakeNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _scripted(monkeypatch, [(0.9, 0.0), (0.9, 0.0), (0.5, 0.1), (0.5, 0.2)])

    def step(model: nn.Module, batch: Batch) -> Terms:
        x = context.attack(net, PGD(steps=1), batch.x, batch.y) if len(asked) >= 2 else batch.x
        return {"loss_of_all": F.cross_entropy(model(x), batch.y) + (30.0 if len(asked) >= 2 else 0.0)}

    net = make_net()
    context = make_context(net, epochs=4)
    fit_classifier(net, context, step)
    assert context.finished[-1]["epoch"] == 4


def test_a_training_at_chance_says_so_early_and_at_its_end(
    make_context: Make, make_net: MakeNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _scripted(monkeypatch, [(0.3, 0.3)] * 5)
    net = make_net()
    context = make_context(net, epochs=5)
    context.progress = recording = Recording()

    def step(model: nn.Module, batch: Batch) -> Terms:
        recording.calls.append(("epoch", len(asked) + 1))
        return _clean(model, batch)

    fit_classifier(net, context, step)
    said = [place for place, call in enumerate(recording.calls) if call[0] == "say"]
    assert len(said) == 2
    assert "after epoch 2" in recording.calls[said[0]][1] and "after epoch 5" in recording.calls[said[1]][1]
    assert ("epoch", 3) not in recording.calls[: said[0]]  # before the third


def test_averaged_weights_are_what_is_validated(
    make_context: Make, make_net: MakeNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _scripted(monkeypatch, [(0.5, 0.3)])
    net = make_net()
    mean = [parameter.detach().clone() for parameter in net.parameters()]
    steps = 0

    def follow() -> None:
        nonlocal steps
        steps += 1
        decay = min(0.9, (1 + steps) / (10 + steps))
        for average, parameter in zip(mean, net.parameters(), strict=True):
            average.mul_(decay).add_(parameter.detach(), alpha=1 - decay)

    first = True

    def step(model: nn.Module, batch: Batch) -> Terms:
        nonlocal first
        if not first:
            follow()  # of the step before
        first = False
        return _clean(model, batch)

    context = make_context(net, epochs=1, ema_decay=0.9, select="last")
    grown: dict[str, torch.Tensor] = {}

    def remember(*args: Any, **kwargs: Any) -> None:
        grown.update({name: p.detach().clone() for name, p in net.named_parameters()})

    monkeypatch.setattr(context, "save_log", remember)  # called with the raw weights inside, after the epoch
    monkeypatch.setattr("bench.train.loop._Fitting.finish", lambda self: None)
    fit_classifier(net, context, step)
    follow()
    for (name, parameter), average in zip(net.named_parameters(), mean, strict=True):
        torch.testing.assert_close(asked[0][name], average, atol=1e-6, rtol=1e-5)
        assert torch.equal(grown[name], parameter) and not torch.equal(grown[name], asked[0][name])


def test_catastrophic_overfitting_stops_and_keeps_the_best(
    make_context: Make, make_net: MakeNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _scripted(monkeypatch, [(0.5, 0.3), (0.6, 0.5), (0.7, 0.0), (0.8, 0.0), (0.9, 0.0)])
    net = make_net()
    context = make_context(net, epochs=5)

    def step(model: nn.Module, batch: Batch) -> Terms:
        x_adv = context.attack(net, PGD(steps=1), batch.x, batch.y)
        return {"adversarial": F.cross_entropy(model(x_adv), batch.y)}

    with pytest.raises(TrainingFailed, match=r"50\.0 % in epoch 2 to 0\.0 % in epoch 4"):
        fit_classifier(net, context, step)
    kept = make_net()
    load_weights(tmp_path / "best.safetensors", kept)
    assert all(torch.equal(tensor, asked[1][name]) for name, tensor in kept.state_dict().items())
    again = make_context(make_net(), epochs=5)
    with pytest.raises(TrainingFailed, match="catastrophic"):  # at once, without another epoch
        fit_classifier(again.whole, again, step)
    assert len(asked) == 4


def test_standard_training_never_overfits_catastrophically(
    make_context: Make, make_net: MakeNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _scripted(monkeypatch, [(0.5, 0.5), (0.6, 0.0), (0.7, 0.0), (0.8, 0.0)])
    net = make_net()
    fit_classifier(net, make_context(net, epochs=4), _clean)
    assert len(asked) == 4


def test_a_loss_that_is_not_finite_stops_within_the_epoch(make_context: Make, make_net: MakeNet) -> None:
    net, steps = make_net(), []

    def step(model: nn.Module, batch: Batch) -> Terms:
        steps.append(len(batch))
        bad = float("nan") if len(steps) == 6 else 1.0
        return {"clean": F.cross_entropy(model(batch.x), batch.y), "metric": bad * model(batch.x).mean()}

    with pytest.raises(
        TrainingFailed, match=r"'metric' is not finite within the first \d+ images of epoch 2"
    ):
        fit_classifier(net, make_context(net), step)


def test_divergence_stops(make_context: Make, make_net: MakeNet) -> None:
    net, steps = make_net(), []

    def step(model: nn.Module, batch: Batch) -> Terms:
        steps.append(1)
        return {"clean": F.cross_entropy(model(batch.x), batch.y) + (1e4 if len(steps) > 5 else 0)}

    with pytest.raises(TrainingFailed, match="diverged"):
        fit_classifier(net, make_context(net), step)


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        ({}, "no loss term"),
        ({"loss": torch.tensor(1.0)}, "'loss', which is a column"),
        ({"clean": torch.zeros(3)}, r"'clean' is \[3\], expected a scalar"),
        ({"clean": 1.0}, "'clean' is float, expected a scalar"),
    ],
)
def test_bad_terms_are_explained(make_context: Make, make_net: MakeNet, terms: Any, sentence: str) -> None:
    net = make_net()
    with pytest.raises(BadValue, match=sentence):
        fit_classifier(net, make_context(net), lambda model, batch: terms)


def test_a_frozen_network_cannot_be_trained(make_context: Make, make_net: MakeNet) -> None:
    net = make_net().requires_grad_(False)
    with pytest.raises(BadValue, match="no trainable parameter"):
        fit_classifier(net, make_context(net), _clean)


def test_only_the_harness_s_context_will_do(make_net: MakeNet) -> None:
    with pytest.raises(TypeError, match="context that fit was given"):
        fit_classifier(make_net(), object(), _clean)  # type: ignore[arg-type]


def test_a_part_is_validated_through_its_judge(make_context: Make, make_net: MakeNet, tmp_path: Path) -> None:
    classifier = make_net().eval().requires_grad_(False)
    purifier = nn.Conv2d(1, 1, 3, padding=1)
    judge = nn.Sequential(purifier, classifier)

    def restore(model: nn.Module, batch: Batch) -> Terms:
        return {"restoration": (model(batch.x) - batch.x).square().mean()}

    with pytest.raises(BadValue, match="judge="):
        fit_classifier(purifier, make_context(judge, epochs=1), restore)
    context = make_context(judge, folder=tmp_path / "judged", epochs=1)
    fit_classifier(purifier, context, restore, judge=judge, keep="last")
    assert context.history[-1]["clean_accuracy"] is not None
    assert not classifier.training and not any(p.requires_grad for p in classifier.parameters())


def test_no_validation(make_context: Make, make_net: MakeNet, tmp_path: Path) -> None:
    net = make_net()
    fit_classifier(net, make_context(net, epochs=1, validation_examples=0, select="last"), _clean)
    log = pd.read_csv(tmp_path / "log.csv")
    assert log["clean_accuracy"].isna().all() and log["robust_accuracy"].isna().all()


def test_the_attack_warms_up(make_context: Make, make_net: MakeNet) -> None:
    net, reach = make_net(), []
    context = make_context(net, epochs=2, eps_warmup=0.5)

    def step(model: nn.Module, batch: Batch) -> Terms:
        x_adv = context.attack(net, PGD(steps=4), batch.x, batch.y)
        reach.append(float((x_adv - batch.x).abs().max()) / context.budget.radius)
        return {"adversarial": F.cross_entropy(model(x_adv), batch.y)}

    fit_classifier(net, context, step)
    per_epoch = context.batches
    expected = [(k + 1) / per_epoch for k in range(per_epoch)] + [1.0] * per_epoch
    assert reach == pytest.approx(expected, rel=1e-3)


def test_sorted_data_are_validated_on_all_classes(
    make_context: Make, make_net: MakeNet, tmp_path: Path
) -> None:
    """A network that answers 0 to everything is right on a third, wherever the images of class 0 lie."""
    folder = tmp_path / "sorted"
    for part in ("train", "test"):
        for name in ("a", "b", "c"):
            (folder / part / name).mkdir(parents=True)
            for number in range(100 if part == "train" else 2):
                pixels = torch.full((8, 8), 255 - number, dtype=torch.uint8).numpy()
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")
    context = make_context(make_net(), load(f"folder:{folder}"), validation_examples=12)
    assert validate(_Constant(), context) == (pytest.approx(1 / 3), pytest.approx(1 / 3))


class _Constant(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tensor([1.0, 0.0, 0.0]) + 0 * x.flatten(1).sum(1, keepdim=True)
