"""Networks and checkpoints in the shapes in which people have them: evaluated, or told what to type."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

FLAT = """
import torch.nn as nn, torch.nn.functional as F
from theirs import Net

class Net(Net):
    def forward(self, x):
        x = F.adaptive_avg_pool2d(F.relu(self.bn(self.conv(x))), 4)
        return self.fc(x.view(-1, 128))
"""

SHAPES = """
import sys, collections, dataclasses
import torch, torch.nn as nn
from torchvision.transforms import Normalize
from theirs import Net

print("this is printed when the file is imported")

class Dict(Net):
    def forward(self, x): return {"logits": super().forward(x), "features": x.flatten(1)}
class OddDict(Net):
    def forward(self, x): return {"out": super().forward(x), "hidden": x.flatten(1)}
class Tuple(Net):
    def forward(self, x): return super().forward(x), x.flatten(1), torch.zeros(())
class List(Net):
    def forward(self, x): return [super().forward(x)]
class Named(Net):
    def forward(self, x): return collections.namedtuple("Answer", "scores maps")(super().forward(x), x)
@dataclasses.dataclass
class Answer:
    loss: object
    logits: torch.Tensor
class Data(Net):
    def forward(self, x): return Answer(None, super().forward(x))
class Two(Net):
    def forward(self, x):
        logits = super().forward(x)
        return {"student": logits, "teacher": 2 * logits}
class Maps(Net):
    def forward(self, x): return super().forward(x)[:, :, None, None]
class InPlace(Net):
    def forward(self, x): return super().forward(x.sub_(0.0))
class Squeezes(Net):
    def forward(self, x): return super().forward(x).squeeze()
class Eight(Net):
    def forward(self, x): return super().forward(x.view(8, 3, 8, 8))
class Amp(Net):
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16): return super().forward(x)
class Half(Net):
    def forward(self, x): return super().forward(x).half()
class Noise(Net):
    def forward(self, x): return super().forward(x + 0.02 * torch.randn_like(x))
class Inf(Net):
    def forward(self, x): return super().forward(x) / 0.0
class NotANumber(Net):
    def forward(self, x):
        logits = super().forward(x)
        return torch.where(x[:, :1, 0, 0] > 0.5, logits, torch.nan)
class Hard(Net):
    def forward(self, x): return super().forward((x * 255).round() / 255)
class Broken(Net):
    def forward(self, x):
        return super().forward(x) @ torch.ones(3, 3)

def in_half(): return Net().half()
def in_double(): return Net().double()
def program(): return torch.jit.load("program.pt")
def normalising(): return nn.Sequential(Normalize([0.0] * 3, [1.0] * 3), Net())
def wide(classes=6): return Net(classes)
def ready():
    net = Net()
    net.load_state_dict(torch.load("w.pt"))
    return net
def random(): return Net()
def soft(net): return Net_of(net)
def Net_of(net):
    made = Net()
    made.load_state_dict(net.state_dict())
    return made
def refusing(net): return lambda x: x.mean((1, 2, 3)) > 2
"""

QUITS = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--needed", required=True)
parser.parse_args()
from theirs import Net
"""

PARSES = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--width", type=int, default=8)
options = parser.parse_args()
from theirs import Net
"""

NET = ("--factory", "theirs.py:Net")
WEIGHTS = ("--checkpoint", "w.pt")


@pytest.fixture
def shapes(stranger):
    """The same stranger, with networks of every shape."""
    stranger.write("shapes_of_theirs.py", SHAPES)
    return stranger


def accuracy(record):
    return record["clean"]["count"] / record["clean"]["n"]


def notes(record):
    return " | ".join(record["provenance"]["notes"])


CHECKPOINTS = {
    "a bare table": (lambda s: s, ""),
    "torch's tutorial": (lambda s: {"model_state_dict": s, "epoch": 3, "loss": 0.1}, "model_state_dict"),
    "lightning": (lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}, "epoch": 3}, "model."),
    "data parallel": (lambda s: {f"module.{k}": v for k, v in s.items()}, "module."),
    "compiled": (lambda s: {f"_orig_mod.{k}": v for k, v in s.items()}, "_orig_mod."),
    "three tables deep": (lambda s: {"a": {"b": {"c": s}}}, "a.b.c"),
    "without counters": (lambda s: {k: v for k, v in s.items() if "num_b" not in k}, "num_batches_tracked"),
    "thop's counters": (
        lambda s: {**s, "total_ops": torch.zeros(1), "conv.total_params": torch.zeros(1)},
        "ops",
    ),
    "an average's counter": (lambda s: {"n_averaged": torch.tensor(4), **s}, "n_averaged"),
    "numpy beside": (lambda s: {"net": s, "acc": np.float64(91.2)}, "net"),
    "options beside": (lambda s: {"net": s, "args": argparse.Namespace(lr=0.1, out=Path("x"))}, "net"),
    "an optimizer beside": (
        lambda s: {"model": s, "optimizer": {"state": {0: {"m": torch.ones(3)}}}},
        "model",
    ),
    "half precision": (lambda s: {k: v.half() if v.is_floating_point() else v for k, v in s.items()}, ""),
    "the same twice": (lambda s: {"model": s, "best": dict(s)}, "model"),
    "a criterion beside": (
        lambda s: {**{f"net.{k}": v for k, v in s.items()}, "head.w": torch.ones(2)},
        "w left",
    ),
    "numpy arrays": (lambda s: {k: v.numpy() for k, v in s.items()}, ""),
    "a list of one": (lambda s: {"state_dict": [s], "err": 0.3, "epoch": 22}, "state_dict.0"),
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_weights_are_found_wherever_they_lie(stranger, kind):
    wrap, said = CHECKPOINTS[kind]
    stranger.save("theirs.pt", wrap(stranger.state))
    record = stranger.record("--checkpoint", "theirs.pt", *NET)
    assert abs(accuracy(record) - stranger.right) <= 0.1 and said in notes(record)


def test_averaged_weights_beside_raw_ones_are_listed_and_named(stranger):
    raw = {k: torch.zeros_like(v) for k, v in stranger.state.items()}
    stranger.save("both.pt", {"state_dict": raw, "state_dict_ema": stranger.state})
    told = stranger.refused("--checkpoint", "both.pt", *NET)
    assert "state_dict, state_dict_ema" in told and "--set defense.key=state_dict" in told
    record = stranger.record("--checkpoint", "both.pt", *NET, "--set", "defense.key=state_dict_ema")
    assert accuracy(record) > 0.8


def test_a_list_of_networks_is_counted_and_one_is_named(stranger):
    raw = {k: torch.zeros_like(v) for k, v in stranger.state.items()}
    stranger.save("cascade.pt", {"state_dict": [raw, stranger.state], "sampler_indices": [[1, 2], []]})
    told = stranger.refused("--checkpoint", "cascade.pt", *NET)
    assert "state_dict.0, state_dict.1" in told and "--set defense.key=state_dict.0" in told
    words = ("--checkpoint", "cascade.pt", *NET, "--set", "defense.key=state_dict.1")
    assert accuracy(stranger.record(*words)) > 0.8


PROJECTS = {
    "the folder of its package": ("pkg/nets.py", "from pkg.blocks import Net", ["pkg/__init__.py"]),
    "its package's parts": (
        "pkg/sub/nets.py",
        "from ..blocks import Net",
        ["pkg/__init__.py", "pkg/sub/__init__.py"],
    ),
    "its project's root": (
        "examples/nets.py",
        "from pkg.blocks import Net",
        ["setup.py", "examples/README.md"],
    ),
    "parts of a folder": ("pkg/nets.py", "from .blocks import Net", [".git"]),
}


@pytest.mark.parametrize("kind", PROJECTS)
def test_a_file_of_a_project_finds_what_it_imports(stranger, kind, monkeypatch):
    place, text, beside = PROJECTS[kind]
    for name in (place, "pkg/blocks.py", *beside):
        Path("repo", name).parent.mkdir(parents=True, exist_ok=True)
        Path("repo", name).write_text("")
    Path("repo", place).write_text(text)
    Path("theirs.py").rename("repo/pkg/blocks.py")
    assert accuracy(stranger.record(*WEIGHTS, "--factory", f"repo/{place}:Net")) > 0.8


def test_a_folder_to_which_everybody_may_write_is_nobodys_project(stranger):
    Path("open/mine").mkdir(parents=True)
    Path("open/README.md").write_text("")
    Path("open/of_others.py").write_text("from theirs import Net")
    Path("open/mine/nets.py").write_text("from of_others import Net")
    assert accuracy(stranger.record(*WEIGHTS, "--factory", "open/mine/nets.py:Net")) > 0.8
    for name in ("of_others", "nets"):
        del sys.modules[name]
    Path("open").chmod(0o777)
    assert "No module named 'of_others'" in stranger.refused(*WEIGHTS, "--factory", "open/mine/nets.py:Net")


ON_CUDA = """
import torch
from theirs import Net

def cuda(): return Net().cuda()
def to(): return Net().to("cuda:0")
def device():
    made = Net().to(torch.device("cuda"))
    made.offset = torch.zeros(4, device="cuda")
    return made
def loading():
    made = Net()
    made.load_state_dict(torch.load("w.pt", map_location="cuda"))
    return made
"""


@pytest.mark.parametrize("name", ["cuda", "to", "device", "loading"])
def test_a_factory_that_asks_for_cuda(stranger, name):
    stranger.write("on_cuda.py", ON_CUDA)
    assert accuracy(stranger.record(*WEIGHTS, "--factory", f"on_cuda.py:{name}")) > 0.8


def test_a_normalisation_in_the_file_is_not_lost(stranger):
    table = {f"net.{k}": v for k, v in stranger.state.items()}
    stranger.save("n.pt", {**table, "norm.mean": torch.zeros(3), "norm.std": torch.ones(3)})
    told = stranger.refused("--checkpoint", "n.pt", *NET)
    words = told.partition("try: ")[2].split()
    assert words == ["--normalize", "0,0,0/1,1,1", "--set", "defense.key=net"]
    assert accuracy(stranger.record("--checkpoint", "n.pt", *NET, *words)) > 0.8


def test_files_that_are_no_table_say_what_they_are(shapes):
    torch.jit.trace(torch.nn.Flatten(), torch.zeros(1, 3, 8, 8)).save("script.pt")
    assert "is a TorchScript program" in shapes.refused("--checkpoint", "script.pt", *NET)
    Path("net.onnx").write_bytes(b"\x08\x08pytorch")
    assert "is a network in ONNX" in shapes.refused("--checkpoint", "net.onnx", *NET)
    Path("page.pt").write_text("<html>404</html>")
    assert "is a web page, not weights" in shapes.refused("--checkpoint", "page.pt", *NET)
    assert "not a regular file" in shapes.refused("--checkpoint", ".", *NET)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_whole_network_in_a_pickle_lends_its_weights(shapes):
    import sys

    sys.path.insert(0, str(shapes.folder))
    from theirs import Net

    net = Net()
    net.load_state_dict(shapes.state)
    torch.save(net, "whole.pt")
    sys.path.remove(str(shapes.folder))
    del sys.modules["theirs"]
    record = shapes.record("--checkpoint", "whole.pt", *NET)
    assert accuracy(record) > 0.8 and "pickle of a whole network (theirs.Net)" in notes(record)


NETWORKS = {
    "Dict": "logits is taken",
    "OddDict": "out is taken",
    "Tuple": "0 is taken",
    "List": "0 is taken",
    "Named": "scores is taken",
    "Data": "logits is taken",
    "Maps": "",
    "InPlace": "given copies",
    "Squeezes": "given it twice",
    "Eight": "8 images at a time",
    "Amp": "",
    "Half": "",
    "in_half": "float16",
    "in_double": "",
    "normalising": "",
    "Hard": "",
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_answer_in_their_own_ways(shapes, name):
    record = shapes.record(*WEIGHTS, "--factory", f"shapes_of_theirs.py:{name}")
    assert abs(accuracy(record) - shapes.right) <= 0.1 and NETWORKS[name] in notes(record)
    assert not [f for f in record["findings"] if f["severity"] == "block"], record["findings"]
    assert all(column["robust"] for column in record["columns"]), "every attack ran"


def test_a_view_on_a_feature_map(stranger):
    stranger.write("flat_of_theirs.py", FLAT)
    assert accuracy(stranger.record(*WEIGHTS, "--factory", "flat_of_theirs.py:Net")) > 0.8


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("kind", ["traced", "frozen"])
def test_torchscript_by_a_factory(shapes, kind):
    space = {}
    exec(Path("theirs.py").read_text(), space)
    net = space["Net"]().eval()
    net.load_state_dict(shapes.state)
    program = torch.jit.trace(net, torch.zeros(2, 3, 8, 8))
    (torch.jit.freeze(program) if kind == "frozen" else program).save("program.pt")
    record = shapes.record("--factory", "shapes_of_theirs.py:program")
    assert accuracy(record) > 0.8, "no --checkpoint: it brings its weights"


def test_two_parts_that_may_be_logits_are_told_apart_by_hand(shapes):
    words = (*WEIGHTS, "--factory", "shapes_of_theirs.py:Two")
    told = shapes.refused(*words)
    assert "several parts can be logits" in told and "--set defense.output=student" in told
    assert accuracy(shapes.record(*words, "--set", "defense.output=student")) > 0.8
    assert "has no 'pupil', expected one of student, teacher" in shapes.refused(
        *words, "--set", "defense.output=pupil"
    )


def test_more_outputs_than_classes(shapes):
    order = [5, 0, 3, 1]  # where the classes are
    table = {k: v.clone() for k, v in shapes.state.items()}
    for key, fill in (("fc.weight", 0.0), ("fc.bias", -9.0)):
        more = torch.full((6, *table[key].shape[1:]), fill)
        more[order] = table[key]
        table[key] = more
    shapes.save("six.pt", table)
    words = ("--checkpoint", "six.pt", "--factory", "shapes_of_theirs.py:wide")
    told = shapes.refused(*words)
    assert "answers 6 logits, and there are 4 classes" in told and "--set defense.outputs=0,1,2,3" in told
    assert accuracy(shapes.record(*words, "--set", "defense.outputs=5,0,3,1")) > 0.8
    Path("names.txt").write_text("1\n3\nnobody\n2\nnothing\n0\n")
    assert accuracy(shapes.record(*words, "--classes", "names.txt")) > 0.8
    Path("index.json").write_text(
        json.dumps({"0": ["n1", "1"], "1": ["n3", "3"], "3": ["n2", "2"], "5": ["n0", "0"]})
    )
    assert accuracy(shapes.record(*words, "--classes", "index.json")) > 0.8
    Path("few.txt").write_text("0\n1\n")
    assert "names no output '2', a class of npz:d" in shapes.refused(*words, "--classes", "few.txt")
    assert "has 6, expected 0 to 5" in shapes.refused(*words, "--set", "defense.outputs=0,1,2,9")


def test_randomness_is_declared(shapes):
    words = (*WEIGHTS, "--factory", "shapes_of_theirs.py:Noise")
    codes = {f["code"] for f in shapes.record(*words)["findings"]}
    assert "undeclared-randomness" in codes and "answers-depend-on-history" not in codes
    record = shapes.record(*words, "--randomized", "--set", "defense.eot_samples=3")
    assert not [f for f in record["findings"] if f["severity"] == "block"] and record["draws"] == 9
    assert "expected at least 1" in shapes.refused(*words, "--set", "defense.eot_samples=0")


def test_a_stand_in_that_can_be_differentiated(shapes):
    words = (*WEIGHTS, "--factory", "shapes_of_theirs.py:Hard")
    plain = {c["name"]: c for c in shapes.record(*words)["columns"]}
    record = shapes.record(*words, "--attackable", "shapes_of_theirs.py:soft", "--eps", "0.3")
    climbed = {c["name"]: c for c in record["columns"]}
    assert plain["pgd_10"]["robust"]["count"] >= climbed["pgd_10"]["robust"]["count"]
    refusing = shapes.record(*words, "--set", "defense.detector=shapes_of_theirs.py:refusing")
    assert accuracy(refusing) == accuracy(record), "this detector refuses no image"


@pytest.mark.parametrize("name", ["Inf", "NotANumber"])
def test_answers_that_are_not_finite_are_a_finding_and_never_right(shapes, name):
    record = shapes.record(*WEIGHTS, "--factory", f"shapes_of_theirs.py:{name}")
    found = {f["code"]: f["detail"] for f in record["findings"]}
    assert "not finite" in found["answers-not-finite"]
    assert not {"undeclared-randomness", "batch-dependent", "answers-depend-on-history"} & {*found}
    assert accuracy(record) <= (0.0 if name == "Inf" else 0.9 * shapes.right)


def test_normalisation_around_a_network(shapes):
    std = torch.tensor([0.25, 0.2, 0.3])
    table = {k: v.clone() for k, v in shapes.state.items()}
    table["conv.weight"] *= std.view(1, 3, 1, 1)  # of a network that wants x / std where this one wants x
    shapes.save("scaled.pt", table)
    words = ("--checkpoint", "scaled.pt", *NET)
    scaled = accuracy(shapes.record(*words, "--normalize", "0/0.25,0.2,0.3"))
    assert abs(scaled - shapes.right) <= 0.1
    assert "expected none, task" in shapes.refused(*words, "--normalize", "imagnet")
    assert "which is for 2 channels, expected the 3" in shapes.refused(*words, "--normalize", "0.5,0.5/1,1")
    assert "pgd_at is trained here" in shapes.refused("--defense", "pgd_at", "--normalize", "imagenet")


def test_a_factory_takes_arguments_and_brings_its_weights(shapes):
    assert accuracy(shapes.record(*WEIGHTS, "--factory", "shapes_of_theirs.py:wide[classes=4]")) > 0.8
    assert accuracy(shapes.record("--factory", "shapes_of_theirs.py:ready")) > 0.8
    told = shapes.refused("--factory", "shapes_of_theirs.py:random")
    assert "makes other weights each time" in told and "--checkpoint FILE" in told


def test_files_that_parse_the_command_line_or_quit(stranger):
    stranger.write("parses_of_theirs.py", PARSES)
    assert accuracy(stranger.record(*WEIGHTS, "--factory", "parses_of_theirs.py:Net")) > 0.8
    stranger.write("quits_of_theirs.py", QUITS)
    told = stranger.refused(*WEIGHTS, "--factory", "quits_of_theirs.py:Net")
    assert "ends the program when it is imported (exit code 2" in told and "__main__" in told


def test_what_a_network_raises_is_told_with_its_line(shapes):
    told = shapes.refused(*WEIGHTS, "--factory", "shapes_of_theirs.py:Broken")
    line = SHAPES[: SHAPES.index("torch.ones(3, 3)")].count("\n") + 1
    assert f"in shapes_of_theirs.py, line {line}" in told and "cannot take images 3x8x8" in told


def test_networks_that_libraries_know(stranger):
    import timm

    torch.manual_seed(0)
    safetensors.torch.save_file(
        timm.create_model("resnet10t", num_classes=4).state_dict(), "timm.safetensors"
    )
    timms = ("--defense", "timm:resnet10t", "--checkpoint", "timm.safetensors", "--examples", "4")
    assert stranger.record(*timms)["architecture"] == "timm"
    told = stranger.refused("--defense", "timm:resnet10t")
    assert "published weights of timm:resnet10t cannot be had" in told and "--checkpoint FILE" in told
    assert "did you mean 'torchvision:squeezenet1_1'" in stranger.refused(
        "--defense", "torchvision:squeezenet11"
    )


def test_two_files_of_one_name_are_not_taken_for_each_other(stranger):
    """Both would be module `net`, and whichever is run last would build the networks of both."""
    for folder, width in (("a", 4), ("b", 8)):
        place = stranger.folder / folder
        place.mkdir()
        (place / "net.py").write_text(
            "from torch import nn\n\n\ndef make():\n"
            f"    return nn.Sequential(nn.Flatten(), nn.Linear(192, {width}), nn.Linear({width}, 4))\n"
        )
    told = stranger.refused(
        "--defense",
        "ensemble[members=loaded[factory=a/net.py:make]+loaded[factory=b/net.py:make]]",
    )
    assert "are both module 'net', expected a name of its own for each; try: renaming one of them" in told


def saved_pretrained(folder):
    """A small random ViT of transformers for these images, saved as its users save it."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=8,
        patch_size=4,
        num_labels=4,
    )
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 8, "width": 8}).save_pretrained(folder)


@pytest.mark.parametrize(
    "words", [("--defense", "hf:vit"), ("--checkpoint", "vit/model.safetensors")], ids=["folder", "file"]
)
def test_a_folder_of_save_pretrained(stranger, words):
    saved_pretrained("vit")
    record = stranger.record(*words, "--label", "my_vit")
    assert record["architecture"] == "ViTForImageClassification" and "logits is taken" in notes(record)
    assert record["spec"]["training"]["defense"]["normalize"] == "0.5/0.5"
    shutil.rmtree("vit")
    assert stranger.bench("verify", "my_vit").code == 0, "what makes it is in the record"


def test_transformers_that_is_not_installed_is_named(stranger, monkeypatch):
    Path("vit").mkdir()
    stranger.save("vit/pytorch_model.bin", stranger.state)
    Path("vit/config.json").write_text(
        '{"architectures": ["ViTForImageClassification"], "model_type": "vit"}'
    )
    monkeypatch.setitem(sys.modules, "transformers", None)
    told = stranger.refused("--defense", "hf:vit")
    assert "needs transformers, which is not installed; try: pip install 'robust-bench-harness[hf]'" in told
    assert accuracy(stranger.record("--defense", "hf:vit", *NET)) > 0.8, "unless something else makes it"
    assert "nowhere is no folder" in stranger.refused("--defense", "hf:./nowhere")
