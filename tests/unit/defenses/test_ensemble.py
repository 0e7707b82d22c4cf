"""Ensembles: each aggregation by hand, members as they were trained, gradients through all of them."""

import math
from fractions import Fraction

import pytest
import torch
from torch import nn

from bench.api import Deployed, Trait
from bench.core.encoding import decode, encode
from bench.core.outcomes import REFUSED
from bench.core.threat import Budget, Norm, Source
from bench.errors import BadValue, UnknownName
from bench.evaluate.batches import Batches
from bench.evaluate.referee import Referee
from bench.nn.fold import Folded, fold
from bench.nn.resnet import ResNet
from bench.plan import Request, parse_defense, plan_run, plan_training
from bench.records.store import Store
from bench.registry import DEFENSES
from bench.runner.options import Options
from bench.runner.weights import build_trained, fit, load_data
from defenses.ensemble import Ensemble, Together, combine
from defenses.pgd_at import PgdAt
from defenses.standard import Standard

AGGREGATIONS = ("logits", "probabilities", "vote")


def logits_of(*probabilities):
    """Logits whose softmax these are; the shift must not matter to probabilities."""
    return torch.tensor([[math.log(p) + 3 for p in probabilities]])


def test_the_mean_of_logits_by_hand():
    parts = [torch.tensor([row]) for row in ([3.0, 0.0, -6.0], [0.0, 3.0, 0.0], [0.0, 0.0, 0.0])]
    assert combine(parts, "logits").tolist() == [[1.0, 1.0, -2.0]]


def test_the_mean_of_probabilities_by_hand():
    found = combine([logits_of(0.7, 0.2, 0.1), logits_of(0.1, 0.6, 0.3)], "probabilities")
    assert found.exp().flatten().tolist() == pytest.approx([0.4, 0.4, 0.2], abs=1e-6)


def test_probabilities_do_not_vanish_where_a_member_is_sure():
    sure = torch.tensor([[500.0, 0.0]], requires_grad=True)
    found = combine([sure, sure], "probabilities")
    assert found.flatten().tolist() == pytest.approx([0.0, -500.0])
    (gradient,) = torch.autograd.grad(found[0, 1], sure)
    assert gradient.flatten().tolist() == pytest.approx([-1.0, 1.0], rel=1e-5)


def test_most_votes_win_against_a_surer_minority():
    # two members name class 1 with 0.5 and 0.55; the third is sure of class 0
    parts = [logits_of(0.4, 0.5, 0.1), logits_of(0.4, 0.55, 0.05), logits_of(0.98, 0.01, 0.01)]
    assert combine(parts, "probabilities").argmax().item() == 0
    votes = combine(parts, "vote")
    assert votes.argmax().item() == 1
    assert votes.flatten().tolist() == pytest.approx(
        [1 + (0.4 + 0.4 + 0.98) / 6, 2 + (0.5 + 0.55 + 0.01) / 6, (0.1 + 0.05 + 0.01) / 6], abs=1e-6
    )


@pytest.mark.parametrize(("sure", "winner"), [(0.9, 0), (0.5, 1)])
def test_a_tie_goes_to_the_larger_mean_probability(sure, winner):
    # one names class 0, the other class 1; class 0 is sure enough in the mean only if 0.9
    parts = [logits_of(sure, 0.95 - sure, 0.05), logits_of(0.1, 0.7, 0.2)]
    votes = combine(parts, "vote")
    assert votes.argmax().item() == winner
    mean = [(sure + 0.1) / 2, (0.95 - sure + 0.7) / 2, 0.125]
    assert votes.flatten().tolist() == pytest.approx([1 + mean[0] / 2, 1 + mean[1] / 2, mean[2] / 2])


def test_a_vote_climbs_like_the_mean_probability():
    torch.manual_seed(0)
    parts = [torch.randn(5, 4, requires_grad=True) for _ in range(3)]
    weight = torch.randn(5, 4)
    votes, probable = combine(parts, "vote"), combine(parts, "probabilities")
    assert not torch.allclose(votes, probable)
    found = torch.autograd.grad((votes * weight).sum(), parts)
    wanted = torch.autograd.grad((probable * weight).sum(), parts)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert all(gradient.any() for gradient in found), "every member is climbed"


def networks(count=3):
    torch.manual_seed(0)
    return [nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 4)) for _ in range(count)]


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_one_network_asked_twice_answers_as_it_does_alone(aggregation):
    (net,), x = networks(1), torch.rand(50, 3, 2, 2)
    answer, alone = Together([net, net], aggregation)(x), net(x)
    assert torch.equal(answer.argmax(1), alone.argmax(1))
    if aggregation == "vote":
        assert torch.allclose(answer.max(1).values, 2 + alone.softmax(1).max(1).values / 2)
    else:
        assert torch.allclose(answer.softmax(1), alone.softmax(1), atol=1e-6)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_gradients_are_finite_and_of_all_members(aggregation):
    nets, x = networks(), torch.rand(6, 3, 2, 2, requires_grad=True)
    together = Together(nets, aggregation)
    loss = nn.functional.cross_entropy(together(x), torch.tensor([0, 1, 2, 3, 0, 1]))
    gradients = torch.autograd.grad(loss, [x, *(net[1].weight for net in nets)])
    assert all(bool(g.isfinite().all()) and bool(g.any()) for g in gradients)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_the_oracle_can_fold_every_member(aggregation):
    torch.manual_seed(0)
    nets = [ResNet((1, 8, 8), 3, (0.5,), (0.5,)) for _ in range(2)]
    x = torch.rand(4, 1, 8, 8)
    folded = fold(Together(nets, aggregation), x[:2])
    assert isinstance(folded, Folded)
    assert torch.allclose(folded(x), Together(nets, aggregation).eval()(x), atol=1e-4)


class Rounded(nn.Module):
    """A network behind something that has no gradient."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net((x * 4).round() / 4)


class Guarded(Standard):
    """A defense with every view that there is."""

    def deploy(self, net):
        return Deployed(
            predict=Rounded(net),
            classifier=net,
            attackable=net,
            adaptive_loss=lambda x, y: nn.functional.cross_entropy(net(x), y, reduction="none"),
            detector=lambda x: x.flatten(1).mean(1) > 0.6,
            randomized=True,
        )


def test_every_view_combines_those_of_the_members():
    one, other = networks(2)
    net, x, y = nn.ModuleList([one, other]), torch.rand(40, 3, 2, 2), torch.zeros(40, dtype=torch.int64)
    deployed = Ensemble(members=(Guarded(), Standard())).deploy(net)
    assert torch.allclose(deployed.predict(x), (Rounded(one)(x) + other(x)) / 2)
    for view in (deployed.attackable, deployed.classifier):
        assert torch.allclose(view(x), (one(x) + other(x)) / 2)
    assert torch.equal(deployed.detector(x), x.flatten(1).mean(1) > 0.6)
    assert deployed.randomized
    assert deployed.adaptive_loss is None, "one of them states none"
    both = Ensemble(members=(Guarded(), Guarded())).deploy(net).adaptive_loss(x, y)
    entropies = [nn.functional.cross_entropy(part(x), y, reduction="none") for part in (one, other)]
    assert torch.allclose(both, sum(entropies) / 2)


class Suspicious(Standard):
    """A defense that refuses bright images, and says how bright."""

    def deploy(self, net):
        return Deployed(net, suspicion=lambda x: x.flatten(1).mean(1) - 0.4, randomized=True, eot_samples=7)


def test_a_suspicion_is_that_of_the_most_suspicious_member():
    net, x = nn.ModuleList(networks(2)), torch.rand(40, 3, 2, 2)
    deployed = Ensemble(members=(Suspicious(), Standard())).deploy(net)
    assert torch.equal(deployed.suspicion(x), x.flatten(1).mean(1) - 0.4) and deployed.eot_samples == 7
    assert deployed.traits == {Trait.ENSEMBLE, Trait.DETECTOR, Trait.RANDOMIZED}
    blind = Ensemble(members=(Suspicious(), Guarded())).deploy(net)
    assert blind.suspicion is None, "one of them refuses and does not say how nearly"


class Detecting(Standard):
    """A defense that refuses dark images and says nothing more."""

    def deploy(self, net):
        return Deployed(net, detector=lambda x: x.flatten(1).mean(1) < 0.2)


@pytest.mark.parametrize("members", [(Suspicious, Detecting), (Detecting, Standard, Suspicious)])
def test_what_one_member_only_suspects_is_refused_beside_one_with_a_detector(members):
    levels = 0.03 + 0.09 * torch.arange(11)
    x = levels[:, None, None, None].expand(11, 3, 2, 2)
    net = nn.ModuleList(networks(len(members)))
    deployed = Ensemble(members=tuple(member() for member in members)).deploy(net)
    refused = (levels < 0.2) | (levels > 0.4)
    assert torch.equal(deployed.detector(x), refused)
    classes = Referee(deployed, Budget(Norm.LINF, Fraction(1)), Batches(8)).classify(x)
    assert torch.equal(classes == REFUSED, refused)


def test_suspicions_alone_refuse_what_any_member_suspects():
    x = (0.03 + 0.09 * torch.arange(11))[:, None, None, None].expand(11, 3, 2, 2)
    deployed = Ensemble(members=(Standard(), Suspicious())).deploy(nn.ModuleList(networks(2)))
    assert deployed.detector is None
    classes = Referee(deployed, Budget(Norm.LINF, Fraction(1)), Batches(8)).classify(x)
    assert torch.equal(classes == REFUSED, deployed.suspicion(x) > 0)
    assert (classes == REFUSED).sum() == 6, "from 0.48 on"


def test_plain_members_make_a_plain_deployment():
    deployed = Ensemble(members=(Standard(), Standard())).deploy(nn.ModuleList(networks(2)))
    views = (deployed.classifier, deployed.attackable, deployed.adaptive_loss, deployed.detector)
    assert views == (None,) * 4 and not deployed.randomized


def test_members_are_typed_with_their_parameters():
    named = parse_defense("ensemble[members=pgd_at[steps=3]+awp[base=standard,gamma=0.02]+standard]", {})
    steps, awp, standard = named.defense.members
    assert (steps, awp.gamma, awp.base, standard) == (PgdAt(steps=3), 0.02, Standard(), Standard())
    assert parse_defense(named.label, {}).defense == named.defense
    assert list(named.defense.requires) == ["member_0", "member_1", "member_2"]
    assert decode(encode(named.defense)) == named.defense
    assert parse_defense("ensemble", {}).label == "ensemble"
    told = parse_defense("ensemble", {"aggregation": "vote", "members": "standard+standard"})
    assert told.label == "ensemble[aggregation=vote,members=standard+standard]"


@pytest.mark.parametrize("members", ["pgd_at", "pgd_at[steps=3]"])
def test_one_member_is_one_sentence(members):
    with pytest.raises(BadValue, match=r"defense\.members is one defense, expected at least two") as raised:
        parse_defense(f"ensemble[members={members}]", {})
    assert "--set defense.members=pgd_at+trades" in str(raised.value)


def test_no_member_is_one_sentence():
    with pytest.raises(BadValue, match="members is empty, expected at least two"):
        Ensemble(members=())


def test_a_wrong_member_is_told():
    with pytest.raises(UnknownName, match="did you mean 'pgd_at'"):
        parse_defense("ensemble[members=standard+pgdat]", {})
    with pytest.raises(BadValue, match="'logits', 'probabilities' or 'vote'"):
        parse_defense("ensemble[aggregation=median]", {})
    with pytest.raises(TypeError, match=r"only bench\.plan can resolve"):
        Ensemble().build(None)


SETTINGS = {"epochs": "1", "validation_examples": "0", "select": "last"}


def request(name):
    return Request(name, data="synthetic", suite="graybox", settings={"recipe": SETTINGS})


def test_members_are_runs_of_their_own_and_their_weights_are_copied(tmp_path):
    spec = plan_training(request("ensemble[members=standard+pgd_at[steps=1]]"))
    alone = plan_training(request("pgd_at[steps=1]"))
    assert dict(spec.parents)["member_1"].id == alone.id
    options = Options(Store(tmp_path), device="cpu")
    data = load_data(spec, options)
    trained = fit(spec, options, data)
    assert (trained.epoch, trained.epochs) == (0, 0)
    net = build_trained(spec, trained, data, "best")
    for place, parent in enumerate(dict(spec.parents).values()):
        member = build_trained(parent, fit(parent, options, data), data, "best")
        for own, given in zip(net[place].state_dict().values(), member.state_dict().values(), strict=True):
            assert torch.equal(own, given)


def test_a_twin_is_made_of_twins():
    spec = plan_run(request("ensemble[members=standard+pgd_at]"))
    twin = dict(spec.others)[Source.TWIN]
    own = {parent.id for _, parent in spec.training.parents}
    assert own.isdisjoint(parent.id for _, parent in twin.parents)


def test_the_table_has_it():
    assert DEFENSES.get("ensemble") == Ensemble()
