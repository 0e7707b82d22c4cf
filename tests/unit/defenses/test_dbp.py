"""Purification: every loss by hand, what is trained and what must not move, and what attackers climb."""

from dataclasses import replace
from fractions import Fraction
from itertools import count
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch import Generator, nn

from bench.api import Batch, Features
from bench.attacks.fgsm import FGSM
from bench.attacks.pgd import PGD
from bench.core.encoding import override
from bench.core.progress import Silent
from bench.core.threat import Budget, Norm
from bench.data.load import load
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.nn.autoencoder import Autoencoder
from bench.plan import Request, plan_training
from bench.records.store import Store
from bench.registry import DEFENSES
from bench.runner.options import Options
from bench.runner.weights import fit
from bench.train.checkpoints import Checkpoints
from bench.train.context import TrainContext
from bench.train.inner import attack_network
from bench.train.recipe import Recipe
from defenses.dbp import Dbp, Purified, StraightThroughPurifier, squared_error
from defenses.losses import noisy

SMALL = {"widths": (4, 8)}
RECIPE = Recipe("two", epochs=2, batch_size=32, optimizer="adam", learning_rate=3e-3, schedule="constant")


@pytest.fixture(scope="module")
def data():
    return load("synthetic")


@pytest.fixture(scope="module")
def task(data):
    return data.task("wide_resnet_10_1")  # with BatchNorm


def seeded(build, seed=0):
    torch.manual_seed(seed)
    return build()


def used(net, shape=(1, 8, 8)):
    """In eval mode, with BatchNorm statistics that are not the initial ones."""
    net.train()
    with torch.no_grad():
        net(torch.rand(16, *shape))
    return net.eval()


@pytest.fixture
def parents(task):
    def purified(purifier, seed):
        return used(seeded(lambda: Dbp(purifier=purifier, **SMALL).build(task), seed)).requires_grad_(False)

    return {
        "classifier": used(seeded(lambda: network(task), 1)).requires_grad_(False),
        "adversarial": purified("adversarial", 2),
        "restoring": purified("restoring", 3),
    }


@pytest.fixture
def make_context(data, task, parents, tmp_path):
    folders = (tmp_path / str(number) for number in count())  # nothing is resumed

    def make(net):
        return TrainContext(
            fabric=Fabric(accelerator="cpu", devices=1),
            data=data,
            task=task,
            budget=data.budget,
            recipe=replace(RECIPE, validation_examples=8, validation_steps=1),
            seed=0,
            identity="test",
            parents=parents,
            checkpoints=Checkpoints(next(folders)),
            progress=Silent(),
            whole=net,
            title="training",
        )

    return make


def trained(defense, task, make_context):
    net = seeded(lambda: defense.build(task))
    context = make_context(net)
    defense.fit(net, context)
    return net, context


# --- what is deployed


def test_without_a_purifier_it_is_the_classifier_exactly(task):
    f = used(seeded(lambda: network(task)))
    net = Dbp(purifier="none").build(task).eval()
    net.classifier.load_state_dict(f.state_dict())
    x = torch.rand(8, 1, 8, 8)
    assert torch.equal(net(x), f(x))
    assert torch.equal(Purified(nn.Identity(), f)(x), f(x))


def attacked(net, x, y, budget):
    attack = PGD(steps=5, step_size=Fraction(1, 4))
    return attack_network(
        net.eval(), attack, x, y, budget=budget, generator=Generator().manual_seed(7), num_classes=3
    )


@pytest.mark.parametrize("budget", [Budget(Norm.LINF, Fraction(1, 10)), Budget(Norm.L2, Fraction(1))])
def test_bpda_past_the_identity_is_plain_pgd_bit_for_bit(task, budget):
    f = used(seeded(lambda: network(task)))
    x, y = torch.rand(12, 1, 8, 8), torch.randint(3, (12,))
    plain = attacked(f, x, y, budget)
    assert torch.equal(attacked(StraightThroughPurifier(nn.Identity(), f), x, y, budget), plain)
    assert torch.equal(attacked(Purified(nn.Identity(), f), x, y, budget), plain)
    assert not torch.equal(plain, x)


def test_bpda_answers_what_is_deployed_with_the_gradient_at_the_purified_image(task):
    f, s = used(seeded(lambda: network(task))), used(Autoencoder((1, 8, 8), (4, 8)))
    x = torch.rand(4, 1, 8, 8, requires_grad=True)
    logits = StraightThroughPurifier(s, f)(x)
    assert torch.equal(logits, Purified(s, f)(x))
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), x)
    purified = s(x).detach().requires_grad_()
    (expected,) = torch.autograd.grad(f(purified)[:, 0].sum(), purified)
    assert torch.allclose(gradient, expected, atol=1e-7)
    (end_to_end,) = torch.autograd.grad(Purified(s, f)(x)[:, 0].sum(), x)
    assert not torch.allclose(gradient, end_to_end, atol=1e-4)


@pytest.mark.parametrize("purifier", ["distilled", "none"])
def test_gray_box_attackers_have_the_bare_classifier(task, purifier):
    net = Dbp(purifier=purifier).build(task)
    deployed = Dbp(purifier=purifier).deploy(net)
    assert deployed.predict is net and deployed.classifier is net.classifier
    assert deployed.attackable is None
    stand_in = Dbp(purifier=purifier, gradients="bpda").deploy(net).attackable
    assert isinstance(stand_in, StraightThroughPurifier)
    assert stand_in.purifier is net.purifier and stand_in.classifier is net.classifier


# --- the losses


def image(value):
    """One image of 1x2x2 pixels, or as many as there are values."""
    return torch.tensor(value).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def test_the_mean_is_over_images_channels_and_pixels():
    a = torch.zeros(2, 3, 4, 5)
    b = a.clone()
    b[1, 2, 3, 4] = 6.0
    assert squared_error(a, b).item() == pytest.approx(36 / (2 * 3 * 4 * 5))


def student_of(restored, codes):
    return Features(image(restored), torch.zeros(len(restored), 1), (image([9.0] * len(codes)), image(codes)))


X = image([0.0])
STUDENT = student_of([0.4, 0.2], [1.0, 2.0])  # S(x'), S(x)
TAUGHT_ADV, TAUGHT = student_of([0.1], [4.0]), student_of([0.5], [6.0])  # T_a(x'), T_n(x)


def values(terms):
    return {name: term.item() for name, term in terms.items()}


def test_split_routing_by_hand():
    terms = Dbp(a=0.25, w_a=0.5, w_n=2.0, feat=3.0).student_terms(X, STUDENT, TAUGHT_ADV, TAUGHT)
    assert values(terms) == pytest.approx(
        {
            "restore_adversarial": 0.75 * 0.4**2,
            "restore_clean": 0.75 * 0.2**2,
            "distil_adversarial": 0.25 * 0.5 * (0.4 - 0.1) ** 2,
            "distil_clean": 0.25 * 2.0 * (0.2 - 0.5) ** 2,
            "code_adversarial": 0.25 * 3.0 * 0.5 * (1 - 4) ** 2,
            "code_clean": 0.25 * 3.0 * 2.0 * (2 - 6) ** 2,
        },
        abs=1e-6,
    )


def test_ensemble_routing_by_hand():
    defense = Dbp(a=0.25, w_a=0.75, w_n=0.25, routing="ensemble", feat=3.0)
    terms = defense.student_terms(X, STUDENT, TAUGHT_ADV, TAUGHT)
    target, code = 0.75 * 0.1 + 0.25 * 0.5, 0.75 * 4 + 0.25 * 6
    assert values(terms) == pytest.approx(
        {
            "restore_adversarial": 0.75 * 0.4**2,
            "restore_clean": 0.75 * 0.2**2,
            "distil_ensemble": 0.25 * (0.4 - target) ** 2,
            "code_ensemble": 0.25 * 3.0 * (1 - code) ** 2,
        },
        abs=1e-6,
    )


def test_without_teachers_it_is_the_reconstruction_alone():
    terms = Dbp(a=0.25, feat=3.0).student_terms(X, STUDENT, None, None)
    assert values(terms) == pytest.approx({"restore_adversarial": 0.4**2, "restore_clean": 0.2**2})


def test_the_adversarial_teacher_by_hand():
    alone = Dbp().teacher_terms(X, image([0.4]), None)
    assert values(alone) == pytest.approx({"restore_adversarial": 0.16})
    both = Dbp(clean_weight=0.5).teacher_terms(X, image([0.4]), image([0.2]))
    assert values(both) == pytest.approx({"restore_adversarial": 0.16, "restore_clean": 0.5 * 0.04})


class Scale(nn.Module):
    """Multiplies images; its code is ten times the image. Remembers the sizes it was asked for."""

    def __init__(self, factor):
        super().__init__()
        self.factor, self.asked = nn.Parameter(torch.tensor(factor)), []

    def forward(self, x):
        return self.forward_features(x).logits

    def forward_features(self, x):
        self.asked.append(len(x))
        return Features(self.factor * x, x.flatten(1), (10 * x,))


class Context:
    """Attacks add 0.25, or 0.5 where they are FGSM."""

    def __init__(self):
        self.generator = Generator().manual_seed(0)
        self.victims = []
        self.parents = {
            "adversarial": SimpleNamespace(purifier=Scale(0.5)),
            "restoring": SimpleNamespace(purifier=Scale(2.0)),
        }

    def attack(self, victim, attack, x, y):
        self.victims.append(victim)
        return x + (0.5 if isinstance(attack, FGSM) else 0.25)

    def observe(self, net, x):
        with torch.no_grad():
            return net.forward_features(x)


def one_step(defense, factor=1.0, values=(0.25, 0.5)):
    net = Purified(Scale(factor), nn.Sequential(nn.Flatten(), nn.Linear(4, 3)))
    context = Context()
    x = image(list(values))
    batch = Batch(x, torch.zeros(len(x), dtype=torch.int64), torch.arange(len(x)))
    return defense._step(net, context)(net.purifier, batch), net, context


def test_each_purifier_is_trained_on_its_own_images():
    # factor 1: S(x') - x is 0.25 everywhere, S(x) - x is 0
    terms, net, _ = one_step(Dbp(purifier="adversarial"))
    assert values(terms) == pytest.approx({"restore_adversarial": 0.25**2}) and net.purifier.asked == [2]
    terms, net, _ = one_step(Dbp(purifier="adversarial", clean_weight=2.0), factor=2.0)
    clean = (0.25**2 + 0.5**2) / 2
    attacked = (0.75**2 + 1.0**2) / 2  # 2 (x + 0.25) - x
    assert values(terms) == pytest.approx({"restore_adversarial": attacked, "restore_clean": 2 * clean})
    assert net.purifier.asked == [4]
    terms, net, context = one_step(Dbp(purifier="restoring"), factor=2.0)
    assert values(terms) == pytest.approx({"restore_clean": clean}) and not context.victims
    terms, _, context = one_step(Dbp(purifier="undistilled"))
    assert values(terms) == pytest.approx({"restore_adversarial": 0.25**2, "restore_clean": 0.0})


def test_the_denoising_baseline_sees_noise_and_no_attack():
    many = [0.5] * 4000
    terms, _, context = one_step(Dbp(purifier="denoising", noise=0.05), values=many)
    assert values(terms) == pytest.approx({"restore_noisy": 0.05**2}, rel=0.05) and not context.victims
    terms, _, _ = one_step(Dbp(purifier="denoising", noise=0.0))
    assert values(terms) == {"restore_noisy": 0.0}


def test_the_student_learns_from_the_adversarial_teacher_on_attacked_and_the_restoring_one_on_clean_images():
    terms, net, context = one_step(Dbp(a=1.0, w_a=1.0, w_n=1.0), values=(0.25, 0.25))
    # S(x') = 0.5 against T_a(x') = 0.25; S(x) = 0.25 against T_n(x) = 0.5
    assert values(terms) == pytest.approx(
        {"restore_adversarial": 0, "restore_clean": 0, "distil_adversarial": 0.0625, "distil_clean": 0.0625}
    )
    assert net.purifier.asked == [4], "one joint forward of x' and x"
    assert [context.parents[role].purifier.asked for role in ("adversarial", "restoring")] == [[2], [2]]
    terms, _, _ = one_step(Dbp(a=1.0, routing="ensemble"), values=(0.25, 0.25))
    assert terms["distil_ensemble"].item() == pytest.approx((0.5 - (0.5 * 0.25 + 0.5 * 0.5)) ** 2)


def test_the_task_term_is_the_cross_entropy_of_the_purified_attacked_images():
    terms, net, _ = one_step(Dbp(purifier="undistilled", task=0.5))
    logits = net.classifier(image([0.5, 0.75]))
    assert terms["task"].item() == pytest.approx(0.5 * F.cross_entropy(logits, torch.zeros(2).long()).item())
    assert torch.autograd.grad(terms["task"], net.purifier.factor)[0] != 0
    assert all(parameter.grad is None for parameter in net.classifier.parameters())


@pytest.mark.parametrize("purifier", ["adversarial", "undistilled", "distilled"])
def test_one_attack_per_batch_on_the_chosen_victim(purifier):
    _, net, context = one_step(Dbp(purifier=purifier))
    assert context.victims == [net.classifier]
    _, net, context = one_step(Dbp(purifier=purifier, attack_through="purifier"))
    assert context.victims == [net]


def test_attacks_may_be_mixed():
    terms, _, _ = one_step(Dbp(purifier="adversarial", attack="fgsm"))
    assert values(terms) == pytest.approx({"restore_adversarial": 0.5**2})
    terms, _, _ = one_step(Dbp(purifier="adversarial", attack="both"), values=(0.25, 0.25, 0.5, 0.5))
    assert values(terms) == pytest.approx({"restore_adversarial": (0.5**2 + 0.25**2) / 2})


def test_noise_is_clipped_and_drawn_from_the_given_generator():
    x = torch.full((1000, 1, 4, 4), 0.5)
    first, again = (noisy(x, 0.1, Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert (first - x).std().item() == pytest.approx(0.1, rel=0.05)
    wild = noisy(x, 10.0, Generator().manual_seed(3))
    assert wild.min() == 0 and wild.max() == 1


# --- training


def states(parents):
    return {
        role: {key: value.clone() for key, value in net.state_dict().items()} for role, net in parents.items()
    }


@pytest.mark.parametrize(
    "defense",
    [
        Dbp(steps=1, **SMALL),
        Dbp(steps=1, task=1.0, feat=1.0, routing="ensemble", attack_through="purifier", **SMALL),
        Dbp(purifier="adversarial", steps=1, clean_weight=1.0, **SMALL),
    ],
)
def test_only_the_purifier_is_trained(defense, task, make_context, parents):
    before = states(parents)
    modes = []
    net = seeded(lambda: defense.build(task))
    first = {key: value.clone() for key, value in net.purifier.state_dict().items()}
    net.classifier.register_forward_pre_hook(
        lambda module, _: modes.extend(part.training for part in module.modules())
    )
    context = make_context(net)
    defense.fit(net, context)
    after = states(parents)
    for role in parents:
        assert all(torch.equal(before[role][key], value) for key, value in after[role].items())
        assert all(parameter.grad is None for parameter in parents[role].parameters())
    classifier = net.classifier.state_dict()
    assert all(torch.equal(before["classifier"][key], value) for key, value in classifier.items())
    assert modes and not any(modes), "the classifier never leaves eval mode"
    assert not any(parameter.requires_grad for parameter in net.classifier.parameters())
    assert all(not torch.equal(value, first[key]) for key, value in net.purifier.named_parameters()), (
        "every parameter of the purifier is trained"
    )
    losses = [row["loss"] for row in context.history]
    assert losses[1] < losses[0]
    assert [finished["epoch"] for finished in context.finished] == [RECIPE.epochs], "the last one is kept"


def test_no_distillation_is_the_undistilled_student_bit_for_bit(task, make_context):
    assert Dbp(a=0.0).requires == Dbp(purifier="undistilled").requires == {"classifier": "standard"}
    one, _ = trained(Dbp(a=0.0, steps=1, **SMALL), task, make_context)
    other, _ = trained(Dbp(purifier="undistilled", steps=1, **SMALL), task, make_context)
    both = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in both)


def test_without_a_purifier_nothing_is_trained(task, make_context, parents):
    net, context = trained(Dbp(purifier="none"), task, make_context)
    assert not context.history and not list(net.purifier.parameters())
    x = torch.rand(4, 1, 8, 8)
    assert torch.equal(net.eval()(x), parents["classifier"](x))


def test_the_classifier_stays_in_eval_mode(task):
    net = Dbp(**SMALL).build(task).train()
    assert net.purifier.training and not any(module.training for module in net.classifier.modules())


def test_widths_and_halves(task):
    def channels(defense):
        return [block[0].out_channels for block in defense.build(task).purifier.encoder]

    assert channels(Dbp()) == [32, 64]
    assert channels(Dbp(half=True)) == channels(Dbp(purifier="undistilled", half=True)) == [16, 32]
    assert channels(Dbp(purifier="adversarial", half=True)) == [32, 64], "teachers have the full width"
    assert channels(Dbp(widths=(3, 5, 7))) == [3, 5, 7]
    colour = Dbp().build(replace(task, image_shape=(3, 32, 32), mean=(0.5,) * 3, std=(0.5,) * 3))
    assert [block[0].out_channels for block in colour.purifier.encoder] == [32, 64, 128]


# --- what is trained before, and the names


def test_teachers_are_told_what_concerns_them():
    settings = {
        "widths": "4,8", "skip": "true", "steps": "3", "step_size": "1/3", "attack": "both", "a": "0.7",
        "attack_through": "purifier", "clean_weight": "0.5", "w_a": "0.9", "task": "1", "gradients": "bpda",
    }  # fmt: skip
    spec = plan_training(Request("dbp", data="synthetic", settings={"defense": settings}))
    parents = dict(spec.parents)
    assert parents["adversarial"].named.defense == Dbp(
        purifier="adversarial",
        widths=(4, 8),
        skip=True,
        steps=3,
        step_size=Fraction(1, 3),
        attack="both",
        attack_through="purifier",
        clean_weight=0.5,
    )
    assert parents["restoring"].named.defense == Dbp(purifier="restoring", widths=(4, 8), skip=True)
    assert {dict(parents[role].parents)["classifier"].id for role in ("adversarial", "restoring")} == {
        parents["classifier"].id
    }, "all three stand before the same classifier"


def test_the_deployed_teachers_are_those_that_teach():
    parents = dict(plan_training(Request("dbp", data="synthetic")).parents)
    for role in ("adversarial", "restoring"):
        assert parents[role].id == plan_training(Request(f"dbp_teacher_{role}", data="synthetic")).id


def test_the_named_variants():
    kinds = {
        "dbp": "distilled",
        "dbp_none": "none",
        "dbp_teacher_adversarial": "adversarial",
        "dbp_teacher_restoring": "restoring",
        "dbp_undistilled": "undistilled",
    }
    for name, purifier in kinds.items():
        assert DEFENSES.get(name) == Dbp(purifier=purifier)
    assert set(Dbp().requires) == {"classifier", "adversarial", "restoring"}
    assert all(DEFENSES.get(name).requires == {"classifier": "standard"} for name in kinds if name != "dbp")


def test_stored_weights_hold_the_classifier_bit_for_bit(tmp_path):
    settings = {"defense": {"widths": "4"}, "recipe": {"epochs": "1", "validation_examples": "8"}}
    spec = plan_training(
        Request("dbp_teacher_restoring", data="synthetic", architecture="wide_resnet_10_1", settings=settings)
    )
    options = Options(Store(tmp_path), device="cpu")
    mine = load_file(fit(spec, options).weights)
    classifier = load_file(fit(dict(spec.parents)["classifier"], options).weights)
    assert any("running_var" in key for key in classifier)
    assert all(torch.equal(mine[f"classifier.{key}"], value) for key, value in classifier.items())


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": "0"},
        {"widths": "8,0"},
        {"a": "1.5"},
        {"noise": "-1"},
        {"w_n": "-0.5"},
        {"feat": "1", "half": "true"},
        {"w_a": "0.9", "routing": "ensemble"},
        {"purifier": "denoised"},
        {"gradients": "none"},
    ],
)
def test_values_out_of_range_are_one_sentence(settings):
    with pytest.raises(BadValue, match=next(iter(settings))):
        override(Dbp(), settings)
