"""FDML: each term by hand, each switch by what it changes, and the methods that it becomes."""

import copy
import json
import math
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from bench.api import Features
from bench.core.encoding import decode, encode, override
from bench.core.progress import Silent
from bench.data.load import load
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.registry import DEFENSES
from bench.train.checkpoints import Checkpoints, load_weights
from bench.train.context import TrainContext
from bench.train.fit import train
from bench.train.recipe import Recipe
from defenses.agkd_bml import AgkdBml
from defenses.fdml import Fdml, map_distance, split
from defenses.pgd_at import PgdAt

RECIPE = Recipe("toy", epochs=1, batch_size=86, learning_rate=0.05, validation_examples=0, select="last")
"""128 images: a batch of 86 and one of 42."""

AS_AGKD_BML = Fdml(
    target="most_confusing",
    confused="adv_mc",
    distillation="attention",
    distil_stages=(-1,),
    pooling="penultimate",
    alpha=1,
    beta=2,
    lam_n=2 * 0.001,
)
"""AGKD-BML without label smoothing, MART and the attention of its backward image."""

Y = torch.tensor([0, 1])


def of(logits, pooled, early, late):
    """Features of two images whose maps are constant: two channels early, two late, 2 x 2 positions."""
    maps = [torch.tensor(values)[:, :, None, None].expand(-1, -1, 2, 2) for values in (early, late)]
    return Features(torch.tensor(logits), torch.tensor(pooled), tuple(maps))


@pytest.fixture
def student():
    """x', x and c."""
    logits = [[math.log(0.5), math.log(0.3), math.log(0.2)]] * 2
    return (
        of(logits, [[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]]),
        of(logits, [[1.0, 1.0], [0.0, 3.0]], [[0.0, 1.0], [0.0, 5.0]], [[0.0, 0.0], [0.0, 0.0]]),
        of(logits, [[0.0, 1.0], [1.0, 0.0]], [[2.0, 0.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]),
    )


@pytest.fixture
def teacher():
    zeros = [[0.0, 0.0]] * 2
    return of([[0.0] * 3] * 2, zeros, [[1.0, 1.0], [0.0, 1.0]], [[1.0, 2.0], [3.0, 3.0]])


def values(defense, student, teacher):
    return {name: term.item() for name, term in defense.terms(student, teacher, Y).items()}


def test_every_term_by_hand(student, teacher):
    found = values(Fdml(clean_too=True), student, teacher)
    # early maps: x' orthogonal to x, parallel to c; then x' parallel to x, of cosine 0.8 to c
    triplet = ((0.03 + 1 - 0) + max(0, 0.03 + 0 - 0.2)) / 2
    assert found == pytest.approx(
        {
            "adversarial": -(math.log(0.5) + math.log(0.3)) / 2,
            "distillation": (1 + 1) / 4 + 1 / 4,  # squares of both stages over 2 images x 2 channels
            "distillation_clean": (1 + 16) / 4 + (1 + 4 + 9 + 9) / 4,
            "metric": 2 * triplet,
            "norm": 0.001 * ((1 + 4) / 4 + (1 + 25) / 4 + (4 + 25) / 4),
        }
    )


@pytest.mark.parametrize(
    ("settings", "gone"),
    [
        ({"clean_too": "false"}, {"distillation_clean"}),
        ({"alpha": "0"}, {"distillation", "distillation_clean"}),
        ({"beta": "0"}, {"metric", "norm"}),
    ],
)
def test_each_switch_removes_its_terms_and_leaves_the_others(settings, gone, student, teacher):
    before = values(Fdml(clean_too=True), student, teacher)
    defense = override(Fdml(clean_too=True), settings)
    after = values(defense, student, teacher if defense.alpha else None)
    assert set(before) - set(after) == gone
    assert all(after[name] == before[name] for name in after)


def test_weights_and_stages_scale_their_terms(student, teacher):
    base = values(Fdml(), student, teacher)
    heavier = values(Fdml(alpha=3, beta=1, lam_n=0.1, label_smoothing=0.5), student, teacher)
    ratios = {name: heavier[name] / base[name] for name in ("distillation", "metric", "norm")}
    assert ratios == pytest.approx({"distillation": 3, "metric": 0.5, "norm": 100})
    p = [math.log(each) for each in (0.5, 0.3, 0.2)]  # spread: 2/3 on the true class, 1/6 on the others
    smoothed = [-(2 / 3 * p[0] + (p[1] + p[2]) / 6), -(2 / 3 * p[1] + (p[0] + p[2]) / 6)]
    assert heavier["adversarial"] == pytest.approx(sum(smoothed) / 2)
    assert values(Fdml(distil_stages=(0,)), student, teacher)["distillation"] == pytest.approx(0.5)
    twice = values(Fdml(metric_stages=(0, 0)), student, teacher)
    assert twice["metric"] == pytest.approx(2 * base["metric"])
    late = values(Fdml(metric_stages=(1,), margin=0), student, teacher)
    assert late["metric"] == 0 and late["norm"] == pytest.approx(0.001 * (1 + 4 + 9 + 16) / 4)


def test_what_the_metric_compares(student, teacher):
    average, flat = values(Fdml(), student, teacher), values(Fdml(pooling="flat"), student, teacher)
    assert flat == pytest.approx(average)  # of constant maps
    uneven = [replace_map(each, 0, torch.tensor([[[[4.0, 0.0], [0.0, 0.0]]]] * 2)) for each in student]
    moved = [*uneven[:2], replace_map(student[2], 0, torch.tensor([[[[0.0, 4.0], [0.0, 0.0]]]] * 2))]
    assert values(Fdml(alpha=0), moved, None)["metric"] == pytest.approx(2 * 0.03)
    assert values(Fdml(alpha=0, pooling="flat"), moved, None)["metric"] == 0  # orthogonal to c now
    penultimate = values(Fdml(alpha=0, pooling="penultimate"), student, None)
    assert penultimate["metric"] == pytest.approx(2 * max(0, 0.03 + 1 - math.sqrt(0.5) - 1) / 2, abs=1e-6)
    assert penultimate["norm"] == pytest.approx(0.001 * (2 + 11 + 2) / 4)


def replace_map(features, stage, found):
    stages = list(features.stages)
    stages[stage] = found
    return replace(features, stages=tuple(stages))


def test_squared_distance_of_unit_vectors(student):
    found = values(Fdml(alpha=0, distance="l2", margin=0.5), student, None)
    assert found["metric"] == pytest.approx(2 * ((0.5 + 2 - 0) + (0.5 + 0 - 2 * 0.2)) / 2)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("mse", (1 + 9 + 4 + 0) / 4), ("l2norm", 2 - 2 / math.sqrt(2)), ("cos", 1 - 3 / math.sqrt(2 * 14))],
)
def test_distances_of_maps_by_hand(kind, expected):
    ours = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])  # positions (1, 0) and (0, 1)
    theirs = torch.tensor([[[[2.0, 0.0]], [[3.0, 1.0]]]])
    if kind == "l2norm":
        theirs = torch.tensor([[[[5.0, 3.0]], [[5.0, 3.0]]]])  # both along the diagonal
    assert map_distance(ours, theirs, kind).item() == pytest.approx(expected if kind != "mse" else 10 / 4)


@pytest.mark.parametrize("kind", ["l2norm", "cos", "attention"])
def test_scale_does_not_matter_but_to_mse(kind):
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (torch.rand(3, 4, 5, 5, generator=generator) for _ in range(2))
    assert map_distance(7 * ours, theirs, kind).item() == pytest.approx(
        map_distance(ours, theirs, kind).item(), rel=1e-5
    )
    assert map_distance(theirs, theirs, kind).item() == pytest.approx(0, abs=1e-6)
    assert map_distance(7 * ours, theirs, "mse") > 2 * map_distance(ours, theirs, "mse")


def random_features(n, classes=3, seed=0, grad=False):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(n, classes), (n, 6), (n, 4, 4, 4), (n, 5, 2, 2)]
    logits, pooled, *maps = (torch.randn(shape, generator=generator).requires_grad_(grad) for shape in shapes)
    return Features(logits, pooled, tuple(maps))


def test_it_has_the_terms_of_agkd_bml():
    y = torch.arange(8) % 3
    joint, taught = random_features(24), random_features(16, seed=1)
    reference = AgkdBml(label_smoothing=0, mart=False).terms(joint, taught, y)
    ours = AS_AGKD_BML.terms(split(joint, 3), split(taught, 2)[0], y)
    names = {"adversarial": "smoothed", "distillation": "attention_forward"}
    names |= {"metric": "triplet", "norm": "norm"}
    assert set(ours) == set(names) and set(reference) - set(names.values()) == {"attention_backward"}
    assert all(torch.equal(ours[name], reference[theirs]) for name, theirs in names.items())
    assert all(term > 0 for term in ours.values())


# gradients


@pytest.mark.parametrize("detach", [False, True])
def test_who_learns_from_the_metric(detach):
    y = torch.arange(8) % 3
    student = tuple(random_features(8, seed=seed, grad=True) for seed in range(3))
    terms = Fdml(alpha=0, margin=2, detach=detach).terms(student, None, y)
    (terms["metric"] + terms["norm"]).backward()
    moved = [each.stages[0].grad is not None and bool(each.stages[0].grad.any()) for each in student]
    assert moved == [True, not detach, not detach]
    assert all(each.stages[1].grad is None for each in student), "a stage that nobody chose"


@pytest.mark.parametrize("kind", ["mse", "l2norm", "cos", "attention"])
def test_the_teacher_learns_nothing_and_the_student_in_every_stage(kind):
    adversarial, clean, taught = (random_features(8, seed=seed, grad=True) for seed in range(3))
    defense = Fdml(beta=0, clean_too=True, distillation=kind)
    terms = defense.terms((adversarial, clean), taught, torch.arange(8) % 3)
    (terms["distillation"] + terms["distillation_clean"]).backward()
    assert all(stage.grad is None for stage in taught.stages)
    assert all(stage.grad.any() for each in (adversarial, clean) for stage in each.stages)
    assert adversarial.logits.grad is None and clean.features.grad is None


# the nearest in the batch


def test_the_nearest_of_another_class_is_confused():
    y = torch.arange(12) % 3
    adversarial, clean = random_features(12), random_features(12, seed=1)
    defense = Fdml(alpha=0, confused="nearest", lam_n=1, margin=2)
    found = defense.terms((adversarial, clean), None, y)
    rows = []
    for i in range(12):
        others = [j for j in range(12) if y[j] != y[i]]
        cosine = torch.cosine_similarity(adversarial.features[i][None], clean.features[others])
        rows.append(others[int(cosine.argmax())])
    given = Features(clean.logits[rows], clean.features[rows], tuple(each[rows] for each in clean.stages))
    expected = replace(defense, confused="clean_mc").terms((adversarial, clean, given), None, y)
    assert all(torch.allclose(found[name], expected[name]) for name in ("metric", "norm"))


def test_a_batch_of_one_class_has_no_nearest():
    student = (random_features(5), random_features(5, seed=1))
    same = torch.zeros(5, dtype=torch.int64)
    found = Fdml(alpha=0, confused="nearest", margin=2).terms(student, None, same)
    assert found["metric"].item() == 0 < found["norm"].item()


# training


def half():
    data = load("synthetic")
    return replace(data, train=data.train.take(torch.arange(128)))


def task():
    return load("synthetic").task("wide_resnet_10_1")


def a_network(seed):
    torch.manual_seed(seed)
    return network(task())


def fitted(defense, folder, **changes):
    data = half()
    needs = {role: a_network(7) for role in defense.requires}
    return train(
        defense,
        data,
        task(),
        budget=data.budget,
        recipe=replace(RECIPE, epochs=2, **changes),
        seed=0,
        identity="the same",
        parents=needs,
        folder=folder,
        device="cpu",
    )


def test_without_its_terms_it_is_adversarial_training_bit_for_bit(tmp_path):
    theirs = fitted(PgdAt(steps=2, attack_mode="eval"), tmp_path / "a")
    assert fitted(Fdml(alpha=0, beta=0, steps=2), tmp_path / "b").sha256 == theirs.sha256
    assert fitted(Fdml(alpha=0, beta=0, lam_n=0, steps=2), tmp_path / "c").sha256 == theirs.sha256
    assert fitted(Fdml(steps=2), tmp_path / "d").sha256 != theirs.sha256


def test_it_trains_as_agkd_bml_does(tmp_path):
    settings = {"label_smoothing": 0.0, "attention_on_backward": False, "init_from_teacher": False}
    runs = [
        fitted(AgkdBml(steps=2, mart=False, clip_start=True, teacher="standard", **settings), tmp_path / "a"),
        fitted(replace(AS_AGKD_BML, steps=2), tmp_path / "b"),
        fitted(replace(AS_AGKD_BML, steps=2, joint=False), tmp_path / "c"),
    ]
    theirs, ours, separate = (weights_of(run) for run in runs)
    assert all(torch.allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-5) for name in theirs)
    assert not all(torch.allclose(separate[name], theirs[name], rtol=1e-2, atol=1e-2) for name in theirs)


def weights_of(run):
    net = a_network(0)
    load_weights(run.weights, net)
    return net.state_dict()


def context(net, folder, parents, **settings):
    data = half()
    return TrainContext(
        fabric=Fabric(accelerator="cpu", devices=1),
        data=data,
        task=task(),
        budget=data.budget,
        recipe=replace(RECIPE, **settings),
        seed=0,
        identity="test",
        parents=parents,
        checkpoints=Checkpoints(folder),
        progress=Silent(),
        whole=net,
        title="training a toy",
    )


@pytest.mark.parametrize("settings", [{}, {"init_from_teacher": "true", "clean_too": "true"}])
def test_the_teacher_stays_as_it_is(settings, tmp_path):
    net, teacher = a_network(0), a_network(1).eval().requires_grad_(False)
    held = copy.deepcopy(teacher.state_dict())
    override(Fdml(steps=1), settings).fit(net, context(net, tmp_path, {"teacher": teacher}))
    assert all(torch.equal(value, held[name]) for name, value in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters()) and not teacher.training
    assert any(not torch.equal(value, held[name]) for name, value in net.state_dict().items())


def test_the_student_can_begin_as_the_teacher(tmp_path):
    net, teacher = a_network(0), a_network(1).eval().requires_grad_(False)
    defense = Fdml(steps=1, init_from_teacher=True)
    defense.fit(net, context(net, tmp_path, {"teacher": teacher}, learning_rate=1e-12))
    pairs = zip(net.parameters(), teacher.parameters(), strict=True)
    assert all(torch.allclose(ours, theirs, atol=1e-6) for ours, theirs in pairs)


@pytest.mark.parametrize(
    ("settings", "branches"),
    [
        ({"joint": "true"}, 1),
        ({"joint": "false"}, 3),
        ({"joint": "false", "confused": "nearest"}, 2),
        ({"joint": "false", "beta": "0"}, 1),
        ({"joint": "false", "beta": "0", "clean_too": "true"}, 2),
    ],
)
def test_statistics_are_joint_or_of_each_branch(settings, branches, tmp_path):
    net = a_network(0)
    lent = context(net, tmp_path, {"teacher": a_network(1).eval()})
    override(Fdml(steps=1), settings).fit(net, lent)
    counts = {int(each.num_batches_tracked) for each in net.modules() if isinstance(each, nn.BatchNorm2d)}
    assert counts == {2 * branches}  # two steps; attack, target class and teacher leave no trace


@pytest.mark.parametrize("target", ["none", "most_confusing"])
def test_whom_the_confused_sample_and_the_attacks_are_for(target, tmp_path):
    net = a_network(0)
    lent = context(net, tmp_path, {}, learning_rate=1e-12)
    asked, attacked, inner_like, inner_attack = [], [], lent.like, lent.attack

    def like(labels):
        asked.append((labels, inner_like(labels)))
        return asked[-1][1]

    def attack(net, attack, x, y):
        attacked.append((attack.target, x, y, inner_attack(net, attack, x, y)))
        return attacked[-1][3]

    lent.like, lent.attack = like, attack
    Fdml(steps=1, alpha=0, target=target, confused="adv_mc").fit(net, lent)
    batches = list(zip(asked, attacked[::2], attacked[1::2], strict=True))
    assert len(batches) == 2
    for (labels, partners), (kind, _, towards, _), (back_kind, back_x, back, _) in batches:
        assert back_kind == "given" and torch.equal(back_x, partners.x)
        assert (labels != back).all(), "a wrong class, attacked back to the right one"
        assert kind == ("none" if target == "none" else "given")
        assert torch.equal(towards, back if target == "none" else labels)


@pytest.mark.parametrize(
    ("settings", "forwards", "teacher", "to_images", "to_weights"),
    [
        ({}, 3 + 1 + 3, 1, 3, 3),  # attack, target class, x' x c
        # the metric reaches 6 of 9 convolutions, and in branches of their own the others rest
        ({"joint": "false"}, 3 + 1 + 3, 1, 3, 1 + 2 * 6 / 9),
        ({"confused": "adv_mc", "target": "most_confusing"}, 6 + 1 + 3, 1, 6, 3),
        ({"confused": "nearest"}, 3 + 2, 1, 3, 2),
        ({"beta": "0"}, 3 + 1, 1, 3, 1),
        ({"beta": "0", "clean_too": "true"}, 3 + 2, 1, 3, 2),
        ({"alpha": "0"}, 3 + 1 + 3, 0, 3, 3),
        ({"alpha": "0", "beta": "0"}, 3 + 1, 0, 3, 1),
    ],
    ids=json.dumps,
)
def test_a_step_makes_the_passes_of_its_formula(
    settings, forwards, teacher, to_images, to_weights, monkeypatch
):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))
    passes, training = import_module("benchmarks.passes"), import_module("benchmarks.training")
    defense = override(Fdml(steps=3), settings)
    parents = {
        role: training.random_network(training.task(passes.ARCHITECTURE, passes.SIDE))
        for role in defense.requires
    }
    found = passes.passes_of_a_step(defense, parents)
    assert (found.forwards, found.parent_forwards) == (forwards, teacher)
    assert found.backwards_to_images == to_images
    assert found.backwards_to_weights == pytest.approx(to_weights)


# settings


def test_a_teacher_is_required_where_it_is_used():
    assert Fdml().requires == {"teacher": "standard"}
    assert Fdml(alpha=0).requires == Fdml(alpha=0, beta=0).requires == {}
    assert Fdml(alpha=0, init_from_teacher=True).requires == {"teacher": "standard"}


def test_it_says_that_it_is_a_reconstruction():
    assert "abstract" in (DEFENSES.get("fdml").reconstruction or "")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"distil_stages": "-1,3"},
            "distil_stages has 3, but wide_resnet_10_1 has 3 stages, expected 0 to",
        ),
        ({"metric_stages": "-4"}, "metric_stages has -4, but wide_resnet_10_1 has 3 stages"),
    ],
)
def test_a_stage_that_the_network_lacks_is_one_sentence(settings, message, tmp_path):
    net = a_network(0)
    with pytest.raises(BadValue, match=message):
        override(Fdml(), settings).fit(net, context(net, tmp_path, {"teacher": a_network(1)}))
    assert not list(tmp_path.iterdir()), "nothing half-written"


def test_a_stage_that_is_not_used_may_be_any(tmp_path):
    net = a_network(0)
    unused = Fdml(steps=1, alpha=0, distil_stages=(9,), pooling="penultimate", metric_stages=(9,))
    unused.fit(net, context(net, tmp_path, {}))


def test_stages_are_kept_in_records():
    defense = override(Fdml(), {"distil_stages": "0,-1"})
    assert defense.distil_stages == (0, -1) and decode(encode(defense)) == defense


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": "0"},
        {"label_smoothing": "1"},
        {"margin": "-1"},
        {"alpha": "-1"},
        {"lam_n": "-1"},
        {"confused": "none"},
        {"distil_stages": ""},
        {"metric_stages": ""},
    ],
    ids=json.dumps,
)
def test_values_out_of_range_are_one_sentence(settings):
    with pytest.raises(BadValue, match=next(iter(settings))):
        override(Fdml(), settings)
