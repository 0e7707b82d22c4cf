"""TLA: each term by hand, what is mined by brute force, and the statistics that each branch leaves."""

import copy
import json
import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from importlib import import_module
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import nn

from bench.api import Features
from bench.core.encoding import override
from bench.core.progress import Silent
from bench.core.threat import Budget, Norm
from bench.data.load import load
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.plan import Request, plan_training
from bench.records.store import Store
from bench.registry import DEFENSES
from bench.runner.options import Options
from bench.runner.weights import fit
from bench.train.checkpoints import Checkpoints
from bench.train.context import TrainContext
from bench.train.fit import train
from bench.train.recipe import Recipe
from defenses.pgd_at import PgdAt
from defenses.tla import Tla

RECIPE = Recipe("toy", epochs=1, batch_size=86, learning_rate=0.05, validation_examples=0, select="last")
"""256 images: two batches of 86 and one of 84."""


def seen(logits, pooled):
    return Features(torch.tensor(logits), torch.tensor(pooled), ())


@pytest.fixture
def example():
    """One image of class 0 and features that are easy to compute with."""
    return {
        "adversarial": seen([[math.log(0.5), math.log(0.3), math.log(0.2)]], [[1.0, 0.0]]),
        "y": torch.tensor([0]),
        "own": torch.tensor([[0.0, 1.0]]),  # orthogonal to x'
        "other": torch.tensor([[3.0, 4.0]]),  # cos 0.6
        "negative": torch.tensor([[-2.0, 0.0]]),  # antiparallel: distance 0
        "apart": torch.tensor([True]),
    }


def values(defense, example):
    return {name: term.item() for name, term in defense.terms(**example).items()}


def test_every_term_by_hand(example):
    assert values(Tla(match=0.5), example) == pytest.approx(
        {
            "adversarial": -math.log(0.5),
            "triplet_own": 2 * (0.03 + 1 - 0),
            "norm_own": 2 * 0.001 * (1 + 1 + 4) / 2,
            "triplet_other": 2 * (0.03 + 0.4 - 0),
            "norm_other": 2 * 0.001 * (1 + 25 + 4) / 2,
            "match": 0.5 * 2,  # |(1, 0) - (0, 1)|^2, summed over features
        }
    )


@pytest.mark.parametrize(
    ("positive", "negative", "triplet"),
    [([1.0, 0.0], [1.0, 0.0], 0.03), ([1.0, 0.0], [0.0, 1.0], 0.0), ([-1.0, 0.0], [0.0, 5.0], 0.0)],
)
def test_the_triplet_at_its_corners(positive, negative, triplet, example):
    example |= {"own": torch.tensor([positive]), "other": None, "negative": torch.tensor([negative])}
    assert values(Tla(lam1=1), example)["triplet_own"] == pytest.approx(triplet, abs=1e-7)


def test_the_norm_of_ones_is_three(example):
    ones = torch.ones(4, 7)
    adversarial = Features(torch.zeros(4, 3), ones, ())
    terms = Tla(lam1=1, lam2=1).terms(adversarial, torch.zeros(4, dtype=torch.int64), ones, ones, ones)
    assert terms["norm_own"].item() == terms["norm_other"].item() == 3


def test_the_clean_anchor_measures_the_negative_from_the_positive(example):
    switched = values(Tla(anchor="clean"), example)
    assert switched["triplet_own"] == pytest.approx(2 * (0.03 + 1 - 1))  # A is orthogonal to both
    assert switched["triplet_other"] == pytest.approx(2 * (0.03 + 0.4 - 0.4))  # A1 has cos -0.6 to B
    kept = values(Tla(), example)
    assert all(switched[name] == kept[name] for name in ("adversarial", "norm_own", "norm_other"))


def test_the_other_distances_by_hand(example):
    example |= {"own": torch.tensor([[0.0, 0.0]]), "negative": torch.tensor([[2.0, 1.0]])}
    l2 = values(Tla(distance="l2", margin=1.5), example)
    assert l2["triplet_own"] == pytest.approx(2 * (1.5 + 1 - 2))
    kl = values(Tla(distance="kl", margin=0.1), example)
    p, q = 1 / (1 + math.exp(-1)), 0.5  # softmax of (1, 0) and of (0, 0); that of (2, 1) is p again
    both = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    both += q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))
    assert kl["triplet_own"] == pytest.approx(2 * (0.1 + both / 2 - 0), rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({"own": None}, {"triplet_own", "norm_own", "match"}),
        ({"other": None}, {"triplet_other", "norm_other"}),
        ({"negative": None}, {"triplet_own", "norm_own", "triplet_other", "norm_other"}),
    ],
)
def test_without_a_branch_its_terms_are_gone_and_the_others_stay(changes, gone, example):
    before = values(Tla(match=1), example)
    after = values(Tla(match=1), example | changes)
    assert set(before) - set(after) == gone
    assert all(before[name] == after[name] for name in after)


def test_weights_scale_their_terms(example):
    base, heavier = values(Tla(match=1), example), values(Tla(match=3, lam1=4, lam2=0.01), example)
    ratios = {name: heavier[name] / base[name] for name in base}
    expected = {"adversarial": 1, "match": 3, "triplet_own": 2, "triplet_other": 2}
    assert ratios == pytest.approx(expected | {"norm_own": 20, "norm_other": 20})


def test_smoothing_is_the_spread_convention_in_the_loss_and_in_the_attack(example):
    q = [0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3]
    expected = -sum(a * math.log(b) for a, b in zip(q, (0.5, 0.3, 0.2), strict=True))
    defense = Tla(label_smoothing=0.1)
    assert values(defense, example)["adversarial"] == pytest.approx(expected)
    logits = example["adversarial"].logits
    assert defense._attack().loss(logits, example["y"]).tolist() == pytest.approx([expected])


@pytest.mark.parametrize("anchor", ["adversarial", "clean"])
def test_gradients_reach_every_branch(anchor):
    y = torch.arange(8) % 3
    torch.manual_seed(0)
    branches = {name: torch.randn(8, 5).requires_grad_() for name in ("h", "own", "other", "negative")}
    adversarial = Features(torch.zeros(8, 3), branches["h"], ())
    parts = {name: branches[name] for name in ("own", "other", "negative")}
    terms = Tla(anchor=anchor, lam2=0, margin=1).terms(adversarial, y, **parts, apart=torch.ones(8) > 0)
    (terms["triplet_own"] + terms["triplet_other"]).backward()
    assert all((branch.grad.abs().sum(1) > 0).all() for branch in branches.values())


def test_where_the_negative_is_of_the_same_class_there_is_no_triplet(example):
    assert values(Tla(), example)["triplet_own"] > 0
    example["apart"] = torch.tensor([False])
    alone = values(Tla(), example)
    assert alone["triplet_own"] == alone["triplet_other"] == 0 < alone["norm_own"]


# training


class Recorded:
    """Trains a defense on the synthetic images with a small residual network and notes what it forwards."""

    def __init__(self, defense, folder, data=None, **settings):
        self.data = data or load("synthetic")
        task = self.data.task("wide_resnet_10_1")
        torch.manual_seed(1)
        self.net = network(task)
        self.before = copy.deepcopy(self.net)
        self.forwards = []  # (train mode, images, features) in their order, of the first step
        self.pools, self.partners, self.anchors, self.attacked = [], [], [], []
        self.context = context = TrainContext(
            fabric=Fabric(accelerator="cpu", devices=1),
            data=self.data,
            task=task,
            budget=self.data.budget,
            recipe=replace(RECIPE, **settings),
            seed=0,
            identity="test",
            parents={},
            checkpoints=Checkpoints(folder),
            progress=Silent(),
            whole=self.net,
            title="training a toy",
        )
        self._spy(context, "draw", lambda given, found: self.pools.append(found))
        self._spy(context, "like", lambda given, found: self.partners.append((given[0], found)))
        self._spy(context, "attack", lambda given, found: self.attacked.append((given[2], given[3], found)))
        self._spy(
            self.net,
            "forward_features",
            lambda given, found: self.forwards.append(
                (self.net.training, given[0].clone(), found.features.detach().clone())
            ),
        )
        defense.fit(self.net, context)

    def trained(self):
        return [images for training, images, _ in self.forwards if training]

    @staticmethod
    def _spy(owner, name, note):
        inner = getattr(owner, name)

        def spied(*given):
            found = inner(*given)
            note(given, found)
            return found

        setattr(owner, name, spied)


def few(n=86):
    """So few images that an epoch is one step."""
    data = load("synthetic")
    return replace(data, train=data.train.take(torch.arange(n)))


QUICK = Tla(steps=1, pool=40)


def test_negatives_are_the_nearest_of_another_class_in_the_pool(tmp_path):
    recorded = Recorded(QUICK, tmp_path)
    looks = [(images, found) for training, images, found in recorded.forwards if not training]
    branches = recorded.trained()
    assert len(looks) == len(recorded.pools) == 3 and len(branches) == 12
    for step, ((images, found), pool) in enumerate(zip(looks, recorded.pools, strict=True)):
        _, y, x_adv = recorded.attacked[step]
        n = len(y)
        assert torch.equal(images, torch.cat([x_adv, pool.x])) and len(pool) == 40
        negatives = branches[4 * step + 3]
        for i in range(n):
            cosines = [
                (F.cosine_similarity(found[i], found[n + j], dim=0).item(), j)
                for j in range(40)
                if pool.y[j] != y[i]
            ]
            best = max(cosines)[0]
            near = [j for cosine, j in cosines if cosine > best - 1e-6]
            assert any(torch.equal(negatives[i], pool.x[j]) for j in near)


def test_branches_are_the_attacked_image_its_noisy_self_another_and_a_negative(tmp_path):
    recorded = Recorded(QUICK, tmp_path, few())
    x, y, x_adv = recorded.attacked[0]
    attacked, own, other, _ = recorded.trained()
    assert torch.equal(attacked, x_adv)
    radius = recorded.data.budget.radius
    moved = (own - x).abs()
    assert 0.9 * radius < moved.max() <= radius + 1e-6 and (moved > 0).float().mean() > 0.9
    assert own.min() >= 0 and own.max() <= 1
    assert ((own * 255) - (own * 255).round()).abs().max() < 1e-4  # bytes
    ((labels, partners),) = recorded.partners
    assert torch.equal(labels, y) and torch.equal(partners.y, y) and torch.equal(other, partners.x)


def test_without_noise_the_own_positive_is_the_image(tmp_path):
    recorded = Recorded(replace(QUICK, noise=Fraction(0), positives="own"), tmp_path, few())
    assert torch.equal(recorded.trained()[1], recorded.attacked[0][0]) and not recorded.partners


def test_noise_under_l2_stays_in_the_ball():
    class Lent:
        budget = Budget(Norm.L2, Fraction(1, 2))
        generator = torch.Generator().manual_seed(0)

    x = torch.full((20, 3, 8, 8), 0.5)
    lengths = (Tla(noise=Fraction(2))._noisy(x, Lent) - x).flatten(1).norm(dim=1)
    assert (lengths < 1 + 0.03).all() and lengths.max() > 0.9  # 0.03: rounding to bytes


def batch_norms(net):
    return [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize(
    ("settings", "forwards"),
    [
        ({}, 4),
        ({"positives": "own"}, 3),
        ({"positives": "other"}, 3),
        ({"negative": "random"}, 4),
        ({"lam1": "0", "match": "1"}, 2),
        ({"lam1": "0"}, 1),
    ],
)
def test_each_branch_updates_the_statistics_by_itself_and_mining_does_not(settings, forwards, tmp_path):
    recorded = Recorded(override(QUICK, settings), tmp_path, few())
    assert {int(norm.num_batches_tracked) for norm in batch_norms(recorded.net)} == {forwards}
    if forwards == 1:
        return  # by `forward`, which is not recorded
    assert len(recorded.trained()) == forwards
    replayed = recorded.before.train()
    for images in recorded.trained():
        replayed(images)
    for theirs, ours in zip(batch_norms(replayed), batch_norms(recorded.net), strict=True):
        assert torch.equal(theirs.running_mean, ours.running_mean)
        assert torch.equal(theirs.running_var, ours.running_var)


def test_random_negatives_are_of_every_other_class_alike(tmp_path):
    recorded = Recorded(replace(QUICK, negative="random"), tmp_path, epochs=4)
    assert not recorded.pools
    steps = [recorded.attacked[i][1] for i in range(len(recorded.attacked))]
    drawn = recorded.partners[::2]  # the negatives; then A1
    pairs = Counter(
        (own.item(), wrong.item())
        for y, (labels, batch) in zip(steps, drawn, strict=True)
        for own, wrong in zip(y, batch.y, strict=True)
    )
    assert len(pairs) == 6 and all(own != wrong for own, wrong in pairs)  # 3 x 2, never the same class
    assert min(pairs.values()) > 130  # of 1024 / 6 = 171, by chance +- 12


def test_a_pool_of_one_class_trains_the_others_alone(tmp_path, monkeypatch):
    apart = []

    def spied(self, *given, **parts):
        apart.append(parts["apart"])
        return inner(self, *given, **parts)

    inner = Tla.terms
    monkeypatch.setattr(Tla, "terms", spied)
    recorded = Recorded(replace(QUICK, pool=1), tmp_path, few())
    (pool,), (attacked,) = recorded.pools, recorded.attacked
    assert torch.equal(apart[0], attacked[1] != pool.y) and 0 < apart[0].sum() < 86
    assert all(parameter.isfinite().all() for parameter in recorded.net.parameters())


def fitted(defense, folder, parents=None, **changes):
    data = few(128)
    return train(
        defense,
        data,
        data.task("wide_resnet_10_1"),
        budget=data.budget,
        recipe=replace(RECIPE, epochs=2, **changes),
        seed=0,
        identity="the same",
        parents=parents or {},
        folder=folder,
        device="cpu",
    )


def test_without_its_terms_it_is_adversarial_training_bit_for_bit(tmp_path):
    ours = fitted(Tla(lam1=0, steps=2), tmp_path / "a")
    theirs = fitted(PgdAt(steps=2, attack_mode="eval"), tmp_path / "b")
    assert ours.sha256 == theirs.sha256
    assert fitted(Tla(steps=2), tmp_path / "c").sha256 != theirs.sha256


def test_training_can_go_on_from_another_network(tmp_path):
    start = network(load("synthetic").task("wide_resnet_10_1"))
    held = copy.deepcopy(start.state_dict())
    defense = Tla(init_from_at=True, steps=1)
    assert defense.requires == {"start": "pgd_at[steps=7]"} and Tla().requires == {}
    still = fitted(defense, tmp_path, {"start": start}, learning_rate=1e-12)
    weights = import_module("safetensors.torch").load_file(still.weights)
    for name, parameter in start.named_parameters():
        assert torch.allclose(weights[name], parameter, atol=1e-6), name
    assert all(torch.equal(value, held[name]) for name, value in start.state_dict().items())


def test_its_requirement_is_trained_first(tmp_path):
    settings = {
        "defense": {"init_from_at": "true", "at": "pgd_at[steps=1]", "steps": "1"},
        "recipe": {"epochs": "1"},
    }
    spec = plan_training(Request("tla", data="synthetic", settings=settings))
    assert [(role, parent.named.label) for role, parent in spec.parents] == [("start", "pgd_at[steps=1]")]
    assert fit(spec, Options(Store(tmp_path), device="cpu")).epochs == 1


@pytest.mark.parametrize(
    ("settings", "forwards", "to_weights"),
    [
        ({}, 3 + 2 + 4, 4),  # attack, x' and the pool, four branches
        ({"positives": "own"}, 3 + 2 + 3, 3),
        ({"negative": "random"}, 3 + 4, 4),
        ({"lam1": "0", "match": "1"}, 3 + 2, 2),
        ({"lam1": "0"}, 3 + 1, 1),
    ],
)
def test_a_step_makes_the_passes_of_its_formula(settings, forwards, to_weights, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))
    passes = import_module("benchmarks.passes")
    found = passes.passes_of_a_step(override(Tla(steps=3, pool=passes.BATCH), settings), {})
    assert (found.forwards, found.backwards_to_images) == (forwards, 3)
    assert found.backwards_to_weights == to_weights


def test_the_named_variants():
    tla, switched, random = (DEFENSES.get(name) for name in ("tla", "tla_sa", "tla_rn"))
    assert (tla.steps, tla.lam1, tla.lam2, tla.margin, tla.pool) == (7, 2.0, 1e-3, 0.03, 500)
    assert switched == replace(tla, anchor="clean") and random == replace(tla, negative="random")


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": "0"},
        {"label_smoothing": "1"},
        {"margin": "-1"},
        {"lam1": "-1"},
        {"noise": "-1"},
        {"pool": "0"},
        {"anchor": "none"},
        {"match": "1", "positives": "other"},
    ],
    ids=json.dumps,
)
def test_values_out_of_range_are_one_sentence(settings):
    with pytest.raises(BadValue, match=next(iter(settings))):
        override(Tla(), settings)
