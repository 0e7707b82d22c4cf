"""`--defense loaded | robustbench:NAME | hf:REPO`: networks of others through whole commands."""

import json
import shutil
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from bench.records.seal import seal
from bench.train import zoo

QUICK = ["--set", "recipe.epochs=1", "--set", "recipe.validation_examples=0", "--set", "recipe.select=last"]
COMMON = ["--data", "synthetic", "--examples", "30", *QUICK]
LOADED = ["run", "--defense", "loaded", "--suite", "smoke", *COMMON]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every command runs in a folder of its own."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("BENCH_DATA", raising=False)


def refused(told, *words):
    assert told.code == 2 and told.out == "", (told.code, told.out, told.err)
    sentences = [line for line in told.err.splitlines() if line.startswith("bench:")]
    assert len(sentences) == 1 and "Traceback" not in told.err, told.err
    for word in words:
        assert word in sentences[0], sentences[0]
    assert not list(Path("runs").rglob("record.json")), "no record"


@pytest.fixture
def trained(bench):
    """What `standard` gives, as JSON, and a copy of its weights."""
    told = bench("run", "--defense", "standard", "--suite", "smoke", *COMMON, "--store", "first", "--json")
    record = json.loads(told.out)
    weights = Path("first", "models", record["training"]["training_id"], "best.safetensors")
    return record, Path(shutil.copy(weights, "given.safetensors"))


def test_a_loaded_network_is_judged_like_the_one_that_was_trained(bench, trained):
    record, weights = trained
    loaded = json.loads(bench(*LOADED, "--checkpoint", weights, "--json").out)
    assert loaded["clean"] == record["clean"]
    _, fgsm, _ = loaded["columns"]  # the one column without a random start
    assert fgsm["robust"] == record["columns"][1]["robust"]
    training = loaded["training"]
    assert (training["recipe"], training["epochs"], training["epoch"]) == ("loaded", 0, 0)
    assert training["parameters"] == record["training"]["parameters"]
    table = bench(*LOADED, "--checkpoint", weights)
    assert "recipe: loaded, nothing was trained" in table.out
    assert f"defense: {loaded['defense']}" in table.out and "this is its record" in table.err


def test_another_place_is_the_same_run_and_another_content_is_not(bench, trained):
    _, weights = trained
    first = json.loads(bench(*LOADED, "--checkpoint", weights, "--json").out)
    Path("far").mkdir()
    moved = bench(*LOADED, "--checkpoint", shutil.copy(weights, "far/away.safetensors"), "--json")
    assert json.loads(moved.out)["run_id"] == first["run_id"] and "nothing was computed" in moved.err
    changed = {key: value + 0.01 for key, value in safetensors.torch.load_file(weights).items()}
    safetensors.torch.save_file(changed, weights)
    other = json.loads(bench(*LOADED, "--checkpoint", weights, "--json").out)
    assert other["run_id"] != first["run_id"] and other["defense"] != first["defense"]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda table: {f"module.{key}": value for key, value in table.items()},
        lambda table: {"epoch": 3, "state_dict": {f"_orig_mod.{key}": v for key, v in table.items()}},
        lambda table: {"state_dict": {f"module._orig_mod.{key}": v for key, v in table.items()}},
        lambda table: {"model": table, "optimizer": {"step": 3}},
    ],
)
def test_wrappers_are_undone(bench, trained, wrap):
    record, weights = trained
    torch.save(wrap(safetensors.torch.load_file(weights)), "wrapped.pt")
    loaded = json.loads(bench(*LOADED, "--checkpoint", "wrapped.pt", "--json").out)
    assert loaded["clean"] == record["clean"]


def test_each_key_and_shape_that_does_not_fit_is_named(bench, trained):
    table = safetensors.torch.load_file(trained[1])
    keys = sorted(table, key=lambda key: -table[key].ndim)  # a convolution first
    torch.save({key: table[key] for key in keys[1:]}, "fewer.pt")
    refused(bench(*LOADED, "--checkpoint", "fewer.pt"), "fewer.pt does not fit", f"misses {keys[0]}")
    torch.save({**table, "extra.weight": table[keys[0]]}, "more.pt")
    refused(bench(*LOADED, "--checkpoint", "more.pt"), "has unexpected extra.weight")
    renamed = {key.replace(keys[0], "other.weight"): value for key, value in table.items()}
    torch.save(renamed, "renamed.pt")
    refused(bench(*LOADED, "--checkpoint", "renamed.pt"), f"misses {keys[0]}", "unexpected other.weight")
    torch.save({**table, keys[0]: table[keys[0]][:1]}, "small.pt")
    refused(bench(*LOADED, "--checkpoint", "small.pt"), f"{keys[0]} is 1x", ", expected 16x")
    refused(bench(*LOADED, "--checkpoint", trained[1], "--arch", "lenet"), "does not fit the network")
    assert not list(Path("runs").rglob("*.safetensors")), "nothing half-written"


class Code:
    """A pickle that runs code when it is read."""

    def __reduce__(self):
        return Path.touch, (Path("ran"),)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"plain text", "is not a safetensors file or a pickle of plain tensors"),
        (b"<!DOCTYPE html><html>", "is a web page, not weights"),
        ({"state_dict": Code()}, "is not a safetensors file or a pickle of plain tensors"),
        ([torch.zeros(3)], "holds no table of tensors"),
        ({"conv.weight": 3}, "holds no table of tensors, but a table of int"),
    ],
)
def test_files_that_are_no_weights(bench, content, told):
    if isinstance(content, bytes):
        Path("no.pt").write_bytes(content)
    else:
        torch.save(content, "no.pt")
    refused(bench(*LOADED, "--checkpoint", "no.pt"), "no.pt", told)
    assert not Path("ran").exists(), "code of a pickle is not run"


FACTORY = """
from torch import nn
make = lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
wide = lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
"""


def test_a_factory_makes_the_network(bench):
    Path("networks_for_cli.py").write_text(FACTORY)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    torch.save(net.state_dict(), "linear.pt")
    words = [*LOADED, "--checkpoint", "linear.pt", "--factory"]
    told = bench(*words, "networks_for_cli.py:make", "--json")
    record = json.loads(told.out)
    assert record["architecture"] == "networks_for_cli:make"
    assert record["defense"].startswith("loaded[factory=networks_for_cli:make,weights=")
    assert "networks_for_cli" in record["provenance"]["sources"]
    shutil.rmtree("runs")
    refused(bench(*words, "networks_for_cli.py:wide"), "4 logits, and there are 3 classes", "--classes")
    chosen = ["--set", "defense.outputs=0,1,2"]
    refused(bench(*words, "networks_for_cli.py:wide", *chosen), "1.weight is 3x64, expected 4x64")


def test_the_twin_is_skipped_with_a_reason_and_other_attackers_are_trained(bench, trained):
    words = ["run", "--defense", "loaded", "--checkpoint", trained[1], *COMMON, "--store", "runs"]
    told = bench(*words, "--suite", "graybox", "--set", "attack.undefended_pgd.steps=2", "--json")
    columns = {column["name"]: column for column in json.loads(told.out)["columns"]}
    for name, column in columns.items():
        assert (column["robust"] is None) == ("twin" in name or "classifier" in name), name
    assert columns["twin_pgd"]["skipped"] == "nobody trained a twin of this network"
    assert columns["undefended_pgd"]["skipped"] is None
    assert "the attackers' undefended network: standard" in told.err
    assert len(list(Path("runs", "models").iterdir())) == 2, "the victim's and the undefended one's"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("run --defense loaded", ["loaded has no weights", "bench run --defense loaded --checkpoint FILE"]),
        ("run --defense loaded --checkpoint last", ["loaded has no weights of its own"]),
        ("run --defense loaded --checkpoint gone.pt", ["gone.pt cannot be read", "--checkpoint"]),
        ("run --defense pgd_at --checkpoint gone.pt", ["'gone.pt'", "best or last", "--defense loaded"]),
        ("run --defense loaded --init x.pt", ["--init is 'x.pt'", "nothing of loaded is trained"]),
        ("run --defense hf:a/b --checkpoint x.pt", ["'x.pt'", "hf:a/b brings its own weights"]),
        ("run --defense hf:a/b --offline", ["weights of hf:a/b are not here", "--offline downloads nothing"]),
        ("run --defense pgd_at --factory json:loads", ["'json:loads'", "pgd_at is trained here"]),
        ("run --defense loaded[normalize=some]", ["normalize is 'some'", "expected none, task", "MEAN/STD"]),
        ("run --defense robustbench:", ["'robustbench:'", "robustbench:NAME"]),
        ("train --defense loaded", ["loaded has no weights", "bench run --defense loaded"]),
        ("check loaded", ["loaded has no weights", "bench run --defense loaded --checkpoint FILE"]),
        ("check robustbench:X", ["RobustBench has no networks for synthetic", "cifar10"]),
    ],
)
def test_mistakes_are_one_sentence(bench, words, told):
    refused(bench(*words.split(" ")), *told)
    assert not Path("runs").exists()


def test_both_schemes_are_listed_and_shown(bench):
    listed = bench("list", "defenses").out
    assert "\nrobustbench:NAME " in listed and "\nhf:REPO " in listed and "\nloaded " in listed
    shown = bench("show", "defense", "robustbench:Wong2020Fast").out
    assert "RobustBench: Wong2020Fast, as published" in shown and "threat = Linf" in shown


# RobustBench, with a small network in the place of one of its own


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 10)

    def forward(self, x):
        return self.fc(self.conv(x).relu().mean((2, 3)))


@pytest.fixture
def rgb():
    generator = np.random.default_rng(0)
    x = generator.random((60, 3, 8, 8), dtype=np.float32)
    y = np.arange(60) % 10
    np.savez("rgb.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    return "npz:rgb.npz"


@pytest.fixture
def words(rgb, monkeypatch):
    """A run of the zoo's network Tiny2020Network."""
    found = zoo._robustbench()
    shelf = next(shelf for shelf in found.all_models if shelf.value == "cifar10")
    threat = next(threat for threat in found.all_models[shelf] if threat.value == "Linf")
    table = OrderedDict(found.all_models[shelf][threat])
    table["Tiny2020Network"] = {"model": Tiny, "gdrive_id": "0123"}
    monkeypatch.setitem(found.all_models[shelf], threat, table)
    name = "robustbench:Tiny2020Network[zoo_data=cifar10]"
    return ["run", "--defense", name, "--data", rgb, "--suite", "smoke", "--examples", "20"]


def published(path):
    """A network as papers publish theirs, and its weights."""
    torch.manual_seed(3)
    net = Tiny()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {f"module.{key}": value for key, value in net.state_dict().items()}}, path)
    return net


def test_a_network_of_the_zoo_runs_from_its_file(bench, words):
    net = published(Path("folder/models/cifar10/Linf/Tiny2020Network.pt"))
    told = bench(*words, "--data-root", "folder", "--offline", "--json")
    record = json.loads(told.out)
    assert record["defense"] == "robustbench:Tiny2020Network[zoo_data=cifar10]"
    assert record["architecture"] == "robustbench"
    assert record["paper"] == "RobustBench: Tiny2020Network, as published"
    with np.load("rgb.npz") as data, torch.no_grad():
        right = net(torch.from_numpy(data["x_test"])).argmax(1).numpy() == data["y_test"]
    assert record["clean"]["count"] == right.sum()
    (folder,) = Path("runs", "models").iterdir()
    kept = safetensors.torch.load_file(folder / "best.safetensors")
    assert all(torch.equal(kept[key], value) for key, value in net.state_dict().items())
    shutil.copytree("folder/models", "other/models")
    again = bench(*words, "--data-root", "other", "--offline", "--json")
    assert json.loads(again.out)["run_id"] == record["run_id"]


def test_a_network_of_the_zoo_is_downloaded_once(bench, words, monkeypatch):
    asked = []

    def download(id, output):
        asked.append(id)
        published(Path(output))
        print("Downloading...")

    monkeypatch.setattr("gdown.download", download)
    told = bench(*words, "--json")
    assert json.loads(told.out)["status"] == "complete", "nothing but JSON on stdout"
    assert asked == ["0123"]
    kept = sorted(path.name for path in Path(".data/models/cifar10/Linf").iterdir())
    assert kept == ["Tiny2020Network.pt", "Tiny2020Network.pt.download.json"]
    assert bench(*words).code == 0 and asked == ["0123"]


def failing(id, output):
    Path(output).write_text("half")
    raise ConnectionError("HTTPSConnectionPool: Name or service not known\nand more")


def silent(id, output):
    return None


@pytest.mark.parametrize(("download", "reason"), [(failing, "Name or service not known"), (silent, "")])
def test_a_download_that_fails_is_one_sentence(bench, words, monkeypatch, download, reason):
    monkeypatch.setattr("gdown.download", download)
    place = ".data/models/cifar10/Linf/Tiny2020Network.pt"
    refused(bench(*words), "robustbench:Tiny2020Network cannot be downloaded", reason, "id=0123", place)
    assert not [path for path in Path(".data").rglob("*") if path.is_file()] and not Path("runs").exists()
    refused(bench(*words, "--offline"), "are not here", "--offline downloads nothing", "models")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<html>too many downloads</html>", "is a web page, not weights"),
        ({"state_dict": Code()}, "is not a pickle of plain tensors"),
        ({"fc.weight": torch.zeros(10, 4)}, "does not fit robustbench:Tiny2020Network"),
    ],
)
def test_what_lies_where_the_zoo_keeps_its_weights_is_doubted(bench, words, content, told):
    path = Path(".data/models/cifar10/Linf/Tiny2020Network.pt")
    path.parent.mkdir(parents=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    refused(bench(*words), str(path), told, f"rm {path}")
    assert not Path("ran").exists()


def test_a_network_of_the_zoo_may_be_a_member_of_an_ensemble(bench, words):
    published(Path(".data/models/cifar10/Linf/Tiny2020Network.pt"))
    name = words[2]
    words[2] = f"ensemble[members={name}+{name}]"
    alone = json.loads(bench(words[0], "--defense", name, *words[3:], "--json").out)
    twice = json.loads(bench(*words, "--json").out)
    assert twice["clean"] == alone["clean"]
    assert twice["defense"] == words[2]


def test_a_file_beside_the_factory_that_changed_makes_its_records_stale(bench, trained, monkeypatch):
    monkeypatch.syspath_prepend(".")
    Path("halves_beside.py").write_text("def half(logits):\n    return logits / 2\n")
    Path("makes_halves.py").write_text(
        "from torch import nn\nfrom halves_beside import half\n"
        "class Halved(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.linear = nn.Linear(64, 3)\n"
        "    def forward(self, x):\n        return half(self.linear(x.flatten(1)))\n"
    )
    torch.save(nn.Linear(64, 3).state_dict(), "linear.pt")
    table = torch.load("linear.pt", weights_only=True)
    torch.save({f"linear.{key}": value for key, value in table.items()}, "linear.pt")
    words = [*LOADED, "--checkpoint", "linear.pt", "--factory", "makes_halves.py:Halved", "--json"]
    first = json.loads(bench(*words).out)
    assert {"makes_halves", "halves_beside"} <= set(first["provenance"]["sources"])
    record = next(path for path in Path("runs").glob("*/record.json"))
    held = json.loads(record.read_text())
    held["provenance"]["sources"]["halves_beside"] = "0" * 12  # as another process would see it
    record.write_text(seal(json.dumps(held)))
    told = bench(*words)
    assert told.code == 2 and "made by other code (halves_beside changed since)" in told.err
