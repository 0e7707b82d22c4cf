"""A network of one's own in every command: it is found, or a sentence names what to type, and that works."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.errors import BenchError

EPS = "1/10"
CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes=CLASSES):
        super().__init__()
        self.fc = nn.Linear(48, classes)

    def forward(self, x):
        return self.fc(x.flatten(1))
"""


@pytest.fixture
def bench(capsys):
    """Call the command in this process, as from a new one: no code of an earlier command is at hand."""
    from bench.cli.main import main
    from bench.core import digest, imports

    def call(*words):
        for name in [name for name, held in sys.modules.items() if "_from_path" in vars(held)]:
            del sys.modules[name]
            imports._GIVEN.discard(name)
        digest._source_path.cache_clear()
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        told = capsys.readouterr()
        return left.value.code, told.out, told.err

    return call


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder with a linear network of four classes, and images that it labels itself."""
    return folder_of(tmp_path / "mine", monkeypatch, classes=4)


def folder_of(folder, monkeypatch, classes, spoilt=0, n=40):
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    generator = torch.Generator().manual_seed(classes)
    weight = torch.randn(classes, 48, generator=generator) / 4
    x = torch.rand(3 * n, 3, 4, 4, generator=generator)
    bias = -(x.flatten(1) @ weight.T).mean(0)
    y = (x.flatten(1) @ weight.T + bias).argmax(1)
    y[:spoilt] = (y[:spoilt] + 1) % classes
    np.savez("d.npz", x_train=x[n:], y_train=y[n:], x_test=x[:n], y_test=y[:n])
    torch.save({"fc.weight": weight, "fc.bias": bias}, "w.pt")
    Path(f"net{classes}.py").write_text(CODE.replace("CLASSES", str(classes)), encoding="utf-8")
    return folder


def loaded(classes=4, *words):
    eps = () if "--eps" in words else ("--eps", EPS)
    common = ("--checkpoint", "w.pt", "--factory", f"net{classes}.py:Net", "--data", "npz:d.npz", *eps)
    return ("run", "--defense", "loaded", *common, *words)


def the_record():
    (path,) = Path("runs").glob("*/record.json")
    return json.loads(path.read_text(encoding="utf-8"))


def refused(told, *words):
    code, out, err = told
    assert code == 2 and out == "" and "Traceback" not in err, (code, out, err)
    sentence = err.splitlines()[-1]
    assert sentence.startswith("bench: ") and sentence.count("; try: ") == 1, err
    for word in words:
        assert word in sentence, sentence
    return sentence.rpartition("; try: ")[2]


def test_a_label_is_printed_and_is_no_part_of_the_weights(bench, mine):
    assert bench(*loaded(4, "--suite", "smoke", "--store", "plain"))[0] == 0
    assert bench(*loaded(4, "--suite", "smoke", "--label", "trades_lenet"))[0] == 0
    assert the_record()["defense"] == the_record()["spec"]["training"]["name"] == "trades_lenet"
    plain = json.loads(next(Path("plain").glob("*/record.json")).read_text(encoding="utf-8"))
    assert plain["defense"].startswith("loaded[factory=net4:Net,weights=")
    assert plain["training"]["training_id"] == the_record()["training"]["training_id"]
    for shape in ("latex", "markdown", "csv"):
        code, out, _ = bench("board", "--format", shape)
        assert code == 0 and out.replace("\\", "").count("trades_lenet") == 1 and "weights=" not in out


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ("pgd_at", "name of a defense"),
        ("loaded", "name of a defense"),
        ("two words", "letters, digits"),
        ("x" * 41, "at most 40"),
        ("a/b", "letters, digits"),
    ],
    ids=["pgd_at", "loaded", "two words", "41 letters", "a/b"],
)
def test_a_label_that_means_something_else_is_refused_and_what_is_advised_works(bench, mine, label, told):
    advised = refused(bench(*loaded(4, "--suite", "smoke", "--label", label)), told, repr(label))
    assert bench(*loaded(4, "--suite", "smoke", *advised.split()))[0] == 0


def test_what_is_trained_here_has_its_name_already(bench, mine):
    words = ("run", "--defense", "standard", "--data", "npz:d.npz", "--label", "mine")
    refused(bench(*words), "trained here", "--label with --defense loaded")
    words = ("transfer", "loaded", "standard", "--checkpoint", "w.pt", "--label", "mine")
    assert refused(bench(*words), "2 networks") == "loaded"


@pytest.mark.parametrize("name", ["my_net", "loaded"])
def test_it_is_found_by_its_label_and_by_loaded_from_any_folder(bench, mine, name, monkeypatch, tmp_path):
    assert bench(*loaded(4, "--suite", "smoke", "--label", "my_net"))[0] == 0
    store = mine / "runs"
    monkeypatch.chdir(tmp_path)
    code, out, err = bench("audit", name, "--store", store)
    assert code == 0 and "audit of my_net under smoke@1" in out, err
    code, out, err = bench("verify", name, "--store", store)
    assert code == 0 and "12 of 12 hold" in out, err
    assert "defense: my_net" in bench("show", "record", name, "--store", store)[1]
    code, out, err = bench("plot", "scatter", name, "--store", store, "--out", "figures")
    assert code == 0, err


def test_several_loaded_networks_are_told_apart_by_name(bench, mine):
    for label in ("one", "other"):
        assert bench(*loaded(4, "--suite", "smoke", "--label", label))[0] == 0
    for command in ("audit", "verify"):
        refused(bench(command, "loaded"), "one, other")
        assert bench(command, "one")[0] == 0
    code, out, err = bench("compare", "one", "other", "--suite", "smoke")
    assert code == 0 and "one" in out, err
    refused(bench("compare", "loaded", "other"), "one, other")


def test_code_that_moved_is_a_sentence_and_code_mends_it(bench, mine):
    assert bench(*loaded(4, "--suite", "smoke", "--label", "my_net"))[0] == 0
    Path("elsewhere").mkdir()
    shutil.move("net4.py", "elsewhere/net4.py")
    for command in ("audit", "verify"):
        advised = refused(bench(command, "my_net"), "code of your own, net4", f"{mine}/net4.py")
        assert advised == "--code net4.py"
        code, _, err = bench(command, "my_net", "--code", "elsewhere/net4.py")
        assert code == 0, err


def test_code_that_changed_is_other_code(bench, mine):
    assert bench(*loaded(4, "--suite", "smoke", "--label", "my_net"))[0] == 0
    Path("net4.py").write_text(CODE.replace("CLASSES", "4") + "\nprint('run')\n", encoding="utf-8")
    for command in ("audit", "verify"):
        told = bench(command, "my_net")
        refused(told, "code of your own, net4", "--code net4.py")
        assert "run\n" not in told[1], "code that is not what it was runs only where it is named"
        told = bench(command, "my_net", "--code", "net4.py")
        assert told[0] == 2 and "(net4 changed since)" in told[2]


def test_a_store_of_somebody_else_runs_no_code(bench, mine, monkeypatch):
    """A note that another account wrote names a file that is there and fits, and yet is not run."""
    assert bench(*loaded(4, "--suite", "smoke", "--label", "my_net"))[0] == 0
    monkeypatch.setenv("XDG_STATE_HOME", str(mine / "of_another_account"))
    refused(bench("verify", "my_net"), "code of your own, net4", "is not at hand")
    assert bench("verify", "my_net", "--code", "net4.py", "--data", "npz:d.npz")[0] == 0


def test_what_an_audit_advises_can_be_typed_as_it_is_printed(bench, mine, monkeypatch, tmp_path):
    assert bench(*loaded(4, "--suite", "smoke", "--label", "my_net"))[0] == 0
    code, out, err = bench("audit", "my_net")
    assert code == 0, err
    commands = [line.split(": ", 1)[1] for line in out.splitlines() if line.startswith("- ")]
    runs = [command for command in commands if command.startswith("bench run --defense loaded ")]
    assert len(runs) >= 3 and not any("--recipe loaded" in command for command in commands)
    for command in runs:
        words = shlex.split(command)
        assert f"{mine}/w.pt" in words and f"{mine}/net4.py:Net" in words and f"npz:{mine}/d.npz" in words
    planned = []

    def compute(spec, how):
        planned.append(spec)
        raise BenchError("planned")

    monkeypatch.setattr("bench.runner.run.run", compute)
    monkeypatch.setattr("bench.studies.compute.compute", compute)
    for command in commands:
        told = bench(*shlex.split(command)[1:])
        assert told[0] == 0 or told[2].endswith("bench: planned\n"), (command, told)
    assert len(planned) == len(commands) - 1, "all but bench verify"


def test_published_audits_hold_no_folder_of_this_machine(bench, mine):
    from bench.records.origin import for_others
    from bench.records.store import read_record

    assert bench(*loaded(4, "--suite", "smoke", "--label", "my_net"))[0] == 0
    assert bench("audit", "my_net")[0] == 0
    record = read_record(next(Path("runs").glob("*/record.json")))
    assert any(str(mine) in (check.command or "") for check in record.audit)
    assert not any("/" in (check.command or "").replace(EPS, "") for check in for_others(record).audit)


def linear_truth(eps, n=40):
    """Which test images [n] no change within eps and the box makes a mistake of the linear network: exact."""
    data, held = np.load("d.npz"), torch.load("w.pt")
    x = torch.tensor(data["x_test"][:n]).flatten(1).double()
    weight, bias = held["fc.weight"].double(), held["fc.bias"].double()
    logits, y = x @ weight.T + bias, torch.tensor(data["y_test"][:n]).long()
    slope = weight[None] - weight[y][:, None]  # [n, K, D]: of each wrong logit less the right one
    room = torch.where(slope > 0, 1 - x[:, None], x[:, None]).clamp(max=eps)
    reached = logits - logits.gather(1, y[:, None]) + (slope.abs() * room).sum(2)
    return reached.scatter(1, y[:, None], -1).amax(1) < 0


@pytest.mark.parametrize(("classes", "eps"), [(2, "1/4"), (3, EPS)])
def test_autoattack_on_few_classes_skips_the_targeted_loss_and_says_so(
    bench, tmp_path, monkeypatch, classes, eps
):
    folder_of(tmp_path / "mine", monkeypatch, classes)
    code, out, err = bench(*loaded(classes, "--suite", "autoattack", "--eps", eps))
    assert code == 0, err
    assert f"skipped: its loss is defined for 4 classes or more, and there are {classes}" in out
    assert "without apgd_t" in out
    record = the_record()
    columns = {column["name"]: column for column in record["columns"]}
    assert record["status"] == "complete" and columns["fab_t"]["after"] == "apgd_ce"
    assert [name for name, column in columns.items() if column["robust"] is None] == ["apgd_t"]
    assert record["worst_case"]["count"] == int(linear_truth(float(Fraction(eps))).sum())


def test_what_the_others_call_dlr_is_skipped_on_two_classes_and_ours_says_what_stands_in(
    bench, tmp_path, monkeypatch
):
    folder_of(tmp_path / "mine", monkeypatch, 2)
    both = ("--attack", "torchattacks:APGD", "--attack", "apgd_targeted")
    words = (*both, "--set", "attack.torchattacks_apgd.loss=dlr")
    code, out, err = bench(*loaded(2, *words))
    assert code == 0, err
    assert "skipped: its loss is defined for 3 classes or more, and there are 2" in out
    said = "attack: apgd_targeted: with 2 classes targeted_dlr is not defined; it climbs the targeted margin"
    assert said in out and said in err
    record = the_record()
    assert record["columns"][1]["robust"]["count"] == int(linear_truth(0.1).sum())


def test_where_every_column_is_skipped_what_is_advised_works(bench, tmp_path, monkeypatch):
    folder_of(tmp_path / "mine", monkeypatch, 3)
    told = bench(*loaded(3, "--attack", "autoattack:apgd-t"))
    advised = told[2].rpartition("; try: ")[2].split()
    assert told[0] == 2 and advised == ["--suite", "whitebox"], told
    assert bench(*loaded(3, *advised, "--examples", "4"))[0] == 0


QUICK = ("--suite", "blackbox", "--set", "attack.square.queries=20", "--set", "recipe.epochs=2", "--json")


def test_a_surrogate_that_diverges_costs_its_own_columns_and_what_is_advised_works(bench, mine):
    code, out, err = bench(*loaded(4, *QUICK, "--set", "recipe.learning_rate=1e9"))
    assert code == 1 and "Traceback" not in err, err
    columns = {column["name"]: column for column in json.loads(out)["columns"]}
    assert columns["square"]["robust"]["n"] == 40 and columns["square"]["error"] is None
    for name in ("transfer_pgd", "transfer_mi_fgsm"):
        assert columns[name]["robust"] is None and columns[name]["skipped"] is None
        assert columns[name]["error"].startswith("the attackers' surrogate network could not be trained: ")
    assert json.loads(out)["status"] == "failed" and json.loads(out)["worst_case"] is None
    assert columns["transfer_pgd"]["error"] in err
    code, out, err = bench(*loaded(4, *QUICK))
    assert code == 0 and json.loads(out)["worst_case"]["n"] == 40, err


def test_diagnose_sees_the_features_of_a_loaded_network(bench, mine):
    words = loaded(4, "--json", "--examples", "20")[3:]
    code, out, err = bench("diagnose", "loaded", *words)
    assert code == 0, err
    (told,) = json.loads(out)
    assert told["embedding"]["features"] == told["contributions"]["features"] == 48
    assert told["left_out"]["attention"] == "the network lends no feature maps"


@pytest.fixture
def judged(bench, mine):
    """The folder, whose store has a run of the network that is called my_net."""
    assert bench(*loaded(4, "--suite", "smoke", "--label", "my_net"))[0] == 0
    return mine


SHORT = ("--data", "npz:d.npz", "--examples", "10", "--json")
OTHER = f"{Path(__file__).parents[1] / 'reference' / 'linear_defense.py'}:Linear"
NAMED = {
    "transfer": ("transfer", "NAME", OTHER, "--eps", EPS),
    "curve": ("curve", "NAME", OTHER, "--over", "steps", "--at", "1,2", "--eps", EPS),
    "shift": ("shift", "NAME", OTHER, "--only", "fog"),
    "detect": ("detect", "NAME", "--detector", "max_softmax", "--attack", "fgsm", "--eps", EPS),
    "run": ("run", "--defense", "NAME", "--attack", "pgd", "--eps", EPS),
    "ensemble": ("run", "--defense", f"ensemble[members=NAME+{OTHER}]", "--attack", "pgd", "--eps", EPS),
}


NAMINGS = {
    "transfer, by its run": ("transfer", "id"),
    "run, as loaded": ("run", "loaded"),
    "transfer, by its label": ("transfer", "my_net"),
    "curve, by its label": ("curve", "my_net"),
    "shift, by its label": ("shift", "my_net"),
    "detect, by its label": ("detect", "my_net"),
    "run, by its label": ("run", "my_net"),
    "ensemble, by its label": ("ensemble", "my_net"),
}


@pytest.mark.parametrize(("command", "name"), NAMINGS.values(), ids=NAMINGS)
def test_a_network_is_named_by_its_label_its_run_or_loaded(bench, judged, command, name):
    known = the_record()["run_id"][:6] if name == "id" else name
    code, out, err = bench(*[word.replace("NAME", known) for word in NAMED[command]], *SHORT)
    assert code == 0, err
    assert "my_net" in out and "loaded[" not in out


def test_a_named_network_is_the_surrogate_of_others_and_never_its_own(bench, judged):
    words = ("--suite", "blackbox", "--set", "attack.square.queries=5", "--eps", EPS, *SHORT)
    code, out, err = bench("run", "--defense", OTHER, "--surrogate", "my_net", *words)
    assert code == 0, err
    assert json.loads(out)["spec"]["others"] == {"surrogate": the_training("my_net")}
    refused(bench("run", "--defense", "my_net", "--surrogate", "loaded", *words), "the victim itself")


def the_training(label):
    found = [json.loads(path.read_text(encoding="utf-8")) for path in Path("runs").glob("*/record.json")]
    return next(record["training"]["training_id"] for record in found if record["defense"] == label)


def test_a_name_that_means_none_or_several_is_one_sentence(bench, judged):
    words = ("transfer", "NAME", "standard", *SHORT)
    assert "no defense is named 'my_nett'" in bench(*[w.replace("NAME", "my_nett") for w in words])[2]
    assert bench(*loaded(4, "--suite", "smoke", "--label", "other", "--normalize", "half"))[0] == 0
    advised = refused(bench("diagnose", "loaded", *SHORT), "my_net, other")
    assert bench("shift", shlex.split(advised)[0], "--only", "fog", *SHORT)[0] == 0
    assert bench(*loaded(4, "--suite", "smoke", "--label", "my_net", "--normalize", "imagenet"))[0] == 0
    advised = refused(bench("shift", "my_net", "--only", "fog", *SHORT), "may be any of several networks")
    assert bench("shift", advised, "--only", "fog", *SHORT)[0] == 0


def test_a_named_network_whose_files_are_gone_is_found_in_the_store_or_told(bench, judged):
    Path("w.pt").rename("elsewhere.pt")
    assert bench("shift", "my_net", "--only", "fog", *SHORT)[0] == 0, "the store has its weights"
    np.savez("e.npz", **{name: held[:30] for name, held in np.load("d.npz").items()})
    told = refused(bench("shift", "my_net", "--only", "fog", "--data", "npz:e.npz"), "is not where it was")
    assert told == "bench run --defense loaded --checkpoint FILE --label my_net"
    Path("net4.py").rename("elsewhere.py")
    told = refused(bench("shift", "my_net", "--only", "fog", *SHORT), "code of your own, net4")
    assert told.startswith("bench run --defense loaded --checkpoint FILE --factory FILE.py:NAME")
