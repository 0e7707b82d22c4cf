"""`bench run --surrogate`: attackers own the network that the user names, and never the victim itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.torch
import torch

from bench.core.threat import Source
from bench.data.load import load
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.plan import Request, plan_run

FEW = ["--set", "attack.square.queries=3"]


@pytest.fixture
def run(bench, linear, linear_data, tmp_path):
    """`bench run` of the linear defense under the blackbox suite, with a surrogate of the caller's."""

    def call(surrogate, *words):
        given = ["--data", linear_data, "--suite", "blackbox", "--examples", "all", "--eps", "1/20", *FEW]
        given += ["--store", tmp_path / "runs", "--surrogate", surrogate]
        return bench("run", "--defense", linear, *given, *words)

    return call


def drawn(seed):
    """The weights [2, 16] and biases [2] that the linear defense draws."""
    generator = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn(2, 16, generator=generator) / 4, torch.randn(2, generator=generator) / 4
    return weight.double().numpy(), bias.double().numpy()


def test_images_of_the_named_surrogate_are_what_is_judged(run, linear, arrays):
    told = run(f"{linear}[weights_seed=1]", "--json")
    assert told.code == 0, told.err
    record = json.loads(told.out)
    columns = {column["name"]: column for column in record["columns"]}

    # PGD-100 ends in the corner that the surrogate's gradient points to; the victim is asked there, once
    (own, _), (weight, bias) = drawn(1), drawn(0)
    x, y = arrays["x_test"].reshape(120, -1).astype(float), arrays["y_test"]
    corner = np.clip(x - np.sign(own[y] - own[1 - y]) / 20, 0, 1)
    held = ((corner @ weight.T + bias).argmax(1) == y).sum()
    assert columns["transfer_pgd"]["robust"]["count"] == held
    assert columns["transfer_pgd"]["knowledge"] == "black-box, surrogate"
    assert record["custom"], "no published suite has this attacker"
    assert f"{linear.rpartition('/')[2]}[weights_seed=1]@lenet, training " in told.err


def test_a_surrogate_with_the_victims_weights_is_refused(run, linear, tmp_path):
    told = run(f"{linear}@lenet")  # this defense draws the same weights whatever the seed
    assert told.code == 2 and told.out == "" and "Traceback" not in told.err
    assert "the surrogate of this run has the victim's own weights" in told.err.splitlines()[-1]
    assert not list((tmp_path / "runs").glob("*/record.json"))


def planned(**changes):
    return plan_run(Request(**{"defense": "pgd_at", "suite": "blackbox", **changes}))


def test_the_surrogate_is_part_of_the_runs_identity_and_the_usual_one_has_the_usual_id():
    usual = planned()
    held = dict(usual.others)[Source.SURROGATE]
    assert (held.named.label, held.architecture, held.seed) == ("standard", "lenet", 1)
    named = [planned(surrogate=name) for name in ("pgd_at", "pgd_at@small_cnn", "pgd_at[steps=3]@lenet")]
    assert len({usual.id, *(spec.id for spec in named)}) == 4
    assert {spec.training.id for spec in named} == {usual.training.id}, "the victim is the same"
    assert {planned(surrogate=name).id for name in ("standard", "standard@lenet")} == {usual.id}
    assert not usual.custom and all(spec.custom for spec in named)


def test_the_surrogate_is_trained_by_the_same_recipe_parents_first():
    settings = {"recipe": {"epochs": "3"}, "defense": {"steps": "2"}}
    spec = planned(surrogate="agkd_bml@small_cnn", settings=settings)
    held = dict(spec.others)[Source.SURROGATE]
    assert held.recipe == spec.training.recipe and held.recipe.epochs == 3
    assert [parent.architecture for _, parent in held.parents] == ["small_cnn"]
    assert spec.training.named.label == "pgd_at[steps=2]" and held.named.label == "agkd_bml"


def test_weights_of_others_are_the_victims_whatever_the_seed_says(tmp_path):
    path = tmp_path / "models" / "huggingface" / "some" / "one" / "model.safetensors"
    path.parent.mkdir(parents=True)
    net = network(load("digits").task("small_cnn"))
    safetensors.torch.save_file(net.state_dict(), path)
    given = {"defense": "hf:some/one", "data_root": tmp_path, "download": False}
    for surrogate in ("hf:some/one", "hf:some/one@lenet"):
        with pytest.raises(BadValue, match="which is the victim itself"):
            planned(**given, surrogate=surrogate)
    planned(**given, surrogate="pgd_at")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--surrogate pgdat", ["'pgdat'", "did you mean 'pgd_at'?"]),
        ("--surrogate pgd_at@lenett", ["'lenett'", "did you mean 'lenet'?"]),
        ("--surrogate pgd_at@", ["architecture", "''"]),
        ("--surrogate pgd_at[stepz=3]@lenet", ["'stepz'", "did you mean 'steps'?"]),
        (
            "--surrogate pgd_at --suite whitebox",
            ["whitebox@2 owns a surrogate", "--suite blackbox"],
        ),
    ],
)
def test_a_bad_surrogate_is_one_sentence(bench, tmp_path, words, told):
    given = ["run", "--defense", "standard", "--data", "synthetic", "--suite", "blackbox"]
    refused = bench(*given, "--store", tmp_path / "runs", *words.split(" "))
    assert refused.code == 2 and refused.out == "" and len(refused.err.splitlines()) == 1, refused.err
    for word in told:
        assert word in refused.err
    assert not (tmp_path / "runs").exists()
