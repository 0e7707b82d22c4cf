"""A pipe, a device or a folder in the place of a file is one sentence at every door: nothing waits for it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SECONDS = 60
"""After so long a command counts as waiting for ever; none of these takes a tenth of it."""

NETWORK = "run --suite smoke --offline --defense loaded --data digits --checkpoint"
TRAINED = "run --suite smoke --offline --defense standard --data"


@pytest.fixture(autouse=True)
def impatient(tmp_path, monkeypatch):
    """In a folder of its own; what waits is interrupted."""

    def stop(*_: object) -> None:
        raise TimeoutError("the command waits")

    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(params=["pipe", "zero", "folder"])
def odd(request, tmp_path):
    """Makes something at a path that is no regular file."""

    def make(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if request.param == "pipe":
            os.mkfifo(path)
        elif request.param == "zero":
            path.symlink_to("/dev/zero")
        else:
            path.mkdir()
        return path

    return make


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (f"{NETWORK} X.pt", "X.pt"),
        (f"{NETWORK} X.safetensors", "X.safetensors"),
        (f"{NETWORK} X.npz", "X.npz"),
        ("run --suite smoke --defense standard --data digits --init X.pt", "X.pt"),
        (f"{TRAINED} npz:X.npz", "X.npz"),
        (f"{TRAINED} npy:X.npy", "X.npy"),
        (f"{TRAINED} pt:X.pt", "X.pt"),
        (f"{TRAINED} mnist --data-root . --store s", "mnist.npz"),
        (f"{TRAINED} fashion_mnist --data-root .", "fashion-mnist/train-images-idx3-ubyte.gz"),
        (f"{TRAINED} cifar10 --data-root .", "cifar-10-batches-py/data_batch_1"),
        (f"{TRAINED} svhn --data-root .", "svhn/train_32x32.mat"),
        ("run --suite smoke --defense X.py:Mine --data digits", "X.py"),
        ("run --suite smoke --defense loaded --data digits --factory X.py:make --checkpoint X.pt", "X.py"),
        ("run --attack X.py:Mine --defense standard --data digits", "X.py"),
        ("board X.json", "X.json"),
        ("compare X.json X.json", "X.json"),
        ("show X.json", "X.json"),
        ("verify X.json", "X.json"),
        ("audit X.json", "X.json"),
        ("export X.json", "X.json"),
        ("publish X.json", "X.json"),
        ("site X.json", "X.json"),
        ("import X.json X.npy", "X.json"),
        ("plot curve X.json", "X.json"),
        ("board --store runs", "runs/0123456789ab/record.json"),
        ("list runs --store runs", "runs/0123456789ab/record.json"),
        ("board --published pub", "pub/cifar10/Linf/X.json"),
        ("site --out out", "out/site.json"),
    ],
)
def test_at_every_door(bench, odd, words, name):
    path = odd(name)
    for beside in ("train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1") if "idx3" in name else ():
        (path.parent / f"{beside}-ubyte").touch()
    told = bench(*words.split())
    assert told.code in (0, 2), told.err
    assert "Traceback" not in told.err and "waits" not in told.err
    sentences = [line for line in told.err.splitlines() if line.startswith("bench: ")]
    left_out = [line for line in sentences if "left out" in line]
    assert len(sentences) - len(left_out) == (told.code == 2), told.err


@pytest.mark.parametrize("place", ["images", "labels"])
def test_arrays_in_files_of_their_own(bench, odd, place, tmp_path):
    (tmp_path / "d").mkdir()
    other = {"images": "labels", "labels": "images"}[place]
    np.save(f"d/{other}.npy", np.zeros(8))
    odd(f"d/{place}.npy")
    told = bench(*f"{TRAINED} npy:d".split())
    assert told.code == 2 and f"{place}.npy" in told.err


def test_a_picture(bench, odd, tmp_path):
    for name in ("a/0.png", "a/1.png", "b/0.png"):
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "p" / name)
    odd("p/b/1.png")
    told = bench(*f"{TRAINED} folder:p".split())
    assert told.code == 2 and "1.png" in told.err
