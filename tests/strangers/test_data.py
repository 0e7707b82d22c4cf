"""Images in the files and folders in which people have them: read, or told what to type, and it works."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from bench.data.load import load

NET = ("--checkpoint", "w.pt", "--factory", "theirs.py:Net")


def accuracy(record):
    return record["clean"]["count"] / record["clean"]["n"]


@pytest.fixture
def arrays(stranger):
    """The test images of the stranger, [40, 3, 8, 8] uint8, and their labels."""
    with np.load("d.npz") as held:
        return held["x_test"], held["y_test"]


def words_after_try(sentence):
    """What a sentence says to type for --data."""
    return sentence.partition('--data "')[2].partition('"')[0]


NAMES = {
    "x and y": ("x", "y"),
    "images and labels": ("images", "labels"),
    "test images": ("test_images", "test_labels"),
    "X_test": ("X_test", "Y_test"),
    "unnamed": ("arr_0", "arr_1"),
    "data and targets": ("data", "targets"),
}


@pytest.mark.parametrize("kind", NAMES)
def test_test_arrays_alone_by_their_usual_names(stranger, arrays, kind):
    np.savez("t.npz", **dict(zip(NAMES[kind], arrays, strict=True)))
    record = stranger.record(*NET, data="npz:t.npz")
    assert abs(accuracy(record) - stranger.right) <= 0.1 and record["examples"] == 20


SHAPES = {
    "channels last": lambda x, y: (x.transpose(0, 2, 3, 1), y),
    "floats": lambda x, y: ((x / 255).astype("f4"), y),
    "labels in a column": lambda x, y: (x, y[:, None]),
    "half floats": lambda x, y: ((x / 255).astype("f2"), y),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_arrays_of_several_shapes(stranger, arrays, kind):
    x, y = SHAPES[kind](*arrays)
    np.savez("t.npz", x=x, y=y)
    found = load("npz:t.npz").test.batch(torch.arange(40))[0]
    assert torch.allclose(found, torch.tensor(arrays[0]) / 255, atol=1e-3)


TOLD = {
    "one-hot labels": (lambda x, y: (x, np.eye(4)[y]), "is one-hot"),
    "float labels": (lambda x, y: (x, y.astype("f4")), "whole numbers as float32"),
    "labels from 1": (lambda x, y: (x, y + 1), "goes from 1 to 4"),
    "floats up to 255": (lambda x, y: (x.astype("f4"), y), "float32 pixels from"),
    "integers": (lambda x, y: (x.astype("i8"), y), "int64 pixels"),
    "from -1 to 1": (lambda x, y: (x / 127.5 - 1, y), "float64 pixels from"),
}


@pytest.mark.parametrize("kind", TOLD)
def test_what_cannot_be_known_is_told_and_what_is_typed_works(stranger, arrays, kind):
    change, sentence = TOLD[kind]
    x, y = change(*arrays)
    x.flat[0], x.flat[1] = x.min(), x.max()
    np.savez("t.npz", x_test=x, y_test=y)
    told = stranger.refused(*NET, data="npz:t.npz")
    assert sentence in told, told
    assert abs(accuracy(stranger.record(*NET, data=words_after_try(told))) - stranger.right) <= 0.1


def test_a_layout_that_cannot_be_seen(stranger, arrays):
    x = np.concatenate([arrays[0]] * 2, 1)[:, :5].repeat(3, 2)[:, :, :7]  # 5 x 7 x 8, none of them square
    np.savez("t.npz", x=x, y=arrays[1])
    told = stranger.refused(*NET, data="npz:t.npz")
    assert "may be channels" in told
    assert load("npz:t.npz[layout=nchw]").image_shape == (5, 7, 8)
    assert load("npz:t.npz[layout=nhwc]").image_shape == (8, 5, 7)


def test_files_of_numpy_and_of_torch(stranger, arrays):
    Path("n").mkdir()
    np.save("n/x_test.npy", arrays[0])
    np.save("n/y_test.npy", arrays[1])
    assert accuracy(stranger.record(*NET, data="npy:n")) > 0.8
    torch.save({"images": torch.tensor(arrays[0]), "labels": torch.tensor(arrays[1])}, "d.pt")
    assert accuracy(stranger.record(*NET, data="pt:d.pt")) > 0.8
    torch.save((torch.tensor(arrays[0]), torch.tensor(arrays[1])), "pair.pt")
    assert accuracy(stranger.record(*NET, data="pt:pair.pt")) > 0.8


def test_without_training_images_nothing_is_trained(stranger, arrays):
    np.savez("t.npz", x_test=arrays[0], y_test=arrays[1])
    told = stranger.refused("--defense", "pgd_at", data="npz:t.npz")
    assert "has 0 training images" in told and "data with training images" in told
    assert "has 0 training images" in stranger.refused(*NET, data="npz:t.npz", suite="blackbox")


def pictures(folder, arrays, size=None, names=("class0", "class1", "class2", "class3")):
    """A PNG of each image in a folder of its class; of other sizes if one is given."""
    for place, (x, y) in enumerate(zip(*arrays, strict=True)):
        path = Path(folder, names[y])
        path.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(x.transpose(1, 2, 0))
        if size:
            image = image.resize((size + place % 3, size), Image.Resampling.NEAREST)
        image.save(path / f"{place}.png")


@pytest.mark.parametrize(
    "parts",
    [("train", "test"), ("Training", "val"), ("train", "Valid"), (None, "Testing")],
    ids=["train and test", "Training and val", "train and Valid", "Testing alone"],
)
def test_parts_in_any_usual_spelling(stranger, arrays, parts):
    train, test = parts
    pictures(f"p/{test}", arrays)
    if train:
        pictures(f"p/{train}", tuple(part[:12] for part in arrays))
    found = load("folder:p")
    assert len(found.test) == 40 and len(found.train) + len(found.validation) == (12 if train else 0)
    assert accuracy(stranger.record(*NET, data="folder:p")) > 0.8


def test_a_folder_of_classes_is_all_for_testing_where_nothing_is_trained(stranger, arrays):
    pictures("p", arrays)
    told = stranger.run(*NET, "--examples", "all", data="folder:p")
    assert '"examples": 40' in told.out and "folder:p[test=all]" in told.out
    split = stranger.run(
        "--defense", "standard", "--set", "recipe.epochs=1", "--arch", "small_cnn", data="folder:p"
    )
    assert "folder:p has no parts: 32 images are for training, 8 for testing" in split.err, split.err


def test_pictures_of_several_sizes(stranger, arrays):
    pictures("p", arrays, size=16)
    told = stranger.refused(*NET, data="folder:p")
    assert "expected images of one size" in told and "--resize 16 --crop 16" in told
    words = ("--resize", "8", "--crop", "8")
    record = stranger.record(*NET, *words, data="folder:p")
    assert accuracy(record) > 0.5 and record["data"] == "folder:p[crop=8,resize=8,test=all]"
    found = load("folder:p[resize=8,crop=8,test=all]")
    file = sorted(Path("p", "class0").iterdir())[0]
    theirs = transforms.resize(Image.open(file), [8], InterpolationMode.BICUBIC, antialias=True)
    theirs = transforms.pil_to_tensor(transforms.center_crop(theirs, [8]))
    assert any(torch.equal(x, theirs) for x in found.test.x), "as torchvision resizes it"


def test_sixteen_bits_are_scaled_and_never_clipped(stranger):
    numbers = np.random.RandomState(0).randint(8995, 62451, (8, 16, 16)).astype(np.uint16)
    for place, pixels in enumerate(numbers):
        Path("f16", "ab"[place % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(f"f16/{'ab'[place % 2]}/{place}.png")
    found = load("folder:f16[test=all]").test.batch(torch.arange(8))[0]
    expected = torch.tensor(numbers[[0, 2, 4, 6, 1, 3, 5, 7]] / 65535)
    assert torch.allclose(found[:, 0].double(), expected, atol=0.5 / 255 + 1e-6)


def test_an_unreadable_file_is_named(stranger, arrays):
    pictures("p", arrays)
    Path("p", "class0", "broken.png").write_bytes(b"no picture")
    assert "broken.png cannot be read as an image" in stranger.refused(*NET, data="folder:p")


def test_grey_pictures_as_one_channel(stranger, arrays):
    pictures("p", arrays)
    assert load("folder:p[channels=1,test=all]").image_shape == (1, 8, 8)
    told = stranger.refused(*NET, data="folder:p[chanels=1]")
    assert "no parameter 'chanels', expected resize, crop, channels or test" in told


def test_a_network_whose_classes_are_in_another_order_is_told(stranger, arrays):
    rolled = {
        name: tensor.roll(1, 0) if name.startswith("fc") else tensor
        for name, tensor in stranger.state.items()
    }
    stranger.save("rolled.pt", rolled)
    words = ("--checkpoint", "rolled.pt", "--factory", "theirs.py:Net", "--examples", "all")
    found = {one["code"]: one for one in stranger.record(*words)["findings"]}
    assert found["classes-permuted"]["severity"] == "warn", found
    assert "--classes FILE" in found["classes-permuted"]["detail"]
    Path("names.txt").write_text("3\n0\n1\n2\n")
    mended = stranger.record(*words, "--classes", "names.txt")
    assert abs(accuracy(mended) - stranger.right) <= 0.1
    assert "classes-permuted" not in {one["code"] for one in mended["findings"]}


def test_folders_named_by_synsets_find_their_outputs_among_a_thousand(stranger, arrays):
    pytest.importorskip("timm")
    synsets = {"n02102040": 217, "n01440764": 0, "n03394916": 566, "n03888257": 701}
    pictures("p", arrays, names=sorted(synsets))
    rows = torch.tensor([synsets[name] for name in sorted(synsets)])
    wide = dict(stranger.state)
    for name in ("fc.weight", "fc.bias"):
        wide[name] = torch.full((1000, *wide[name].shape[1:]), -1.0 if name == "fc.bias" else 0.0)
        wide[name][rows] = stranger.state[name]
    stranger.save("wide.pt", wide)
    record = stranger.record(
        "--checkpoint", "wide.pt", "--factory", "theirs.py:Net[classes=1000]", data="folder:p"
    )
    assert abs(accuracy(record) - stranger.right) <= 0.1
    assert any("ImageNet's synsets" in note for note in record["provenance"]["notes"])


def test_each_class_is_counted(stranger):
    record = stranger.record(*NET)
    classes, names = record["by_class"]["classes"], ["0", "1", "2", "3"]
    assert [one["name"] for one in classes] == names and sum(one["n"] for one in classes) == 20
    for state, whole in (("clean", record["clean"]), ("robust", record["worst_case"])):
        assert sum(one[state] for one in classes) == whole["count"]
        mean = sum(one[state] / one["n"] for one in classes) / 4
        assert record["by_class"][state]["value"] == pytest.approx(mean, abs=1e-6)


def test_a_data_set_of_hugging_face_by_its_files(stranger, arrays):
    arrow, files = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pictures("p", arrays)
    order = [int(path.stem) for path in sorted(Path("p").rglob("*.png"))]
    held = [{"bytes": path.read_bytes(), "path": path.name} for path in sorted(Path("p").rglob("*.png"))]
    table = arrow.table({"image": held, "coarse": [0] * 40, "fine": arrays[1][order].tolist()})
    Path("pets").mkdir()
    files.write_table(table, "pets/test-00000-of-00001.parquet")
    told = stranger.refused(*NET, data="hf-data:pets")
    assert "columns that may be the label" in told and words_after_try(told).startswith("hf-data:pets[label=")
    record = stranger.record(*NET, data="hf-data:pets[label=fine]")
    assert abs(accuracy(record) - stranger.right) <= 0.1 and record["data"] == "hf-data:pets[label=fine]"


def test_what_is_nowhere_says_what_to_install_or_where_to_put_it(stranger, monkeypatch):
    told = stranger.refused(*NET, data="imagenet")
    assert "imagenet/val/" in told and "--data-root FOLDER" in told
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    told = stranger.refused(*NET, data="hf-data:someone/pets")
    assert "needs huggingface_hub" in told and "pip install 'robust-bench-harness[hf]'" in told
