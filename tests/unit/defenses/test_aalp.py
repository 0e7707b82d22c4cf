"""AALP: what it reduces to, which features its masks keep, how its weights grow, and what its attack sees."""

import math
from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file

from bench.attacks.pgd import PGD
from bench.core.encoding import override
from bench.core.progress import Silent
from bench.data.load import load
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.nn.fold import Folded
from bench.nn.head import head
from bench.registry import DEFENSES
from bench.train.checkpoints import Checkpoints
from bench.train.context import TrainContext
from bench.train.fit import train
from bench.train.inner import attack_network
from bench.train.model import training_model
from bench.train.recipe import Recipe
from defenses import aalp
from defenses.aalp import Aalp, Penultimate, contributions, masked_logits
from defenses.alp import Alp

ONE_EPOCH = Recipe("one", epochs=1, batch_size=64, learning_rate=0.05, validation_examples=0, select="last")
BATCH_NORM = "wide_resnet_10_1"


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def penultimate():
    """Features [6, 20] as after a ReLU, a last layer for 4 classes, its logits and labels."""
    torch.manual_seed(0)
    features, last = torch.randn(6, 20).relu(), torch.nn.Linear(20, 4)
    return features, last, last(features).detach(), torch.tensor([0, 1, 2, 3, 3, 0])


# reductions to ALP


def trained(defense, folder):
    data = load("synthetic")
    train(
        defense,
        data,
        data.task(BATCH_NORM),
        budget=data.budget,
        recipe=ONE_EPOCH,
        seed=0,
        identity="the same for all",
        parents={},
        folder=folder,
        device="cpu",
    )
    return load_file(folder / "last.safetensors")


@pytest.fixture(scope="module")
def trained_alp(tmp_path_factory):
    return trained(Alp(steps=1), tmp_path_factory.mktemp("alp"))


@pytest.mark.parametrize("settings", [{"rho": 1.0}, {"q": 0.0}, {"dropout": "none"}], ids=str)
def test_with_nothing_dropped_and_equal_weights_a_training_is_alps(settings, trained_alp, tmp_path):
    found = trained(Aalp(steps=1, weighting="none", **settings), tmp_path)
    assert all(torch.allclose(found[key], trained_alp[key], rtol=0, atol=1e-7) for key in trained_alp)


@pytest.mark.parametrize("settings", [{"rho": 1.0}, {"weighting": "none"}], ids=["weights", "dropout"])
def test_either_module_alone_changes_the_training(settings, trained_alp, tmp_path):
    found = trained(Aalp(steps=1, **settings), tmp_path)
    assert not all(torch.allclose(found[key], trained_alp[key], rtol=0, atol=1e-5) for key in trained_alp)


@pytest.mark.parametrize("settings", [{"rho": 1.0}, {"q": 0.0}], ids=str)
@pytest.mark.parametrize("dropout", ["guided", "reverse", "random"])
def test_an_idle_mask_is_one_and_gives_alps_loss_and_gradients(dropout, settings, penultimate):
    features, last, logits, y = penultimate
    defense = Aalp(dropout=dropout, weighting="none", **settings)
    mask = defense.mask(features[:3], logits[:3], y[:3], last.weight, generator())
    assert torch.equal(mask, torch.ones(3, 20))
    ours = defense.terms(masked_logits(features, mask, last), y[:3])
    theirs = Alp().terms(*last(features).chunk(2), y[:3])
    assert {name: term.item() for name, term in ours.items()} == pytest.approx(
        {name: term.item() for name, term in theirs.items()}, rel=1e-6
    )
    for a, b in zip(*(gradients(terms, last) for terms in (ours, theirs)), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-7)


def gradients(terms, last):
    return torch.autograd.grad(torch.stack(list(terms.values())).sum(), list(last.parameters()))


def test_gamma_zero_weighs_as_alp():
    clean, adv, y = torch.randn(5, 4), torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 3])
    ours, theirs = Aalp(gamma=0.0).terms(torch.cat([clean, adv]), y), Alp().terms(clean, adv, y)
    assert ours["pairing"].item() == pytest.approx(theirs["pairing"].item(), rel=1e-6)


# contributions and masks


def test_contributions_and_bias_sum_to_the_true_logit(penultimate):
    features, last, logits, y = penultimate
    sums = contributions(features, logits, y, last.weight).sum(1) + last.bias[y]
    assert torch.allclose(sums, logits.gather(1, y[:, None]).squeeze(1), atol=1e-6)


def test_contributions_to_the_margin_sum_to_the_lead_over_the_likeliest_wrong_class(penultimate):
    features, last, logits, y = penultimate
    wrong = logits.clone()
    wrong[torch.arange(6), y] = -1e9
    rival = wrong.argmax(1)
    sums = contributions(features, logits, y, last.weight, "margin").sum(1) + last.bias[y] - last.bias[rival]
    lead = logits[torch.arange(6), y] - wrong.amax(1)
    assert torch.allclose(sums, lead, atol=1e-6)


def test_contributions_by_hand():
    features = torch.tensor([[1.0, 2.0, 3.0]])
    weight = torch.tensor([[1.0, -1.0, 0.5], [2.0, 0.0, 0.0]])
    y, logits = torch.tensor([0]), torch.tensor([[0.5, 2.0]])
    assert contributions(features, logits, y, weight).tolist() == [[1.0, -2.0, 1.5]]
    assert contributions(features, logits, y, weight, "abs").tolist() == [[1.0, 2.0, 1.5]]
    assert contributions(features, logits, y, weight, "margin").tolist() == [[-1.0, -2.0, 1.5]]


STRENGTHS = torch.tensor([[5.0, -1.0, 3.0, 0.0, 2.0], [0.0, 1.0, 2.0, 3.0, 4.0]])
"""Features for which, with a last layer of ones, they are their own contributions."""


def hard_mask(**settings):
    defense = Aalp(q=1.0, **settings)
    return defense.mask(STRENGTHS, torch.zeros(2, 3), torch.tensor([0, 1]), torch.ones(3, 5), generator())


@pytest.mark.parametrize(
    ("rho", "kept"),
    [
        (0.2, [{0}, {4}]),
        (0.4, [{0, 2}, {3, 4}]),
        (0.5, [{0, 2, 4}, {2, 3, 4}]),  # a share of 2.5 features is three
        (0.8, [{0, 2, 3, 4}, {1, 2, 3, 4}]),
    ],
)
def test_guided_dropout_keeps_exactly_the_strongest_share(rho, kept):
    mask = hard_mask(rho=rho)
    assert [set(row.nonzero().flatten().tolist()) for row in mask] == kept
    assert set(mask.unique().tolist()) <= {0.0, 1.0}


def test_the_other_rules_keep_as_many():
    assert [set(row.nonzero().flatten().tolist()) for row in hard_mask(rho=0.4, dropout="reverse")] == [
        {1, 3},
        {0, 1},
    ]
    assert [set(row.nonzero().flatten().tolist()) for row in hard_mask(rho=0.4, contribution="abs")] == [
        {0, 2},
        {3, 4},
    ]
    features = torch.zeros(3000, 5)
    mask = Aalp(q=1.0, rho=0.4, dropout="random").mask(
        features, torch.zeros(3000, 3), torch.zeros(3000, dtype=torch.long), torch.ones(3, 5), generator()
    )
    assert (mask.sum(1) == 2).all()
    assert torch.allclose(mask.mean(0), torch.full((5,), 0.4), atol=0.04)


@pytest.mark.parametrize("dropout", ["guided", "reverse", "random"])
@pytest.mark.parametrize(("rescale", "expected"), [(True, 1.0), (False, 0.25)])
def test_rescaling_preserves_the_expected_activation(dropout, rescale, expected):
    defense = Aalp(rho=0.3, q=0.75, rescale=rescale, dropout=dropout)
    features = torch.arange(10.0).expand(4000, 10)
    masks = defense.mask(
        features, torch.zeros(4000, 2), torch.zeros(4000, dtype=torch.long), torch.ones(2, 10), generator()
    )
    # the three safe ones are kept as they are, the others on average as much as they are scaled
    safe = {"guided": [7, 8, 9], "reverse": [0, 1, 2]}.get(dropout)
    if safe is None:
        assert masks.mean().item() == pytest.approx(0.3 + 0.7 * expected, abs=0.02)
        return
    others = [j for j in range(10) if j not in safe]
    assert (masks[:, safe] == 1).all()
    assert torch.allclose(masks[:, others].mean(0), torch.full((7,), expected), atol=0.12 * expected)


def test_a_mask_is_its_generators_alone_and_has_no_gradient(penultimate):
    features, last, logits, y = penultimate
    features.requires_grad_()
    first, again, other = (
        Aalp().mask(features, logits, y, last.weight, generator(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not first.requires_grad


def test_a_shared_mask_is_laid_on_both_halves(penultimate):
    features, last, _, _ = penultimate
    mask = torch.rand(3, 20)
    by_hand = torch.cat([last(features[:3] * mask), last(features[3:] * mask)])
    assert torch.allclose(masked_logits(features, mask, last), by_hand, atol=1e-6)
    own = torch.rand(6, 20)
    assert torch.allclose(masked_logits(features, own, last), last(features * own), atol=1e-6)


def test_dropped_features_get_no_gradient_and_the_last_layer_does(penultimate):
    features, last, logits, y = penultimate
    features.requires_grad_()
    mask = Aalp(q=1.0).mask(features, logits, y, last.weight, generator())
    masked_logits(features, mask, last).sum().backward()
    assert torch.equal(features.grad == 0, mask == 0)
    assert last.weight.grad.abs().max() > 0


# sample weights

P_CLEAN = torch.tensor([[0.9, 0.05, 0.05], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
P_ADV = torch.tensor([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.4, 0.5]])
Y = torch.tensor([0, 0, 0])


def weights(**settings):
    return Aalp(**settings).sample_weights(P_CLEAN.log(), P_ADV.log(), Y).tolist()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"weighting": "adversarial"}, [0.8, 0.3, 0.1]),
        ({"weighting": "adversarial", "gamma": 2.0}, [0.64, 0.09, 0.01]),
        ({"weighting": "clean"}, [0.9, 0.5, 0.2]),
        ({"weighting": "correct"}, [1.0, 0.0, 0.0]),
        ({"weighting": "loss"}, [1 - math.log(0.8) / math.log(0.1), 1 - math.log(0.3) / math.log(0.1), 0.0]),
        ({"weighting": "none"}, [1.0, 1.0, 1.0]),
    ],
)
def test_weights_by_hand(settings, expected):
    assert weights(normalize_weights=False, **settings) == pytest.approx(expected, abs=1e-6)
    mean = sum(expected) / 3
    assert weights(**settings) == pytest.approx([w / mean for w in expected], abs=1e-5)


@pytest.mark.parametrize("weighting", ["adversarial", "clean", "loss"])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
def test_weights_have_mean_one_and_grow_with_the_true_probability(weighting, gamma):
    p = torch.linspace(0.01, 0.98, 50)
    logits = torch.stack([p, 0.6 * (1 - p), 0.4 * (1 - p)], dim=1).log()
    found = Aalp(weighting=weighting, gamma=gamma).sample_weights(logits, logits, torch.zeros(50).long())
    assert found.mean().item() == pytest.approx(1, abs=1e-5)
    assert (found.diff() > 0).all()


def test_weights_where_all_are_misfit_are_zero():
    found = Aalp(weighting="correct").sample_weights(P_ADV.log(), P_ADV.log(), torch.tensor([1, 1, 0]))
    assert found.tolist() == [0, 3, 0]  # only the second is right
    found = Aalp(weighting="correct").sample_weights(P_ADV.log(), P_ADV.log(), torch.tensor([1, 2, 0]))
    assert found.tolist() == [0, 0, 0]


def test_no_gradient_passes_through_the_weights():
    logits = torch.randn(6, 3, requires_grad=True)
    defense = Aalp()
    terms = defense.terms(logits, Y)
    (found,) = torch.autograd.grad(terms["pairing"], logits)
    clean, adv = logits.chunk(2)
    constant = defense.sample_weights(clean, adv, Y)
    assert not constant.requires_grad
    by_hand = 0.5 * constant[:, None] * 2 * (clean - adv) / (3 * 3)
    assert torch.allclose(found, torch.cat([by_hand, -by_hand]), atol=1e-6)


def test_every_term_by_hand():
    terms = Aalp(weight=0.7).terms(torch.cat([P_CLEAN, P_ADV]).log(), Y)
    squares = (P_CLEAN.log() - P_ADV.log()).square().mean(1).tolist()
    w = [2.0, 0.75, 0.25]  # 0.8, 0.3, 0.1 with mean 1
    expected = {
        "clean": -sum(math.log(p) for p in (0.9, 0.5, 0.2)) / 6,
        "adversarial": -sum(math.log(p) for p in (0.8, 0.3, 0.1)) / 6,
        "pairing": 0.7 * sum(a * b for a, b in zip(w, squares, strict=True)) / 3,
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-5)


def test_weight_zero_has_no_pairing():
    assert set(Aalp(weight=0.0).terms(torch.randn(6, 3), Y)) == {"clean", "adversarial"}


# what a step attacks, and under which mask


class Seen(TrainContext):
    """A context that remembers its attacks, and what PGD finds on another network from the same start."""

    def attack(self, net, attack, x, *labels):
        start = torch.Generator()
        start.set_state(self.generator.get_state())
        x_adv = super().attack(net, attack, x, *labels)
        other = self.other(net, *labels)
        pgd = PGD(steps=attack.steps)
        by_hand = attack_network(other, pgd, x, labels[0], budget=self.budget, generator=start, num_classes=3)
        self.made.append((net, attack, labels, x_adv, by_hand))
        return x_adv


class Masked(torch.nn.Module):
    """A network under a fixed mask, the plain way."""

    def __init__(self, net, mask):
        super().__init__()
        self.net, self.mask = net, mask

    def forward(self, x):
        return head(self.net, 3)(self.net.forward_features(x).features * self.mask)


def two_steps(defense, architecture, folder, monkeypatch, other=lambda net, *labels: net):
    """The context, the network, and the features and masks that met in two steps of training."""
    data = load("synthetic")
    task = data.task(architecture)
    torch.manual_seed(0)
    net = network(task)
    context = Seen(
        fabric=Fabric(accelerator="cpu", devices=1),
        data=data,
        task=task,
        budget=data.budget,
        recipe=replace(ONE_EPOCH, batch_size=32),
        seed=0,
        identity="test",
        parents={},
        checkpoints=Checkpoints(folder),
        progress=Silent(),
        whole=net,
        title="",
    )
    context.made, context.other = [], other
    given = []
    monkeypatch.setattr(
        aalp,
        "masked_logits",
        lambda features, mask, last: given.append((features, mask)) or masked_logits(features, mask, last),
    )

    def steps(net, context, step):
        model = training_model(net.train(), context.autocast, False)
        batches = iter(context.epoch(0))
        for _ in range(2):
            sum(step(model, next(batches)).values()).backward()

    monkeypatch.setattr(aalp, "fit_classifier", steps)
    defense.fit(net, context)
    return context, net, given


@pytest.mark.parametrize(
    "settings", [{}, {"mask_of": "own"}, {"rho": 1.0, "attack_with_mask": True}], ids=str
)
def test_by_default_the_attack_sees_no_mask(settings, tmp_path, monkeypatch):
    context, net, given = two_steps(Aalp(steps=1, **settings), "small_cnn", tmp_path, monkeypatch)
    assert all(made[0] is net and made[1] == PGD(steps=1) and len(made[2]) == 1 for made in context.made)
    rows = 64 if settings.get("mask_of") == "own" else 32
    assert [len(mask) for _, mask in given] == ([] if "rho" in settings else [rows, rows])


@pytest.mark.parametrize("architecture", ["small_cnn", BATCH_NORM])
def test_the_attack_can_see_each_batchs_own_mask(architecture, tmp_path, monkeypatch):
    context, net, given = two_steps(
        Aalp(steps=3, attack_with_mask=True),
        architecture,
        tmp_path,
        monkeypatch,
        other=lambda attacked, y, mask: Masked(attacked.net, mask),
    )
    assert len(context.made) == 2
    for attacked, _attack, _labels, x_adv, by_hand in context.made:
        assert isinstance(attacked, Penultimate)
        # where a gradient is nearly zero, the folded copy may round its sign the other way
        assert ((by_hand - x_adv).abs() < 1e-5).float().mean() > 0.99
    masks = [labels[1] for _, _, labels, _, _ in context.made]
    assert not torch.equal(*masks)
    assert (masks[0] == 0).any()
    # the joint forward of each step was under the very mask that its attack saw
    forwards = [mask for features, mask in given if len(features) == 64]
    assert len(forwards) == 2
    assert all(used is mask for used, mask in zip(forwards, masks, strict=True))
    (copy,) = context._folded.values()
    assert isinstance(copy, Folded) is (architecture == BATCH_NORM), "one copy for all batches"
    assert all(parameter.requires_grad and parameter.grad is not None for parameter in net.parameters())


def test_a_mask_changes_what_the_attack_finds(tmp_path, monkeypatch):
    context, _, _ = two_steps(
        Aalp(steps=3, q=1.0, rho=0.1, attack_with_mask=True),
        "small_cnn",
        tmp_path,
        monkeypatch,
        other=lambda attacked, y, mask: attacked.net,
    )
    _, _, _, x_adv, plain = context.made[0]
    assert ((plain - x_adv).abs() > 1e-3).float().mean() > 0.02


def test_features_end_where_the_last_layer_begins():
    task = load("synthetic").task(BATCH_NORM)
    net = network(task).eval()
    x = torch.rand(4, 1, 8, 8)
    assert torch.allclose(head(net, 3)(Penultimate(net)(x)), net(x), atol=1e-6)


# names and ranges


def test_the_registered_default_is_the_reconstruction():
    found = DEFENSES.get("aalp")
    assert found == Aalp()
    assert found.reconstruction
    assert (found.rho, found.q, found.gamma) == (0.5, 0.5, 1)
    assert (found.weight, found.steps, found.step_size) == (Alp().weight, Alp().steps, Alp().step_size)


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": "0"},
        {"rho": "1.1"},
        {"q": "-0.1"},
        {"gamma": "-1"},
        {"weight": "-1"},
        {"dropout": "some"},
        {"rho": "0", "q": "1"},
        {"attack_with_mask": "true", "mask_of": "own"},
    ],
    ids=str,
)
def test_values_out_of_range_are_one_sentence(settings):
    with pytest.raises(BadValue, match=next(iter(settings))):
        override(Aalp(), settings)
