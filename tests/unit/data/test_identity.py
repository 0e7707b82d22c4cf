"""Which content a name of the user's own data stands for."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.data.identity import identity, one_look


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.npz"
    path.write_bytes(b"one")
    return path


def digits(content):
    return hashlib.sha256(content).hexdigest()[:12]


def test_it_is_the_beginning_of_the_sha256_read_anew_each_time(file):
    assert identity(f"npz:{file}") == digits(b"one")
    file.write_bytes(b"two")
    assert identity(f"npz:{file}") == digits(b"two")


def test_within_one_look_content_is_read_once_and_after_it_anew(file):
    name = f"npz:{file}"
    with one_look():
        assert identity(name) == digits(b"one")
        file.write_bytes(b"two")
        with one_look():
            assert identity(name) == digits(b"one")
        assert identity(name) == digits(b"one") and identity("digits") is None
        with ThreadPoolExecutor(1) as other:
            assert other.submit(identity, name).result() == digits(b"two"), "another thread has its own look"
    assert identity(name) == digits(b"two")
