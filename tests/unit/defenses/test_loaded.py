"""Loaded networks: those of other packages answer as they do there; what is wrong is one sentence."""

import dataclasses
import hashlib
import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from torch import nn

from bench.api import Task
from bench.core.downloads import note_of, noted
from bench.core.encoding import decode, encode
from bench.core.threat import Budget, Norm, Source
from bench.errors import BadCheckpoint, BadData, BadValue, BenchError, MissingExtra, UnknownName
from bench.nn.architectures import network
from bench.plan import Request, name_of, parse_defense, plan_run, plan_training
from bench.registry import DEFENSES
from bench.train import hub, zoo
from bench.train.foreign import Foreign, WeightsPlace
from bench.train.weights_file import load_foreign
from defenses.ensemble import Ensemble
from defenses.loaded import Loaded
from defenses.pgd_at import PgdAt

GREY = Task("synthetic", 3, (1, 8, 8), (0.5,), (0.25,), "small_cnn", Budget(Norm.LINF, 0.1))
RGB = Task("rgb", 10, (3, 32, 32), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "resnet18", Budget(Norm.LINF, 8 / 255))


def example(name):
    """A file that the wheel of pyautoattack brings."""
    package = importlib.util.find_spec("pyautoattack")
    return Path(package.submodule_search_locations[0], "examples", name)


def module_in(path):
    spec = importlib.util.spec_from_file_location("theirs", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_network_of_pyautoattack_answers_as_it_does_there():
    weights, x = example("model_test.pt"), torch.rand(4, 3, 32, 32)
    theirs = module_in(example("resnet.py")).ResNet18()
    theirs.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    raw, normalized = (Loaded(normalize=how).build(RGB) for how in ("none", "task"))
    load_foreign(weights, raw)
    load_foreign(weights, normalized)
    with torch.no_grad():
        expected = theirs.eval()(x)
        assert expected.std() > 0.1
        assert torch.allclose(raw.eval()(x), expected, atol=1e-4)
        assert not torch.allclose(normalized.eval()(x), expected, atol=0.1)
        mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (RGB.mean, RGB.std))
        assert torch.allclose(normalized(x * std + mean), expected, atol=1e-3)


@pytest.fixture
def weights(tmp_path):
    """Weights of a small network for the synthetic images."""

    def make(name="given.safetensors", seed=0, architecture="small_cnn"):
        torch.manual_seed(seed)
        task = Task("synthetic", 3, (1, 8, 8), (0.5,), (0.25,), architecture, Budget(Norm.LINF, 0.1))
        safetensors.torch.save_file(network(task).state_dict(), tmp_path / name)
        return tmp_path / name

    return make


def request(defense="loaded", **changes):
    return Request(defense, data="synthetic", suite="graybox", **changes)


def test_a_run_is_known_by_the_content_of_its_file(weights, tmp_path):
    first = plan_run(request(weights=weights()))
    (tmp_path / "elsewhere").mkdir()
    moved = Path(shutil.copy(weights(), tmp_path / "elsewhere" / "other.bin"))
    assert plan_run(request(weights=moved)).id == first.id
    assert plan_run(request(weights=weights(seed=1))).id != first.id
    assert plan_run(request(weights=moved, seed=1)).id != first.id
    told = json.dumps(first.encoded())
    assert str(tmp_path) not in told and "given" not in told
    assert first.training.named.label == f"loaded[weights={first.training.init.sha256[:12]}]"


def test_no_choice_about_training_changes_it(weights):
    plain = plan_training(request(weights=weights()))
    chosen = plan_training(
        request(
            weights=weights(),
            settings={"recipe": {"epochs": "3"}},
            train_budget=Budget(Norm.LINF, 0.05),
        )
    )
    assert chosen.id == plain.id and plain.recipe.name == "loaded"


def test_weights_that_are_named_must_be_those(weights):
    right = plan_training(request(weights=weights())).named
    assert parse_defense(right.label, {}).defense == right.defense
    assert plan_training(request(right.label, weights=weights())).named == dataclasses.replace(
        right, name="loaded"
    )
    with pytest.raises(BadCheckpoint, match=r"weights is 0{12}, but the SHA-256 of the file begins with"):
        plan_training(request("loaded[weights=000000000000]", weights=weights()))


def test_nobody_trains_a_twin(weights):
    others = dict(plan_run(request(weights=weights())).others)
    assert set(others) == {Source.UNDEFENDED}
    assert others[Source.UNDEFENDED].recipe.name == "short", "the attackers' own are trained by the recipe"
    settings = {"recipe": {"epochs": "2"}}
    others = dict(plan_run(request(weights=weights(), settings=settings)).others)
    assert others[Source.UNDEFENDED].recipe.epochs == 2


def test_nothing_is_trained_on_top_of_it():
    with pytest.raises(BadValue, match=r"awp\[base=loaded\] would train loaded, which is never trained"):
        plan_training(request("awp[base=loaded]"))


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(BadValue, match="loaded has no weights of its own") as raised:
        plan_run(request())
    assert raised.value.hint == "bench run --defense loaded --checkpoint FILE"
    with pytest.raises(BadCheckpoint, match=r"gone.pt cannot be read \(No such file") as raised:
        plan_run(request(weights=tmp_path / "gone.pt"))
    assert raised.value.hint == "--checkpoint with the path of a weights file"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"source": "somewhere"}, "source is 'somewhere', expected file, robustbench:NAME, hf:REPO"),
        ({"source": "robustbench:"}, "expected file, robustbench:NAME"),
        ({"weights": "zzz"}, "expected 12 hexadecimal digits"),
        ({"factory": "make"}, "expected module:callable or PATH"),
        ({"factory": "json:loads", "source": "robustbench:X"}, "expected none: robustbench:X is a whole"),
        ({"factory": "gone.py:make"}, r"there is no file 'gone.py', expected PATH.py:callable"),
    ],
)
def test_fields_that_make_no_sense(fields, told):
    with pytest.raises((BadValue, UnknownName), match=told):
        Loaded(**fields)


def test_it_is_foreign_and_encodes():
    assert isinstance(Loaded(), Foreign) and not isinstance(PgdAt(), Foreign)
    for loaded in (Loaded(), Loaded(source="hf:a/b", normalize="none", weights="0123456789ab")):
        assert decode(encode(loaded)) == loaded
    assert "no paper" in Loaded.paper and Loaded().reconstruction is None


FACTORY = """
import torch
from torch import nn

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

def wide():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4))

def needy(width):
    return make()

def nothing():
    return None

number = 3
"""


@pytest.fixture
def networks(tmp_path):
    path = tmp_path / "networks_of_mine.py"
    path.write_text(FACTORY)
    yield path
    sys.modules.pop("networks_of_mine", None)


def test_a_factory_in_a_file_has_one_name_wherever_it_lies(networks, tmp_path, weights):
    (tmp_path / "b").mkdir()
    moved = shutil.copy(networks, tmp_path / "b")
    one, other = (request(weights=weights(), factory=f"{path}:make") for path in (networks, moved))
    first = plan_training(one)
    assert first.named.defense.factory == "networks_of_mine:make"
    assert first.modules[:2] == ["defenses.loaded", "networks_of_mine"], "its code is behind the result"
    assert first.named.defense.made_by == "networks_of_mine:make"
    assert plan_training(other).id == first.id
    assert isinstance(first.named.defense.build(GREY), nn.Sequential), "nothing was needed around it"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("mkae", "has no callable 'mkae'; did you mean 'make'"),
        ("number", "has no callable 'number'"),
        ("needy", "calling it without arguments raised TypeError"),
        ("nothing", "makes a NoneType, expected an nn.Module"),
    ],
)
def test_a_factory_that_makes_no_network(networks, weights, name, told):
    with pytest.raises(BenchError, match=told):
        plan_training(request(weights=weights(), factory=f"{networks}:{name}")).named.defense.build(RGB)


def test_a_factory_is_for_weights_of_others_and_instead_of_an_architecture(networks, weights):
    with pytest.raises(BadValue, match=r"but pgd_at is trained here, expected --arch NAME"):
        plan_training(request("pgd_at", factory=f"{networks}:make"))
    with pytest.raises(BadValue, match="expected one of them"):
        plan_training(request(weights=weights(), factory=f"{networks}:make", architecture="lenet"))
    with pytest.raises(BadValue, match=r"no_such_module cannot be imported \(ModuleNotFoundError"):
        plan_training(request(weights=weights(), factory="no_such_module:make"))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 2)),
            r"answers \[2, 2\] to two .* logits \[2, 3\]",
        ),
        (lambda: nn.Flatten(0), r"answers \[128\] to two images and \[64\] to one"),
        (lambda: nn.Conv2d(3, 3, 3), r"cannot take images 1x8x8 \(.*expected input.* 3 channels"),
        (lambda: nn.LSTM(8, 3), "cannot take|answers tuple"),
    ],
)
def test_a_network_for_other_images_or_classes_is_one_sentence(monkeypatch, make, told):
    monkeypatch.setattr("bench.train.factory.network", lambda *_: make())
    with pytest.raises(BadCheckpoint, match=told):
        Loaded(factory="theirs:make").build(GREY)


# RobustBench


def randomised(net):
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return net.eval()


def test_a_network_of_the_zoo_answers_as_it_does_there(tmp_path):
    loaded = Loaded(source="robustbench:Rice2020Overfitting", threat="L2", zoo_data="cifar10")
    theirs = randomised(loaded.build(RGB))
    folder = tmp_path / "models" / "cifar10" / "L2"
    folder.mkdir(parents=True)
    # as it is published: from several GPUs, and without the normalisation's numbers
    published = {f"module.{key}": value for key, value in theirs.state_dict().items()}
    del published["module.mu"], published["module.sigma"]
    torch.save(published, folder / "Rice2020Overfitting.pt")

    (file,) = loaded.files("npz:mine", None, WeightsPlace(tmp_path, download=False))
    assert file == folder / "Rice2020Overfitting.pt"
    (tmp_path / "unpacked").mkdir()
    mine = loaded.build(RGB)
    load_foreign(loaded.unpacked("npz:mine", file, tmp_path / "unpacked"), mine)
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(mine.eval()(x), theirs(x)) and theirs(x).std() > 0
    assert "autoattack" not in sys.modules, "the alias is there only while RobustBench is imported"


@pytest.mark.parametrize(
    ("name", "data", "told", "hint"),
    [
        ("Rice2020Overfiting", "cifar10", "did you mean 'robustbench:Rice2020Overfitting'", None),
        ("rice2020overfitting", "cifar10", "did you mean 'robustbench:Rice2020Overfitting'", None),
        ("Xyzzy", "cifar100", "zoo for cifar100 has no network 'Xyzzy'", "--defense robustbench:"),
        (
            "Rony2019Decoupling",
            "cifar10",
            "against L2, not Linf",
            "robustbench:Rony2019Decoupling[threat=L2]",
        ),
        ("Rice2020Overfitting", "digits", "no networks for digits, expected cifar10, cifar100", "zoo_data="),
        ("Debenedetti2022Light_XCiT-S12", "cifar10", "no file of weights in the zoo", None),
    ],
)
def test_names_that_the_zoo_has_not(name, data, told, hint):
    with pytest.raises((UnknownName, BadValue), match=told) as raised:
        plan_training(Request(f"robustbench:{name}", data=data, download=False))
    assert raised.value.hint is None if hint is None else hint in raised.value.hint


def test_an_ensemble_of_the_zoo_has_a_file_for_each_member():
    found = zoo.entry("Chen2020Adversarial", "cifar10", "Linf")
    assert [str(path) for path in found.paths] == [
        f"cifar10/Linf/Chen2020Adversarial.pt_m{place}.pt" for place in range(3)
    ]


def test_labels_are_the_names_that_were_asked_for():
    for text in ("robustbench:Rice2020Overfitting", "robustbench:X[threat=L2]", "hf:someone/net/best.pt"):
        named = parse_defense(text, {})
        assert named.label == text and name_of(named.defense).label == text
    together = parse_defense("ensemble[members=robustbench:A[threat=L2]+hf:a/b+pgd_at]", {})
    assert together.label == "ensemble[members=robustbench:A[threat=L2]+hf:a/b+pgd_at]"
    assert isinstance(together.defense, Ensemble)
    with pytest.raises(UnknownName, match="did you mean 'robustbench:Rice'"):
        parse_defense("robustbnech:Rice", {})
    assert DEFENSES.schemes() == ["hf:REPO", "robustbench:NAME", "timm:NAME", "torchvision:NAME"]


def test_the_paper_is_told_as_far_as_it_is_known(tmp_path, monkeypatch):
    loaded = Loaded(source="robustbench:Rice2020Overfitting")
    folder = tmp_path / "model_info" / "cifar10" / "Linf"
    folder.mkdir(parents=True)
    package = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(zoo.importlib.util, "find_spec", lambda name: package)
    assert loaded.paper == "RobustBench: Rice2020Overfitting, as published"
    told = {"authors": "Rice, Wong", "name": "Overfitting", "venue": "ICML 2020", "link": "https://"}
    (folder / "Rice2020Overfitting.json").write_text(json.dumps(told))
    assert loaded.paper == (
        "RobustBench: Rice2020Overfitting, as published (Rice, Wong, Overfitting, ICML 2020)"
    )


# Hugging Face


@pytest.fixture
def hugging_face(monkeypatch):
    """A hub of one repository; what is asked of it is noted."""
    errors = pytest.importorskip("huggingface_hub.errors")
    asked, files = [], {"someone/net": ["README.md", "pytorch_model.bin", "net.safetensors"]}
    files["some/vit"] = ["model.safetensors", "config.json", "preprocessor_config.json", "tokenizer.json"]

    def model_info(repository, revision=None):
        asked.append(repository)
        if repository not in files:
            raise ConnectionError("Name or service not known\nand more")
        siblings = [SimpleNamespace(rfilename=name) for name in files[repository]]
        return SimpleNamespace(sha=f"{revision or 'main'}-commit", siblings=siblings)

    def download(repository, file, revision, local_dir):
        assert revision.endswith("-commit"), "a commit is downloaded, whatever was asked for"
        asked.append(f"{repository}/{file}")
        path = Path(local_dir, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights")
        return str(path)

    api = SimpleNamespace(model_info=model_info)
    fake = SimpleNamespace(HfApi=lambda: api, hf_hub_download=download, errors=errors)
    monkeypatch.setattr(hub, "_hub", lambda: fake)
    return asked


def test_a_repository_is_asked_once_and_its_safetensors_are_taken(hugging_face, tmp_path):
    found = hub.find("someone/net", WeightsPlace(tmp_path))
    assert found == tmp_path / "models" / "huggingface" / "someone" / "net" / "net.safetensors"
    assert hugging_face == ["someone/net", "someone/net/net.safetensors"]
    assert hub.find("someone/net/net.safetensors", WeightsPlace(tmp_path)) == found
    assert hub.find("someone/net", WeightsPlace(tmp_path, download=False)) == found
    assert len(hugging_face) == 2, "what is here is not asked for again"
    other = hub.find("someone/net/pytorch_model.bin", WeightsPlace(tmp_path))
    assert other.name == "pytorch_model.bin" and len(hugging_face) == 4


def test_what_says_how_to_make_the_network_comes_with_its_weights(hugging_face, tmp_path):
    found = hub.find("some/vit", WeightsPlace(tmp_path))
    beside, note = ["config.json", "preprocessor_config.json"], f"{found.name}.download.json"
    assert {path.name for path in found.parent.iterdir()} == {*beside, found.name, note}
    assert hugging_face == ["some/vit", *(f"some/vit/{name}" for name in (*beside, "model.safetensors"))]


def test_a_folder_of_ones_own_is_no_repository(hugging_face, tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "model.safetensors").write_bytes(b"")
    assert hub.find(str(tmp_path / "net"), WeightsPlace()) == tmp_path / "net" / "model.safetensors"
    with pytest.raises(BadCheckpoint, match=r"nothing is no folder, expected one that save_pretrained wrote"):
        hub.find(str(tmp_path / "nothing"), WeightsPlace())
    assert hugging_face == []


def test_offline_and_unreachable_repositories_are_one_sentence(hugging_face, tmp_path):
    with pytest.raises(BadCheckpoint, match="the weights of hf:someone/net are not here") as raised:
        hub.find("someone/net", WeightsPlace(tmp_path, download=False))
    assert "--offline downloads nothing" in raised.value.message and hugging_face == []
    with pytest.raises(
        BadCheckpoint, match=r"hf:else/where cannot be downloaded \(Name or service not known\)"
    ):
        hub.find("else/where", WeightsPlace(tmp_path))


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (
            ["a.safetensors", "b.safetensors", "c.bin"],
            r"2 files of weights, expected one of a.*, b.safetensors",
        ),
        (["README.md", ".gitattributes"], "no file of weights"),
    ],
)
def test_a_repository_whose_weights_are_unclear(names, told):
    with pytest.raises((BadValue, BadCheckpoint), match=told):
        hub.choose("someone/net", names)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["model.safetensors", "other.safetensors", "pytorch_model.bin"], "model.safetensors"),
        (["pytorch_model.bin", "net.safetensors"], "net.safetensors"),
        (["weights/best.pth", ".cache/x.safetensors"], "weights/best.pth"),
        (["pytorch_model.bin", "optimizer.pt"], "pytorch_model.bin"),
    ],
)
def test_which_file_of_a_repository(names, chosen):
    assert hub.choose("someone/net", names) == chosen


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("RepositoryNotFoundError", "Hugging Face has no repository 'a/b', or not for you"),
        ("RemoteEntryNotFoundError", "the repository 'a/b' of Hugging Face has no file 'c.pt'"),
        ("LocalEntryNotFoundError", "hf:a/b/c.pt cannot be downloaded"),
        ("HFValidationError", "'hf:a/b/c.pt' names no repository"),
        ("RevisionNotFoundError", "the repository 'a/b' has no revision"),
    ],
)
def test_what_the_hub_objects_to_is_one_sentence(hugging_face, monkeypatch, tmp_path, kind, told):
    fake = hub._hub()
    raised = getattr(fake.errors, kind)
    error = raised.__new__(raised, "objection")

    def refuse(repository, file, revision, local_dir):
        raise error

    there = SimpleNamespace(sha="a-commit", siblings=[])
    monkeypatch.setattr(fake.HfApi(), "model_info", lambda repository, revision: there)
    monkeypatch.setattr(fake, "hf_hub_download", refuse)
    with pytest.raises((BadCheckpoint, BadValue, UnknownName), match=told):
        hub.find("a/b/c.pt", WeightsPlace(tmp_path))


def test_a_revision_is_downloaded_at_its_commit_and_noted(hugging_face, tmp_path):
    pinned = hub.find("someone/net@v1", WeightsPlace(tmp_path))
    assert pinned == tmp_path / "models" / "huggingface" / "someone" / "net@v1" / "net.safetensors"
    assert str(noted(pinned)) == "https://huggingface.co/someone/net at commit v1-commit"
    newest = hub.find("someone/net", WeightsPlace(tmp_path))
    assert newest != pinned and noted(newest).revision == "main-commit"
    assert noted(newest).sha256 == hashlib.sha256(b"weights").hexdigest()


@pytest.mark.parametrize("again", ["there", "downloaded"])
def test_other_content_than_at_first_is_refused(hugging_face, tmp_path, again):
    found = hub.find("someone/net/net.safetensors", WeightsPlace(tmp_path))
    note = note_of(found)
    if again == "there":
        found.write_bytes(b"other weights")
    else:  # what comes now is other content than what came then
        note.write_text(note.read_text().replace(noted(found).sha256, "0" * 64))
        found.unlink()
    with pytest.raises(BadData, match="was other content at its first download from https") as told:
        hub.find("someone/net/net.safetensors", WeightsPlace(tmp_path))
    assert told.value.hint is not None and str(note) in told.value.hint
    note.unlink()
    assert hub.find("someone/net/net.safetensors", WeightsPlace(tmp_path)) == found


def test_files_of_the_users_own_have_no_note(hugging_face, tmp_path):
    place = tmp_path / "models" / "huggingface" / "someone" / "net" / "net.safetensors"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"mine")
    assert hub.find("someone/net/net.safetensors", WeightsPlace(tmp_path)) == place and noted(place) is None
    assert hugging_face == []


def test_a_hub_without_tls_is_not_asked(hugging_face, tmp_path):
    hub._hub().constants = SimpleNamespace(ENDPOINT="http://mirror.example")
    with pytest.raises(BadValue, match=r"HF_ENDPOINT is 'http://mirror\.example'.*https://"):
        hub.find("someone/net", WeightsPlace(tmp_path))
    assert hugging_face == []


@pytest.mark.parametrize("name", ["a", "a/../b", "a/b/../../c", "a/b@", "a/b@v 1", "a/b@x/y", "a//b", ""])
def test_what_is_no_name_of_a_repository(hugging_face, name, tmp_path):
    with pytest.raises(BadValue, match="names no repository"):
        hub.find(name, WeightsPlace(tmp_path))
    assert hugging_face == []


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", None)
    with pytest.raises(MissingExtra, match="huggingface_hub, which is not installed") as raised:
        hub.find("someone/net", WeightsPlace(Path("nowhere")))
    assert raised.value.hint == "pip install 'robust-bench-harness[hf]'"
