"""What NumPy wrote is read as it was, and whatever else lies there is unreadable in the same way."""

import io
import zipfile

import numpy as np
import pytest
from numpy.lib import format as npy

from bench.records.arrays import Archive, Unreadable, opened, packed, unpacked

ARRAYS = {
    "whole": np.arange(6).reshape(2, 3),
    "by_columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "none": np.zeros((0, 3), dtype=np.float32),
    "one": np.float64(2.5),
    "yes": np.array([True, False]),
    "text": np.array("wörter"),
}


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def archive(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def header(**said):
    buffer = io.BytesIO()
    npy.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (2,), **said})
    return buffer.getvalue()


@pytest.mark.parametrize("written", [npz, lambda **arrays: packed(arrays)])
def test_what_numpy_wrote_is_read_as_it_was(written, tmp_path):
    content = written(**ARRAYS)
    (tmp_path / "all.npz").write_bytes(content)
    with Archive(tmp_path / "all.npz") as lazily, np.load(io.BytesIO(content)) as theirs:
        for found in (unpacked(content), lazily):
            assert set(found) == set(ARRAYS) == set(theirs)
            for name, array in theirs.items():
                assert found[name].dtype == array.dtype and found[name].shape == array.shape
                assert np.array_equal(found[name], array) and found[name].flags.writeable


def test_what_is_packed_numpy_reads():
    with np.load(io.BytesIO(packed(ARRAYS)), allow_pickle=False) as found:
        assert all(np.array_equal(found[name], array) for name, array in ARRAYS.items())


@pytest.mark.parametrize("name", ARRAYS)
def test_a_single_array_is_read_as_it_was(name, tmp_path):
    path = tmp_path / "one.npy"
    np.save(path, ARRAYS[name])
    assert np.array_equal(opened(path), np.asarray(ARRAYS[name]))


def test_no_flip_and_no_cut_is_another_array(tmp_path):
    """Each bit that was flipped is seen, or the arrays are what they were."""
    content = packed({"a": np.arange(40), "b": np.linspace(0, 1, 7)})
    seen = 0
    for place in range(len(content)):
        for mutated in (
            content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :],
            content[:place],
        ):
            try:
                found = unpacked(mutated)
            except Unreadable:
                seen += 1
                continue
            values = [array for array in found.values() if len(array) in (40, 7)]
            assert all(
                np.array_equal(array, np.arange(40) if len(array) == 40 else np.linspace(0, 1, 7))
                for array in values
            )
    assert seen > len(content), "every cut, and most flips"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a zip"),
        (b"\x00" * 200, "not a zip"),
        (archive(a=b""), "reading magic string"),
        (archive(a=header()[:20]), "reading array header"),
        (archive(a=header() + b"\x00" * 8), "says that it holds 16 bytes, and has 8"),
        (archive(a=header(shape=(2**40,)) + b"\x00" * 16), "says that it holds 8,796,093,022,208 bytes"),
        (archive(a=header(shape=(-2,)) + b"\x00" * 16), "its shape is"),
        (archive(a=header(descr="|O") + b"\x00" * 16), "Python objects"),
        (archive(a=header(descr="no type") + b"\x00" * 16), "descr"),
        (archive(a=b"\x93NUMPY\x09\x00" + b"\x00" * 32), "version"),
        (archive(a=b"\x93NUMPY\x01\x00\x10\x00{'descr': (((((((" + b"\x00" * 32), "."),
    ],
)
def test_each_kind_of_damage_is_unreadable(content, words, tmp_path):
    with pytest.raises(Unreadable, match=words):
        unpacked(content)
    path = tmp_path / "file.npz"
    path.write_bytes(content)
    with pytest.raises(Unreadable, match=words):
        dict(Archive(path))
    if content[:2] == b"PK":
        with zipfile.ZipFile(path) as file:
            (tmp_path / "file.npy").write_bytes(file.read("a.npy"))
        with pytest.raises(Unreadable):
            opened(tmp_path / "file.npy")


def test_more_than_the_limit_is_not_begun():
    content = packed({"a": np.zeros(100_000)})
    assert len(content) < 2_000
    with pytest.raises(Unreadable, match="claims to hold 800,128 bytes"):
        unpacked(content, limit=500_000)


def test_a_compression_that_is_not_known_is_unreadable():
    content = bytearray(npz(a=np.arange(3)))
    for mark, place in ((b"PK\x01\x02", 10), (b"PK\x03\x04", 8)):
        content[content.index(mark) + place] = 99
    with pytest.raises(Unreadable, match="compression"):
        unpacked(bytes(content))
