import contextlib
import functools
import gzip
import hashlib
import http.server
import os
import pickle  # noqa: TID251 - CIFAR is published so, and its test file is written here
import struct
import threading
import urllib.error
import urllib.request
import zlib

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torchvision import datasets
from torchvision.datasets.mnist import read_image_file, read_label_file

from bench.core.progress import Silent
from bench.data import idx, pictures, published, splits, torchvision
from bench.data.identity import identity
from bench.data.load import load
from bench.errors import BadData

REAL_URLOPEN = urllib.request.urlopen


@contextlib.contextmanager
def mirror(folder):
    """A web server of this machine."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """No data set of this machine, and no network."""
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setattr(splits, "SYSTEM_ROOT", tmp_path / "system")
    monkeypatch.chdir(tmp_path)

    def unreachable(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def write_idx(path, array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    data = header + array.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_mnist(folder, n=40, ending=".gz", first=(5, 0, 4, 1, 9, 2, 1, 3, 1, 4), seed=0):
    arrays = {}
    for part, count in (("train", n), ("t10k", 20)):
        arrays[part] = noise(count, 28, 28, seed=seed), np.resize(first, count)
        write_idx(folder / f"{part}-images-idx3-ubyte{ending}", arrays[part][0])
        write_idx(folder / f"{part}-labels-idx1-ubyte{ending}", arrays[part][1])
    return arrays


def write_npz(path, shape=(28, 28), n=40, **changes):
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        "x_train": noise(n, *shape),
        "y_train": np.arange(n) % 10,
        "x_test": noise(20, *shape, seed=1),
        "y_test": np.arange(20) % 10,
    }
    arrays = {key: value for key, value in (arrays | changes).items() if value is not None}
    np.savez(path, **arrays)
    return arrays


def write_images(folder, counts, size=(6, 5), ending=".png", mode="RGB"):
    written = {}
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            array = noise(size[1], size[0], 3, seed=hash((name, number)) % 1000)
            path = folder / name / f"{number:03}{ending}"
            Image.fromarray(array).convert(mode).save(path)
            written[path] = array
    return written


def together(data):
    """Training and validation images as sorted rows, with their labels in the last column."""
    x = torch.cat([data.train.x, data.validation.x]).flatten(1)
    y = torch.cat([data.train.y, data.validation.y])
    return sorted(torch.cat([x, y[:, None].to(x.dtype)], 1).tolist())


# digits and synthetic


def test_digits_are_scikit_learns():
    data, bunch = load("digits"), load_digits()
    assert (len(data.test), len(data.train) + len(data.validation)) == (360, 1437)
    assert data.test.y.bincount().max() - data.test.y.bincount().min() <= 2
    mine = sorted(together(data) + torch.cat([data.test.x.flatten(1), data.test.y[:, None]], 1).tolist())
    theirs = sorted(np.column_stack([bunch.data / 16, bunch.target]).tolist())
    assert mine == theirs
    assert data.mean[0] == pytest.approx(bunch.data.mean() / 16, abs=1e-3)
    assert data.std[0] == pytest.approx(bunch.data.std() / 16, abs=1e-3)


def test_synthetic_is_learned_by_the_nearest_mean():
    data = load("synthetic")
    assert data.num_classes == 3 and data.image_shape == (1, 8, 8) and 250 <= len(data.train) <= 260
    x, y = data.train.batch(torch.arange(len(data.train)))
    means = torch.stack([x[y == label].mean(0).flatten() for label in range(3)])
    test, labels = data.test.batch(torch.arange(len(data.test)))
    assert torch.equal(torch.cdist(test.flatten(1), means).argmin(1), labels)
    assert load("synthetic").digest == data.digest


# npz


@pytest.mark.parametrize(
    ("shape", "expected"), [((6, 5), (1, 6, 5)), ((6, 5, 3), (3, 6, 5)), ((3, 6, 5), (3, 6, 5))]
)
def test_npz_layouts(tmp_path, shape, expected):
    arrays = write_npz(tmp_path / "own.npz", shape)
    data = load(f"npz:{tmp_path}/own.npz")
    assert data.image_shape == expected and data.num_classes == 10 and data.name == "npz:own"
    first = arrays["x_test"][0]
    pixel = first[2, 4] if len(shape) == 2 else (first[2, 4, 1] if shape[2] == 3 else first[1, 2, 4])
    assert data.test.x[0, 0 if len(shape) == 2 else 1, 2, 4] == pixel
    assert load(f"npz:{tmp_path}/own").digest == data.digest


def test_npz_of_floats_and_columns_of_labels(tmp_path):
    x = np.linspace(0, 1, 40 * 36).reshape(40, 6, 6)
    write_npz(tmp_path / "own.npz", (6, 6), x_train=x, y_train=(np.arange(40) % 10)[:, None])
    data = load(f"npz:{tmp_path}/own.npz")
    assert data.train.x.dtype == torch.float32
    assert len(data.train) == 30  # a tenth would be 4, but there are ten classes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y_test": None}, "but not y_test; expected x_test and y_test"),
        ({"x_train": noise(40, 6)}, r"x_train in .*own.npz has shape \[40, 6\]"),
        ({"x_train": noise(40, 3, 6, 3)}, "shape"),
        (
            {"x_train": np.full((40, 28, 28), 255.0)},
            r"float64 pixels from 255 to 255.*range=0,255",
        ),
        ({"x_train": np.full((40, 28, 28), np.nan)}, "has the value nan"),
        ({"y_train": np.full(40, -2)}, "image 0 has label -2"),
        ({"classes": np.array(["a", "b"])}, "2 classes have names, but there are 10"),
        ({"y_train": np.arange(39) % 10}, "40 images and 39 labels"),
        ({"y_train": np.array([{}] * 40)}, "not a readable npz file of plain arrays"),
    ],
)
def test_npz_mistakes_are_named(tmp_path, changes, words):
    write_npz(tmp_path / "own.npz", **changes)
    with pytest.raises(BadData, match=words):
        load(f"npz:{tmp_path}/own.npz")


def test_what_is_no_npz_is_refused(tmp_path):
    (tmp_path / "own.npz").write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(BadData, match="not a readable npz file"):
        load(f"npz:{tmp_path}/own.npz")
    with pytest.raises(BadData, match="is not a file"):
        load(f"npz:{tmp_path}/other.npz")


def test_a_published_name_finds_its_npz(tmp_path, monkeypatch):
    write_npz(tmp_path / "here" / "mnist.npz")
    found = load("mnist", tmp_path / "here")
    assert found.image_shape == (1, 28, 28) and found.name == "mnist" and found.budget.label == "Linf 0.3"
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "here"))
    assert load("mnist").digest == found.digest
    write_npz(tmp_path / "here" / "cifar10.npz", (32, 32, 3))
    assert load("cifar10").classes[3] == "cat"


def test_a_published_name_keeps_its_shape(tmp_path):
    write_npz(tmp_path / "mnist.npz", (27, 28))
    with pytest.raises(BadData, match=r"mnist, training set: the images have shape \[1, 27, 28\], expected"):
        load("mnist", tmp_path)


def test_the_first_root_wins(tmp_path, monkeypatch):
    write_npz(tmp_path / "a" / "mnist.npz")
    write_npz(tmp_path / "b" / "mnist.npz", x_test=noise(20, 28, 28, seed=9))
    write_npz(tmp_path / ".data" / "mnist.npz", x_test=noise(20, 28, 28, seed=8))
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "b"))
    digests = [load("mnist", tmp_path / "a").digest, load("mnist").digest]
    monkeypatch.delenv("BENCH_DATA")
    digests.append(load("mnist").digest)
    assert len(set(digests)) == 3


# idx


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("place", ["", "mnist", "MNIST/raw"])
def test_raw_mnist_is_found(tmp_path, place, ending):
    arrays = write_mnist(tmp_path / place, ending=ending)
    data = load("mnist", tmp_path, download=False)
    assert np.array_equal(data.test.x[:, 0].numpy(), arrays["t10k"][0])
    assert data.test.y.tolist() == arrays["t10k"][1].tolist()


def test_idx_is_read_as_torchvision_reads_it(tmp_path):
    write_mnist(tmp_path, ending="")
    images, labels = tmp_path / "train-images-idx3-ubyte", tmp_path / "train-labels-idx1-ubyte"
    assert np.array_equal(idx.read_idx(images), read_image_file(str(images)).numpy())
    assert np.array_equal(idx.read_idx(labels), read_label_file(str(labels)).numpy())


def test_debians_fashion_mnist_is_found(tmp_path):
    write_mnist(tmp_path / "system" / "fashion-mnist", first=idx.FIRST_LABELS["fashion_mnist"])
    assert load("fashion_mnist", download=False).classes[9] == "Ankle boot"


def test_mnist_in_the_root_is_not_taken_for_fashion_mnist(tmp_path):
    write_mnist(tmp_path / "mine")
    with pytest.raises(BadData, match="Fashion-MNIST is in none of"):
        load("fashion_mnist", tmp_path / "mine", download=False)
    write_mnist(tmp_path / "system" / "fashion-mnist", first=idx.FIRST_LABELS["fashion_mnist"], seed=5)
    assert len(load("fashion_mnist", tmp_path / "mine", download=False).test) == 20


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"hello", "begins with"),
        (struct.pack(">HBBII", 0, 8, 2, 3, 4) + b"x" * 11, r"has 11 bytes after its header, expected 12"),
        (b"\x00\x00\x08\x03\x00", "ends inside its header of 16 bytes"),
    ],
)
def test_broken_idx_files_are_named(tmp_path, data, words):
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(BadData, match=words):
        idx.read_idx(tmp_path / "f")
    (tmp_path / "f.gz").write_bytes(gzip.compress(data)[:-9])
    with pytest.raises(BadData, match=r"not a readable gzip file|begins with"):
        idx.read_idx(tmp_path / "f.gz")


# torchvision


def test_offline_says_where_what_and_how(tmp_path):
    with pytest.raises(BadData) as caught:
        load("cifar10", tmp_path / "mine")
    for words in (str(tmp_path / "mine"), ".data", "cifar-10-batches-py", "no route to host", "--data-root"):
        assert words in str(caught.value)
    with pytest.raises(BadData, match="downloading is switched off"):
        load("svhn", tmp_path / "mine", download=False)


def test_mnist_is_downloaded_by_torchvision(tmp_path, monkeypatch):
    arrays = write_mnist(tmp_path / "mirror")
    files = sorted((tmp_path / "mirror").iterdir())
    sums = [(file.name, hashlib.md5(file.read_bytes()).hexdigest()) for file in files]
    monkeypatch.setattr(urllib.request, "urlopen", REAL_URLOPEN)
    monkeypatch.setattr(datasets.MNIST, "resources", sums)
    with mirror(tmp_path / "mirror") as address:
        kind = torchvision._by_https(datasets.MNIST, mirrors=[address])
        monkeypatch.setitem(torchvision._READERS, "mnist", torchvision._mnist(kind))
        with pytest.raises(BadData, match="is not https"):
            load("mnist", tmp_path / "plain")
        monkeypatch.setattr(torchvision, "https_only", contextlib.nullcontext)  # the mirror has no TLS
        digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
        monkeypatch.setitem(published.SHA256, "mnist", digests)
        data = load("mnist", tmp_path / "new")
    assert np.array_equal(data.test.x[:, 0].numpy(), arrays["t10k"][0])
    assert load("mnist", tmp_path / "new").digest == data.digest  # the mirror is gone, the files are here


def test_cifar_is_read_from_torchvisions_layout(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    sums = {}
    for name, seed in (("data_batch_1", 0), ("test_batch", 1), ("batches.meta", 2)):
        batch = {"data": noise(30, 3072, seed=seed), "labels": list(range(10)) * 3}
        (folder / name).write_bytes(pickle.dumps({"label_names": ["x"] * 10} if seed == 2 else batch))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [["data_batch_1", sums["data_batch_1"]]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(
        datasets.CIFAR10,
        "meta",
        {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]},
    )
    data = load("cifar10", tmp_path, download=False)
    # as published: 1,024 red values row by row, then the green and the blue ones
    assert np.array_equal(data.test.x.flatten(1).numpy(), noise(30, 3072, seed=1))


def test_damaged_cifar_is_not_silently_downloaded_anew(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(BadData, match="not what was published"):
        load("cifar10", tmp_path)


def test_svhn_is_read_from_mat_files(tmp_path, monkeypatch):
    lists = {}
    for part in ("train", "test"):
        path = tmp_path / "svhn" / f"{part}_32x32.mat"
        path.parent.mkdir(exist_ok=True)
        x = noise(32, 32, 3, 20, seed=len(part))
        scipy.io.savemat(path, {"X": x, "y": (np.arange(20) % 10 + 1)[:, None]})  # 10 stands for 0
        lists[part] = ["", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(datasets.SVHN, "split_list", lists)
    data = load("svhn", tmp_path, download=False)
    assert data.test.y.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0] * 2
    assert data.test.x[7, 2, 30, 5] == noise(32, 32, 3, 20, seed=4)[30, 5, 2, 7]


# folders


def test_a_folder_with_train_and_test(tmp_path):
    write_images(tmp_path / "pets" / "train", {"cat": 8, "dog": 12})
    written = write_images(tmp_path / "pets" / "test", {"cat": 2, "dog": 3})
    data = load(f"folder:{tmp_path}/pets")
    assert (data.name, data.classes, data.num_classes) == ("folder:pets", ("cat", "dog"), 2)
    assert data.image_shape == (3, 5, 6) and data.test.y.tolist() == [0, 0, 1, 1, 1]
    expected = np.stack(list(written.values())).transpose(0, 3, 1, 2)
    assert np.array_equal(data.test.x.numpy(), expected)
    assert data.task().data == "folder:pets"


def test_one_tree_is_split_for_good(tmp_path):
    write_images(tmp_path / "pets", {"cat": 20, "dog": 30})
    data = load(f"folder:{tmp_path}/pets")
    assert data.test.y.tolist() == [0] * 4 + [1] * 6
    assert len(data.train) + len(data.validation) == 40
    assert torch.equal(load(f"folder:{tmp_path}/pets/").test.x, data.test.x)


def test_grey_pictures_become_rgb(tmp_path):
    write_images(tmp_path / "pets", {"cat": 5, "dog": 5}, mode="L", ending=".BMP")
    x = load(f"folder:{tmp_path}/pets").test.x
    assert torch.equal(x[:, 0], x[:, 1]) and torch.equal(x[:, 0], x[:, 2])


def png_of_16_bits(path, array):
    """Written by hand, in the big-endian order of the PNG specification; gray [H, W] or colours [H, W, 3]."""
    height, width = array.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if array.ndim == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    parts = [struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def read_one(path):
    return pictures.decode([path], "", Silent())[0]


NUMBERS = np.array([[0, 127, 128, 257], [4095, 32768, 65278, 65535]])


def test_16_bits_are_rounded_to_8(tmp_path):
    png_of_16_bits(tmp_path / "gray.png", NUMBERS)
    (tmp_path / "gray.pgm").write_bytes(b"P5 4 2 65535\n" + NUMBERS.astype(">u2").tobytes())
    for name in ("gray.png", "gray.pgm"):
        assert read_one(tmp_path / name).tolist() == [[[0, 0, 0, 1], [16, 128, 254, 255]]] * 3
    png_of_16_bits(tmp_path / "colours.png", np.stack([NUMBERS, 65535 - NUMBERS, 0 * NUMBERS], -1))
    exact = np.stack([NUMBERS, 65535 - NUMBERS, 0 * NUMBERS]) / 257
    assert np.abs(read_one(tmp_path / "colours.png") - exact).max() <= 1, "Pillow cuts the lower 8 bits off"


def test_numbers_without_a_white_are_refused(tmp_path):
    for kind in (np.float32, np.int32, np.uint16):
        Image.fromarray((NUMBERS / 65535 if kind is np.float32 else NUMBERS).astype(kind)).save(
            tmp_path / "a.tif"
        )
        with pytest.raises(BadData, match=r"a.tif holds numbers of more than 8 bits.*nothing says which"):
            read_one(tmp_path / "a.tif")


def test_pictures_of_fewer_bits_use_the_whole_range(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5 2 2 15\n" + bytes([0, 1, 15, 7]))
    assert read_one(tmp_path / "a.pgm")[0].tolist() == [[0, 17], [255, 119]]
    for ending in (".png", ".bmp", ".tif"):
        Image.fromarray(np.uint8([[0, 255], [255, 0]])).convert("1").save(tmp_path / f"bits{ending}")
        assert read_one(tmp_path / f"bits{ending}").tolist() == [[[0, 255], [255, 0]]] * 3


def test_what_is_behind_a_transparent_pixel_is_not_made_up(tmp_path):
    opaque = np.random.default_rng(0).integers(0, 256, (2, 3, 4), np.uint8)
    opaque[..., 3] = 255
    Image.fromarray(opaque, "RGBA").save(tmp_path / "a.png")
    assert np.array_equal(read_one(tmp_path / "a.png").transpose(1, 2, 0), opaque[..., :3])
    clear = opaque.copy()
    clear[1, 2, 3] = 254
    seen_through = [Image.fromarray(clear, "RGBA"), Image.fromarray(clear[..., 2:], "LA")]
    for number, image in enumerate(seen_through):
        image.save(tmp_path / f"{number}.png")
        with pytest.raises(BadData, match=f"{number}.png has transparent pixels"):
            read_one(tmp_path / f"{number}.png")
    paletted = Image.fromarray(np.uint8([[0, 1]])).convert("P")
    paletted.save(tmp_path / "p.png", transparency=0)
    with pytest.raises(BadData, match=r"p.png has transparent pixels"):
        read_one(tmp_path / "p.png")
    Image.fromarray(np.uint8([[9, 1]])).save(tmp_path / "key.png", transparency=9)  # gray with one key colour
    with pytest.raises(BadData, match=r"key.png has transparent pixels"):
        read_one(tmp_path / "key.png")


def test_palettes_and_cmyk_give_the_colours_that_they_stand_for(tmp_path):
    paletted = Image.fromarray(np.uint8([[0, 1, 2]]), "P")
    paletted.putpalette([10, 20, 30, 200, 100, 0, 255, 255, 255])
    paletted.save(tmp_path / "p.png")
    assert read_one(tmp_path / "p.png")[:, 0].T.tolist() == [[10, 20, 30], [200, 100, 0], [255, 255, 255]]
    ink = np.uint8([[[0, 51, 255, 0], [255, 0, 0, 102]]])
    Image.fromarray(ink, "CMYK").save(tmp_path / "c.tif")
    exact = (255 - ink[0, :, :3].astype(float)) * (255 - ink[0, :, 3:]) / 255  # (1 - C)(1 - K)
    assert np.abs(read_one(tmp_path / "c.tif")[:, 0].T - exact).max() <= 1


def test_several_frames_are_no_picture(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for name, kind in (("a.webp", "WEBP"), ("a.tif", "TIFF"), ("a.png", "PNG"), ("b.png", "GIF")):
        frames[0].save(tmp_path / name, kind, save_all=True, append_images=frames[1:])
        with pytest.raises(BadData, match=f"{name} has 2 frames, expected one picture"):
            read_one(tmp_path / name)


def test_pictures_that_would_be_left_out_are_named(tmp_path):
    write_images(tmp_path / "pets", {"cat": 3, "dog": 3})
    Image.new("RGB", (6, 5)).save(tmp_path / "pets" / "cat" / "3.GIF")
    with pytest.raises(BadData, match=r"cat/3.GIF is a picture of a kind that is not read"):
        load(f"folder:{tmp_path}/pets")


def test_two_sizes_are_named(tmp_path):
    write_images(tmp_path / "pets", {"cat": 3, "dog": 3})
    Image.new("RGB", (7, 7)).save(tmp_path / "pets" / "dog" / "001.png")
    with pytest.raises(BadData, match=r"dog/001.png is 7x7 pixels and .*cat/000.png is 6x5"):
        load(f"folder:{tmp_path}/pets")


@pytest.mark.parametrize("content", [b"no image", b"\x89PNG\r\n\x1a\n broken", b""])
def test_a_broken_picture_is_named(tmp_path, content):
    write_images(tmp_path / "pets", {"cat": 3, "dog": 3})
    (tmp_path / "pets" / "cat" / "002.png").write_bytes(content)
    with pytest.raises(BadData, match=r"cat/002.png cannot be read as an image"):
        load(f"folder:{tmp_path}/pets")


def test_folders_that_are_not_classes_are_explained(tmp_path):
    with pytest.raises(BadData, match="is not a folder"):
        load(f"folder:{tmp_path}/none")
    write_images(tmp_path / "one", {"cat": 3})
    with pytest.raises(BadData, match="has 1 folders"):
        load(f"folder:{tmp_path}/one")
    write_images(tmp_path / "half" / "train", {"cat": 3, "dog": 3})
    with pytest.raises(BadData, match="has a folder train but no test"):
        load(f"folder:{tmp_path}/half")
    write_images(tmp_path / "half" / "test", {"cat": 3, "cow": 3})
    with pytest.raises(BadData, match=r"'cow' is in .*test but not in .*train"):
        load(f"folder:{tmp_path}/half")
    write_images(tmp_path / "empty", {"cat": 3, "dog": 0})
    with pytest.raises(BadData, match="dog has no images"):
        load(f"folder:{tmp_path}/empty")
    write_images(tmp_path / "few", {"cat": 3, "dog": 1})
    with pytest.raises(BadData, match="dog has one image"):
        load(f"folder:{tmp_path}/few")


def test_decoding_reports_every_image(tmp_path):
    class Heard:
        def __init__(self):
            self.told = []

        def start(self, title, total, unit, done=0):
            self.told.append((title, total, unit))

        def advance(self, amount=1, **figures):
            self.told.append(amount)

        def say(self, message):
            self.told.append(message)

        def finish(self):
            self.told.append("finish")

    write_images(tmp_path / "pets", {"cat": 150, "dog": 150}, size=(2, 2))
    heard = Heard()
    load(f"folder:{tmp_path}/pets", progress=heard)
    split = "folder:pets has no parts: 240 images are for training, 60 for testing"
    assert heard.told == [("folder:pets: images", 300, "images"), 256, 44, "finish", split]


# Tiny ImageNet


def write_tiny(folder):
    for wnid, seed in (("n02", 1), ("n01", 0)):
        images = folder / "train" / wnid / "images"
        images.mkdir(parents=True)
        for number in range(6):
            array = noise(64, 64, 3, seed=10 * seed + number)
            Image.fromarray(array).save(images / f"{wnid}_{number}.JPEG", format="png")
    (folder / "val" / "images").mkdir(parents=True)
    for number in range(3):
        Image.fromarray(noise(64, 64, 3, seed=100 + number)).save(
            folder / "val" / "images" / f"val_{number}.JPEG", format="png"
        )
    lines = "val_2.JPEG\tn02\t0\t0\t9\t9\nval_0.JPEG\tn01\t0\t0\t9\t9\nval_1.JPEG\tn02\t0\t0\t9\t9\n"
    (folder / "val" / "val_annotations.txt").write_text(lines)


def test_tiny_imagenets_published_layout(tmp_path):
    write_tiny(tmp_path / "tiny-imagenet-200")
    data = load("tiny_imagenet", tmp_path, download=False)
    assert data.classes == ("n01", "n02") and data.num_classes == 200
    assert data.test.y.tolist() == [1, 0, 1]
    assert np.array_equal(data.test.x[0].numpy(), noise(64, 64, 3, seed=102).transpose(2, 0, 1))
    zeros = torch.cat([data.train.x, data.validation.x])[torch.cat([data.train.y, data.validation.y]) == 0]
    assert sorted(zeros.sum((1, 2, 3)).tolist()) == sorted(
        int(noise(64, 64, 3, seed=s).sum()) for s in range(6)
    )


def test_tiny_imagenet_without_annotations(tmp_path):
    write_tiny(tmp_path / "tiny-imagenet-200")
    (tmp_path / "tiny-imagenet-200" / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn09\t0\n")
    with pytest.raises(BadData, match="line 1: the class is 'n09'"):
        load("tiny_imagenet", tmp_path, download=False)
    (tmp_path / "tiny-imagenet-200" / "val" / "val_annotations.txt").unlink()
    with pytest.raises(BadData, match=r"val_annotations.txt is not there"):
        load("tiny_imagenet", tmp_path, download=False)
    with pytest.raises(BadData, match="Tiny ImageNet is in none of"):
        load("tiny_imagenet", tmp_path / "elsewhere")


# identity


def test_published_data_sets_need_no_identity():
    assert identity("mnist") is None and identity("digits") is None


def test_own_files_are_named_by_content(tmp_path):
    write_images(tmp_path / "pets", {"cat": 2, "dog": 2})
    before = identity(f"folder:{tmp_path}/pets")
    assert before == identity(f"folder:{tmp_path}/pets/") and len(before) == 12
    (tmp_path / "pets" / "cat").rename(tmp_path / "pets" / "cow")
    assert identity(f"folder:{tmp_path}/pets") != before
    write_npz(tmp_path / "own.npz")
    expected = hashlib.sha256((tmp_path / "own.npz").read_bytes()).hexdigest()[:12]
    assert identity(f"npz:{tmp_path}/own") == expected
    with pytest.raises(BadData, match="there is nothing at"):
        identity(f"folder:{tmp_path}/none")


def test_a_picture_of_other_pixels_has_another_name_whatever_its_size_and_time_say(tmp_path):
    write_images(tmp_path / "pets", {"cat": 2, "dog": 2}, ending=".bmp")
    file = tmp_path / "pets" / "dog" / "001.bmp"
    before, told = identity(f"folder:{tmp_path}/pets"), file.stat()
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(file, ns=(told.st_atime_ns, told.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (told.st_size, told.st_mtime_ns)
    assert identity(f"folder:{tmp_path}/pets") != before
    file.write_bytes(content)
    assert identity(f"folder:{tmp_path}/pets") == before


def test_pictures_behind_links_count_and_other_files_do_not(tmp_path):
    write_images(tmp_path / "elsewhere", {"cat": 2, "dog": 2})
    (tmp_path / "pets").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).symlink_to(tmp_path / "elsewhere" / name)
    before = identity(f"folder:{tmp_path}/pets")
    (tmp_path / "pets" / "notes.txt").write_text("nothing that is read")
    assert identity(f"folder:{tmp_path}/pets") == before
    Image.new("RGB", (6, 5), "red").save(tmp_path / "elsewhere" / "dog" / "001.png")
    assert identity(f"folder:{tmp_path}/pets") != before


def test_a_picture_that_goes_to_another_class_is_another_data_set(tmp_path):
    write_images(tmp_path / "pets", {"cat": 3, "dog": 3})
    before = identity(f"folder:{tmp_path}/pets")
    (tmp_path / "pets" / "cat" / "002.png").rename(tmp_path / "pets" / "dog" / "003.png")
    assert identity(f"folder:{tmp_path}/pets") != before
