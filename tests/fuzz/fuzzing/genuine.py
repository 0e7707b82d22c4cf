"""Genuine files: a store that real commands made, data and weights in every form that is read."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import nn

from bench.cli.main import main

LINEAR = Path(__file__).parents[2] / "reference" / "linear_defense.py"
"""A defense in a file of its own, which needs no training."""


def make(folder: Path) -> None:
    """All of them, in a folder that is there."""
    _data(folder)
    _weights(folder)
    _pictures(folder)
    _texts(folder)
    _store(folder)


def network() -> nn.Module:
    """What the weights are of."""
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 2))


def _data(folder: Path) -> None:
    """Two classes of 4x4 images, labelled by the linear classifier."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2, 16, generator=generator) / 4
    bias = torch.randn(2, generator=generator) / 4
    draws, slope = np.random.default_rng(0), np.sign(weight[0] - weight[1]).numpy()
    x = 0.5 + draws.uniform(-0.05, 0.05, (4000, 16)) + draws.uniform(0, 0.4, (4000, 1)) * slope
    x = x.astype(np.float32).reshape(-1, 1, 4, 4)
    y = (x.reshape(len(x), -1) @ weight.numpy().T + bias.numpy()).argmax(1)
    rows = np.stack([np.flatnonzero(y == label)[:200] for label in (0, 1)], axis=1).flatten()
    x, y = x[rows], y[rows]
    np.savez(folder / "d.npz", x_train=x[80:], y_train=y[80:], x_test=x[:80], y_test=y[:80])
    few = {"x_test": x[:6], "y_test": np.array([0, 1, 0, 1, 0, 1])}
    np.savez_compressed(folder / "few.npz", **few)
    np.save(folder / "images.npy", few["x_test"])
    np.save(folder / "labels.npy", few["y_test"])
    tensors = {name: torch.from_numpy(array) for name, array in few.items()}
    torch.save(tensors, folder / "few.pt")
    torch.save(tensors, folder / "few_old.pt", _use_new_zipfile_serialization=False)
    for name, array in (("images", few["x_test"][:, 0]), ("labels", few["y_test"])):
        content = np.ascontiguousarray(255 * array if name == "images" else array).astype(np.uint8)
        shape = b"".join(length.to_bytes(4, "big") for length in content.shape)
        whole = bytes([0, 0, 8, content.ndim]) + shape + content.tobytes()
        (folder / f"{name}.idx").write_bytes(whole)
        (folder / f"{name}.idx.gz").write_bytes(gzip.compress(whole))


def _weights(folder: Path) -> None:
    torch.manual_seed(0)
    state = network().state_dict()
    safetensors.torch.save_file(state, folder / "w.safetensors")
    np.savez(folder / "w.npz", **{name: tensor.numpy() for name, tensor in state.items()})
    torch.save({"epoch": 3, "state_dict": state, "best": np.float64(0.5)}, folder / "w.pt")
    torch.save(state, folder / "w_old.pt", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 1, "state": {"weight": torch.ones(3)}}, folder / "state.ckpt")


def _pictures(folder: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    for ending in ("png", "jpg", "bmp", "webp", "tif", "ppm"):
        picture.save(folder / f"p.{ending}")
    picture.convert("L").save(folder / "grey.png")
    picture.convert("P").save(folder / "palette.png")
    Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257).save(folder / "deep.png")


def _texts(folder: Path) -> None:
    names = ["cat", "dog", "a bird", "fish"]
    (folder / "lines.txt").write_text("\n".join(names))
    (folder / "list.json").write_text(json.dumps(names))
    (folder / "index.json").write_text(json.dumps({str(n): [f"n0{n}", name] for n, name in enumerate(names)}))
    (folder / "numbers.json").write_text(json.dumps({name: n for n, name in enumerate(names)}))
    (folder / "log.csv").write_text("epoch,stage,loss,seconds\n1,,0.5,1.25\n2,,0.25,1.5\n")
    (folder / "site.json").write_text(json.dumps(["index.html", "records/0123456789ab.html"]))
    told = {"name": "A network", "clean_acc": "90.1", "autoattack_acc": "50.5", "eps": "8/255", "link": "x"}
    (folder / "info.json").write_text(json.dumps({**told, "external": 50.1, "footnote": "run 0123456789ab"}))


def _store(folder: Path) -> None:
    """A run, and a result of every study, by the commands that make them."""
    linear = f"{LINEAR}:Linear"
    shared = ("--data", f"npz:{folder / 'd.npz'}", "--store", str(folder / "store"), "--examples", "8")
    for words in (
        ("run", "--defense", linear, "--suite", "smoke", "--eps", "0.2"),
        ("curve", linear, "--over", "steps", "--at", "1,2"),
        ("transfer", linear, f"{linear}@small_cnn"),
        ("detect", linear, "--fit-examples", "40", "--detector", "knn[k=3]", "--attack", "fgsm"),
        ("shift", linear, "--only", "fog"),
        ("diagnose", linear),
        ("certify", linear, "--at", "0.1", "--attack", "fgsm"),
    ):
        told = io.StringIO()
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
            try:
                main([*words, *shared])
            except SystemExit as left:
                assert left.code == 0, told.getvalue()
