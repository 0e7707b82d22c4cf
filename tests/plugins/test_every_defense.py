"""Every registered defense keeps the contract; broken ones are found out, clause by clause."""

import dataclasses

import pytest
import torch
from torch import nn

import bench.check as conformance
from bench.api import Deployed
from bench.errors import BadValue, UnknownName
from bench.nn.architectures import network
from bench.plan import Request, plan_training
from bench.records.store import Store
from bench.registry import DEFENSES
from bench.runner.options import Options
from bench.runner.weights import load_data
from bench.train.foreign import Foreign
from defenses.standard import Standard


@pytest.fixture
def weights(tmp_path):
    """A file for a defense that loads what others trained: fresh weights will do."""
    spec = plan_training(Request("standard", data=conformance.DATA, architecture=conformance.ARCHITECTURE))
    task = load_data(spec, Options(Store(tmp_path), device="cpu")).task(conformance.ARCHITECTURE)
    torch.save(network(task).state_dict(), tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


@pytest.mark.parametrize("name", DEFENSES.names())
def test_defense_keeps_the_contract(name, weights):
    foreign = isinstance(DEFENSES.get(name), Foreign)
    found = list(conformance.check_defense(name, weights=weights if foreign else None))
    assert not [checked for checked in found if not checked.kept]
    assert len(found) >= 12


def test_what_others_trained_cannot_be_checked_without_a_file():
    with pytest.raises(BadValue, match="loaded has no weights of its own, expected a file"):
        list(conformance.check_defense("loaded"))


class Wrapped(nn.Module):
    def __init__(self, net, change):
        super().__init__()
        self.net, self.change = net, change

    def forward(self, x):
        return self.change(self.net, x)


class Flat(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return torch.zeros_like(gradient)


def trained_mode(net, x):
    net.train()
    return net(x)


BROKEN = {
    "answers logits, not probabilities": lambda net, x: net(x).softmax(1),
    "answers the same twice, unless it says it is randomized": lambda net, x: net(x + torch.rand_like(x)),
    "answers one image as it answers it among others": trained_mode,
    "has a finite, non-zero input gradient": lambda net, x: net(Flat.apply(x)),
    "answers [n, K] finite numbers": lambda net, x: net(x) / 0,
    "keeps weights and BatchNorm statistics under attack": trained_mode,
}


@pytest.mark.parametrize("clause", BROKEN)
def test_a_broken_defense_is_found_out(clause, monkeypatch):
    def deploy(self, net):
        return Deployed(Wrapped(net, BROKEN[clause]))

    monkeypatch.setattr(Standard, "deploy", deploy)
    broken = [checked.clause for checked in conformance.check_defense("standard") if not checked.kept]
    assert clause in broken


def test_a_stand_in_that_disagrees_is_found_out(monkeypatch):
    def deploy(self, net):
        return Deployed(net, attackable=Wrapped(net, lambda inner, x: inner(x) + 1))

    monkeypatch.setattr(Standard, "deploy", deploy)
    broken = [checked.clause for checked in conformance.check_defense("standard") if not checked.kept]
    assert broken == ["has an attackable that agrees with predict"]


def test_a_defense_that_trains_its_teacher_is_found_out(monkeypatch):
    from defenses.agkd_bml import AgkdBml

    fit = AgkdBml.fit

    def spoiling(self, net, context):
        fit(self, net, context)
        for folder in context_folder(context).parent.iterdir():
            if (folder / "best.safetensors").exists() and folder != context_folder(context):
                with (folder / "best.safetensors").open("ab") as file:
                    file.write(b"x")

    monkeypatch.setattr(AgkdBml, "fit", spoiling)
    broken = [checked.clause for checked in conformance.check_defense("agkd_bml") if not checked.kept]
    assert "leaves its parents as they were" in broken


def context_folder(context):
    return context.checkpoints.folder


def test_an_unfrozen_defense_is_found_out(monkeypatch):
    @dataclasses.dataclass
    class Loose(Standard.__mro__[1]):
        pass

    assert not conformance._frozen(Loose())


def test_an_unknown_name_is_a_sentence():
    with pytest.raises(UnknownName, match="did you mean 'pgd_at'"):
        list(conformance.check_defense("pgd_ta"))
