"""Inputs that were once borne badly: what waited, ran out of memory, or gave a traceback."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Mapping

import numpy as np
import safetensors.numpy
import torch


def found() -> tuple[tuple[str, bytes], ...]:
    """(reader, content) of each."""
    return (
        *((f"word: {name}", text.encode()) for name, texts in _WORDS.items() for text in texts),
        *((name, json.dumps(held).encode()) for name, held in _JSON),
        ("idx", b"\0\0\x08\x01\xff\xff\xff\xff"),
        ("idx", b"\0\0\x08\xff" + b"\0\0\0\1" * 255),
        ("p.tif", b"II*\0\x08\0\0\0\0\0\0\0\0\0"),
        ("p.png", _png(50_000, 50_000)),
        ("p.png", _png(2**31 - 1, 2**31 - 1)),
        ("pt", _saved({"x_test": torch.rand(2, 1, 4, 4), "y_test": torch.tensor([0, 2**40])})),
        ("npz", _npz(x_test=np.random.default_rng(0).random((2, 1, 4, 4)), y_test=np.array([0, 2**62]))),
        ("examples", b"column,ids,labels,correct,robust\na,1" + b"0" * 30 + b",0,1,1\n"),
        ("evidence", _images()),
        ("class names", b"cat\ndog\x1b[31m\x85a\nbird"),
        ("record", b'{"schema": 1, "spec": ' + b"[" * 100_000),
        ("site.json", b'["' + b"x" * 5000 + b'"]'),
    )


_WORDS: Mapping[str, tuple[str, ...]] = {
    "eps": ("1e999999999", "1e99999", "9" * 4000, "8/0", "1/3/5", "٣", "1e400", "1e-400", "nan", ""),
    "data": ("npz:" + "x" * 300, "npz:~nobody_here/x", "mnist[resize=99999999]", "npz:x[range=0,1e999]"),
    "attack": ("pgd[step_size=1e999999999]", "pgd[steps=99999999999999999999]", "gone.py:X", "x" * 4000),
    "defense": ("pgd_at[step_size=1e999999999]", "ensemble[members=+]", "~nobody_here/x.py:X"),
    "detector": ("knn[k=1e9]", "knn[k=" + "9" * 4000 + "]"),
    "normalize": ("0.5/1e-999", "1e999/1", "0.5/0.5/0.5", "/"),
}

_EPS = {"is": "budget", "norm": "L2", "eps": "1e999999999"}

_JSON: tuple[tuple[str, object], ...] = (
    ("class index", ["a\nb", "c"]),
    ("class index", {"9" * 5000: "cat"}),
    ("published", {"name": "x", "clean_acc": "90", "eps": "1e999999999"}),
    ("published", {"name": "x", "clean_acc": 10**19, "eps": "8/255"}),
    ("spec", _EPS),
    ("spec", {"is": "trial", "column": "a"}),
    ("spec", {"is": "a\nb:C"}),
    ("spec", {"is": "os:system"}),
    ("training.json", {"weights": "9" * 3000, "sha256": "0"}),
    ("training.json", {"weights": "../../x", "sha256": None}),
    ("spec.json of a run", {"spec": {}, "sources": {"bench.api": {}}}),
    ("spec.json of a run", {"spec": {}, "sources": []}),
    ("origin", {"data": None, "checkpoint": None, "code": 1, "signature": "é"}),
)


def _png(width: int, height: int) -> bytes:
    """A picture of a few bytes that says that it is so large."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))


def _saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _images() -> bytes:
    """Adversarial images without their labels."""
    return safetensors.numpy.save({"ids": np.arange(2), "images": np.zeros((2, 1, 4, 4), np.float32)})


def _npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()
