"""`--init FILE`: training that begins with given weights, known by their content."""

import json
import shutil

import pytest
import safetensors.torch
import torch

QUICK = ["--data", "synthetic", "--set", "recipe.epochs=1", "--set", "recipe.validation_examples=0"]
QUICK += ["--set", "recipe.select=last", "--json"]
STILL = ["--set", "recipe.learning_rate=1e-12"]


@pytest.fixture
def train(bench, tmp_path):
    def call(*words, store=tmp_path / "runs"):
        return bench("train", "--defense", "standard", *QUICK, "--store", store, *words)

    return call


@pytest.fixture
def weights(train, tmp_path):
    folder = json.loads(train(store=tmp_path / "first").out)["folder"]
    return shutil.copy(f"{folder}/best.safetensors", tmp_path / "given.safetensors")


def test_training_begins_with_the_given_weights(train, weights):
    told = json.loads(train(*STILL, "--init", weights).out)
    found = safetensors.torch.load_file(f"{told['folder']}/best.safetensors")
    given = safetensors.torch.load_file(weights)
    assert found.keys() == given.keys()
    assert all(torch.allclose(found[key], given[key], atol=1e-6) for key in given)
    fresh = json.loads(train(*STILL).out)
    assert fresh["training_id"] != told["training_id"]


def test_the_same_content_elsewhere_is_the_same_training(train, weights, tmp_path):
    first = json.loads(train(*STILL, "--init", weights).out)
    again = train(*STILL, "--init", shutil.copy(weights, tmp_path / "other.safetensors"))
    assert json.loads(again.out)["training_id"] == first["training_id"]
    assert "nothing was trained" in again.err
    changed = {key: value + 1 for key, value in safetensors.torch.load_file(weights).items()}
    safetensors.torch.save_file(changed, weights)
    assert json.loads(train(*STILL, "--init", weights).out)["training_id"] != first["training_id"]


def test_a_record_says_where_training_began(bench, weights, tmp_path):
    words = ["run", "--defense", "standard", *QUICK, *STILL, "--init", weights, "--suite", "smoke"]
    told = json.loads(bench(*words, "--examples", "8", "--store", tmp_path / "runs").out)
    assert told["training"]["recipe"].startswith("short[epochs=1,init=")


def test_a_file_that_is_not_there_or_does_not_fit_is_one_sentence(train, weights, tmp_path):
    missing = train("--init", tmp_path / "nothing.pt")
    assert missing.code == 2 and "nothing.pt cannot be read (No such file or directory)" in missing.err
    other = train("--init", weights, "--arch", "lenet")
    assert other.code == 2 and "does not fit the network: conv1.weight is" in other.err
    assert "Traceback" not in missing.err + other.err
    assert not list(tmp_path.glob("runs/models/*/*")), "nothing half-written"
