"""AWP: the perturbation by hand, what it moves, and that everything is back before the optimizer."""

import math
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import nn

import defenses.pgd_at
from bench.api import Batch
from bench.core.encoding import decode, encode
from bench.errors import BadValue, UnknownName
from bench.plan import Request, name_of, parse_defense, plan_training
from bench.records.store import Store
from bench.registry import DEFENSES
from bench.runner.options import Options
from bench.runner.weights import build_trained, fit, load_data
from bench.train.checkpoints import weights_of
from defenses.awp import Awp, Perturbation, perturbation
from defenses.pgd_at import PgdAt
from defenses.trades import Trades


def test_the_perturbation_has_gammas_share_of_the_weights_length_along_the_gradient():
    torch.manual_seed(0)
    weight, gradient = torch.randn(5, 3, 2, 2), torch.randn(5, 3, 2, 2)
    moved = perturbation(weight, gradient, 0.01)
    assert (moved.norm() / weight.norm()).item() == pytest.approx(0.01, rel=1e-5)
    assert nn.functional.cosine_similarity(
        moved.flatten(), gradient.flatten(), dim=0
    ).item() == pytest.approx(1)
    assert not perturbation(weight, torch.zeros_like(weight), 0.01).any()


class Line(nn.Module):
    """One weight matrix, one bias, one statistic."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 1)
        self.register_buffer("seen", torch.zeros(()))
        nn.init.constant_(self.linear.weight, 3.0)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x):
        self.seen += 1
        return self.linear(x)


class Rehearsal:
    """The part of a context that AWP needs."""

    elapsed = Fraction(0)

    def rehearse(self, step, model, batch):
        return step(model, batch), lambda: step(model, batch)


def test_the_loss_is_that_of_the_worst_weights_nearby_by_hand():
    net, x = Line(), torch.tensor([[1.0, 0.0]])
    around = Perturbation(Rehearsal(), gamma=0.1)

    def step(model, batch):
        return {"clean": model(batch).sum()}  # 3; its gradient for the weights is (1, 0)

    terms = around.terms(net, step, net, x)
    length = math.sqrt(3**2 + 3**2)
    assert terms["clean"].item() == pytest.approx(3 + 0.1 * length)
    assert net.linear.weight.tolist() == [[pytest.approx(3 + 0.1 * length), 3.0]]
    assert net.linear.bias.item() == 0, "biases are not moved"
    assert net.seen.item() == 1, "the ascent leaves the statistics as they were"
    terms["clean"].backward()
    around.after_backward(net)
    assert net.linear.weight.tolist() == [[3.0, 3.0]]
    assert net.linear.weight.grad.tolist() == [[1.0, 0.0]]


def test_before_the_warmup_is_over_weights_are_not_attacked():
    net, context = Line(), Rehearsal()
    around = Perturbation(context, gamma=0.1, warmup=Fraction(9, 200))
    losses = []
    for done in (Fraction(0), Fraction(89, 2000), Fraction(9, 200), Fraction(1, 2)):
        context.elapsed = done
        terms = around.terms(net, lambda model, x: {"clean": model(x).sum()}, net, torch.tensor([[1.0, 0.0]]))
        losses.append(terms["clean"].item())
        around.after_backward(net)
    assert losses[:2] == [3, 3] and min(losses[2:]) > 3.1, "from the tenth of 200 epochs on"
    assert net.linear.weight.tolist() == [[3.0, 3.0]]


def test_the_clean_forward_goes_through_batchnorm_after_each_step(short, passes):
    def tracked(defense):
        state = short(defense, steps=2).state_dict()
        return {state[key].item() for key in state if key.endswith("num_batches_tracked")}

    apart = PgdAt(1, attack_mode="eval")
    assert tracked(Awp(apart)) == {2} and tracked(Awp(apart, clean_forward=True)) == {4}
    assert tracked(Awp(PgdAt(1))) == {4}, "the attack's own pass, made once and not twice"
    forwards, *others = passes(Awp(PgdAt(3)))
    assert passes(Awp(PgdAt(3), clean_forward=True)) == (forwards + 1, *others)


def test_the_clean_forward_is_made_with_the_weights_that_were_put_back():
    net = Line()
    around = Perturbation(Rehearsal(), gamma=0.1, clean_forward=True)
    batch = Batch(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), torch.tensor([0]))
    seen = []
    net.register_forward_hook(lambda module, inputs, logits: seen.append(logits.item()))
    around.terms(net, lambda model, batch: {"clean": model(batch.x).sum()}, net, batch)["clean"].backward()
    gradient = net.linear.weight.grad.clone()
    around.after_backward(net)
    around.after_step(net)
    assert seen == [3.0, pytest.approx(3 + 0.1 * math.sqrt(18)), 3.0]
    assert torch.equal(net.linear.weight.grad, gradient)


def test_the_released_variants_are_registered():
    assert DEFENSES.get("at_awp") == Awp("pgd_at[last_look=true]", gamma=0.01, clean_forward=True)
    assert parse_defense("at_awp", {}).defense.base == PgdAt(attack_mode="train", last_look=True)
    released = parse_defense("trades_awp", {}).defense
    assert released == Awp(base=Trades(beta=6), gamma=0.005, warmup=Fraction(9, 200))
    paper = plan_training(Request("trades_awp", data="cifar10", recipe="paper")).recipe
    assert (paper.epochs, paper.weight_decay) == (200, 5e-4) and 9 / paper.epochs == 9 / 200
    assert plan_training(Request("at_awp", data="cifar10", recipe="paper")).recipe.name == "paper_awp"


def trained(tmp_path, name):
    settings = {"recipe": {"epochs": "2", "validation_examples": "0", "select": "last", "optimizer": "sgd"}}
    request = Request(name, data="synthetic", architecture="wide_resnet_10_1", settings=settings)
    spec = plan_training(request)
    options = Options(Store(tmp_path / name), device="cpu")
    fitted = fit(spec, options)
    return weights_of(build_trained(spec, fitted, load_data(spec, options), "best"))


def test_without_a_radius_it_is_its_base_bit_for_bit(tmp_path, monkeypatch):
    # the random streams are named by the run; here both runs have one name
    monkeypatch.setattr("bench.plan.TrainSpec.id", property(lambda spec: "one"))
    plain, wrapped = trained(tmp_path, "pgd_at"), trained(tmp_path, "awp[gamma=0]")
    assert all(torch.equal(plain[key], wrapped[key]) for key in plain)
    moved = trained(tmp_path, "awp[gamma=0.1]")
    assert not all(torch.equal(plain[key], moved[key]) for key in plain)


def test_it_composes_with_any_defense_and_needs_what_that_needs():
    named = parse_defense("awp[base=agkd_bml[steps=2,margin=0.1],gamma=0.02]", {})
    assert named.label == "awp[base=agkd_bml[margin=0.1,steps=2],gamma=0.02]"
    assert named.defense.requires == {"teacher": "standard[label_smoothing=0.5]"}
    assert decode(encode(named.defense)) == named.defense
    assert parse_defense("awp", {}).defense.base == PgdAt()
    assert parse_defense("awp", {"base": "standard"}).label == "awp[base=standard]"
    modules = plan_training(Request("awp[base=agkd_bml]")).modules
    assert {"defenses.awp", "defenses.agkd_bml", "defenses.standard"} <= set(modules)


@pytest.mark.parametrize("name", sorted(set(DEFENSES.names()) - {"loaded"}))
def test_any_registered_defense_can_be_inside_another_under_its_own_name(name):
    spec = plan_training(Request(f"awp[base={name}]"))
    inside = spec.named.defense.base
    told = name_of(inside).label
    assert inside == parse_defense(name, {}).defense == parse_defense(told, {}).defense
    assert spec.named.label == ("awp" if name == "pgd_at" else f"awp[base={told}]")
    assert type(inside).__module__ in spec.modules
    both = plan_training(Request(f"ensemble[members={name}+standard]"))
    assert [parent.named.label for _, parent in both.parents] == [told, "standard"]


def test_a_base_may_come_from_a_file(tmp_path):
    path = tmp_path / "own_training.py"
    path.write_text(Path(defenses.pgd_at.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    named = parse_defense(f"awp[base={path}:PgdAt[steps=3]]", {})
    assert named.label == "awp[base=own_training.py:PgdAt[steps=3]]"
    both = plan_training(Request(f"ensemble[members={path}:PgdAt+pgd_at]"))
    assert both.named.label == "ensemble[members=own_training.py:PgdAt+pgd_at]"
    assert "own_training" in both.modules


def test_a_base_that_does_not_exist_is_one_sentence():
    with pytest.raises(BadValue, match="gamma is 1"):
        Awp(gamma=1.0)
    with pytest.raises(UnknownName, match="did you mean 'pgd_at'"):
        parse_defense("awp[base=pgd_ta]", {})
