"""Image classifiers of transformers: what lies beside weights is read, and answers are transformers' own."""

from __future__ import annotations

import json
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch

from bench.api import Task
from bench.core.threat import Budget, Norm
from bench.errors import BadCheckpoint, MissingExtra
from bench.train import pretrained
from bench.train.foreign import WeightsPlace
from bench.train.pretrained import ImageProcessor, config_beside, kind_of, processor_beside
from bench.train.weights_file import load_foreign
from defenses.loaded import Loaded

TASK = Task("npz:x", 10, (3, 32, 32), (0.0,) * 3, (1.0,) * 3, "resnet18", Budget(Norm.LINF, Fraction(8, 255)))
VIT = {
    "architectures": ["ViTForImageClassification"],
    "model_type": "vit",
    "id2label": {"0": "cat", "1": "dog"},
    "label2id": {"cat": 0, "dog": 1},
    "transformers_version": "5.0",
    "auto_map": {"AutoModel": "modeling.py--Net"},
    "attn_implementation": "somebody/kernel",
    "quantization_config": {"load_in_8bit": True},
    "_name_or_path": "/home/somebody",
    "hidden_size": 32,
}


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """Write the files beside weights in an otherwise empty folder, as if transformers were installed."""

    def write(config=None, processor=None):
        for name, held in ((pretrained.CONFIG, config), (pretrained.PROCESSOR, processor)):
            if held is not None:
                (tmp_path / name).write_text(held if isinstance(held, str) else json.dumps(held))
        return tmp_path / "model.safetensors"

    monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda name: name)
    return write


def test_a_configuration_loses_what_names_code_and_classes(beside):
    config = config_beside(beside(VIT))
    assert json.loads(config) == {
        "architectures": ["ViTForImageClassification"],
        "model_type": "vit",
        "num_labels": 2,
        "hidden_size": 32,
    }
    assert kind_of(config) == "ViTForImageClassification"


@pytest.mark.parametrize(
    "held", [None, {"architecture": "resnet18"}, {"architectures": ["Net"]}, [1], {"model_type": 3}]
)
def test_other_configurations_are_nobodys(beside, held):
    assert config_beside(beside(held)) == ""


@pytest.mark.parametrize(
    ("held", "told"),
    [
        ({**VIT, "architectures": ["ViTModel"]}, "is of a ViTModel, expected a network that ends in"),
        ("{", "cannot be read"),
        ('{"model_type": NaN}', "NaN, which is no number"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_what_is_no_classifier_or_no_json_is_a_sentence(beside, held, told):
    with pytest.raises(BadCheckpoint, match=told):
        config_beside(beside(held))


def test_transformers_that_is_not_installed_is_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps(VIT))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match="needs transformers, which is not installed") as raised:
        config_beside(tmp_path / "model.safetensors")
    assert raised.value.hint == "pip install 'robust-bench-harness[hf]'"


HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


@pytest.mark.parametrize(
    ("processor", "normalize", "sizes"),
    [
        (None, "none", (None, None)),
        ({**HALF, "size": {"height": 224, "width": 224}}, "0.5/0.5", (224, 224)),
        ({**HALF, "size": 224}, "0.5/0.5", (224, 224)),
        (
            {**IMAGENET, "size": {"shortest_edge": 224}, "crop_pct": 0.875},
            "0.485,0.456,0.406/0.229,0.224,0.225",
            (256, 224),
        ),
        ({**HALF, "size": {"shortest_edge": 384}, "crop_pct": 0.875}, "0.5/0.5", (384, 384)),
        (
            {**HALF, "size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224}},
            "0.5/0.5",
            (256, 224),
        ),
        ({**HALF, "do_normalize": False, "do_resize": False, "size": 224}, "none", (None, None)),
        # x / 127.5 - 1 of pixels up to 255 is (x - 0.5) / 0.5 of pixels in [0, 1]
        (
            {"do_normalize": False, "rescale_factor": 1 / 127.5, "rescale_offset": True},
            "0.5/0.5",
            (None, None),
        ),
        # pixels up to 255, normalised by numbers of their kind
        ({"image_mean": [127.5], "image_std": [51.0], "do_rescale": False}, "0.5/0.2", (None, None)),
        ({"image_mean": "x", "image_std": [1], "size": "big", "rescale_factor": 0}, "none", (None, None)),
        ({**HALF, "size": {"shortest_edge": 224}, "crop_pct": 0}, "0.5/0.5", (224, 224)),
    ],
)
def test_what_an_image_processor_says(beside, processor, normalize, sizes):
    told = processor_beside(beside(processor=processor))
    assert (told.normalize, (told.resize, told.crop)) == (normalize, sizes)
    assert ImageProcessor().normalize == "none"


def small(kind, folder):
    """A random classifier of ten classes for 32 x 32 pixels, written as its users write it."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    if kind == "vit":
        config = transformers.ViTConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            image_size=32,
            patch_size=8,
            num_labels=10,
        )
        processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
        net = transformers.ViTForImageClassification(config)
    else:
        config = transformers.ResNetConfig(
            embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], num_labels=10, layer_type="basic"
        )
        processor = transformers.ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=1.0, **IMAGENET)
        net = transformers.ResNetForImageClassification(config)
    net.save_pretrained(folder)
    processor.save_pretrained(folder)
    return net.eval(), processor


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_the_answers_are_those_of_transformers_and_its_image_processor(tmp_path, kind):
    theirs, processor = small(kind, tmp_path / "net")
    (tmp_path / "other").mkdir()
    named = Loaded(source=f"hf:{tmp_path / 'net'}")
    (file,) = named.files("npz:x", None, WeightsPlace())
    told = named.described(file)
    assert told.source == "file" and told.made_by == type(theirs).__name__
    ours = told.build(TASK)
    unpacked = told.unpacked("npz:x", file, tmp_path / "other")
    load_foreign(unpacked, ours)
    pixels = np.random.RandomState(0).randint(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = theirs(
            **processor([*pixels], return_tensors="pt", input_data_format="channels_last")
        ).logits
        found = ours.eval()(torch.tensor(pixels).permute(0, 3, 1, 2).float() / 255)
    assert torch.allclose(found, expected, atol=1e-5)


def test_weights_that_do_not_fit_their_configuration_are_a_sentence(tmp_path):
    small("vit", tmp_path)
    held = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**held, "num_hidden_layers": 3, "hidden_size": 48}))
    file = tmp_path / "model.safetensors"
    with pytest.raises(
        BadCheckpoint, match=r"does not fit the ViTForImageClassification.* missing .*mismatched"
    ):
        pretrained.unpack(config_beside(file), file, tmp_path)


def test_a_class_that_transformers_has_not_is_a_sentence():
    pytest.importorskip("transformers")
    config = json.dumps({"architectures": ["NobodyForImageClassification"], "model_type": "vit"})
    with pytest.raises(BadCheckpoint, match="has no NobodyForImageClassification"):
        pretrained.make(config)


@pytest.mark.parametrize("name", ["do_flip_channel_order", "include_top"])
def test_a_processor_that_does_what_we_do_not_is_refused(tmp_path, name):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({name: True, "image_mean": [0.5] * 3}))
    with pytest.raises(BadCheckpoint, match=f"does more to images than scaling \\({name}\\)"):
        processor_beside(tmp_path / "model.safetensors")
