"""Only regular files are opened: a pipe, a device or a folder is told, and nothing waits for it."""

from __future__ import annotations

import ast
import os
import socket
from pathlib import Path

import pytest

from bench.core import files
from bench.core.files import (
    IsNotRegular,
    IsTooLarge,
    open_regular,
    read_bytes,
    read_text,
    regular,
    require_memory,
    why,
)


@pytest.fixture
def pipe(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("read", [regular, open_regular, read_bytes, read_text])
def test_a_pipe_is_not_opened(pipe, read):
    with pytest.raises(IsNotRegular, match="a named pipe, not a regular file"):
        read(pipe)


def test_a_link_to_a_pipe_is_not_opened(pipe, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(pipe)
    with pytest.raises(IsNotRegular, match="a named pipe"):
        read_bytes(link)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/urandom"])
def test_a_device_is_not_read(device):
    with pytest.raises(IsNotRegular, match="a device"):
        read_bytes(Path(device))


def test_folders_and_sockets_are_no_files(tmp_path, monkeypatch):
    with pytest.raises(IsNotRegular, match="a folder"):
        read_bytes(tmp_path)
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(IsNotRegular, match="a socket"):
            read_bytes(Path("socket"))


def test_links_to_files_are_followed_and_loops_are_not(tmp_path):
    (tmp_path / "file").write_bytes(b"there")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "loop").symlink_to("loop")
    assert read_bytes(tmp_path / "link") == b"there"
    with pytest.raises(OSError, match="symbolic link"):
        read_bytes(tmp_path / "loop")


@pytest.mark.parametrize("name", ["gone", "a\0b", "x" * 5000])
def test_a_name_of_no_file_is_an_error_of_the_system(tmp_path, name):
    with pytest.raises(OSError) as told:
        read_bytes(tmp_path / name)
    assert why(told.value)


def test_at_most_so_many_bytes_are_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bytes(path, most=5) == b"12345"
    with pytest.raises(IsTooLarge, match="more than 4 bytes"):
        read_bytes(path, most=4)


def test_what_is_no_text_is_told_in_words(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError) as told:
        read_text(path)
    assert why(told.value) == "it is not text in UTF-8"


def test_what_no_memory_holds_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(files, "memory", lambda: 1 << 30)
    require_memory(1 << 30, tmp_path)
    with pytest.raises(IsTooLarge, match=r"holds 46,566 GiB, and this machine has 1 GiB"):
        require_memory(50_000_000_000_000, tmp_path)


LIBRARIES = ("np", "torch", "torch.jit", "safetensors.torch", "zipfile", "gzip", "Image", "")
"""Whose functions open a file by its path."""

OPENS = ("load", "load_file", "safe_open", "ZipFile", "is_zipfile", "loadmat")

OWN = {
    "bench/core/files.py": "the helpers themselves",
    "bench/data/npz.py": "what `located` has looked at",
    "bench/site/pages.py": "templates of ours",
    "bench/train/fit.py": "/proc/cpuinfo",
    "bench/core/own.py": "source code that Python imports",
    "bench/core/lock.py": "the lock of ours",
    "bench/core/digest.py": "source code of ours",
    "bench/report/words.py": "source code of ours",
    "bench/records/claims.py": "a table of ours",
    "bench/records/asked.py": "our own packages",
    "bench/records/origin.py": "the key of this account",
    "bench/cli/new.py": "templates of ours, and a package that is a file",
    "bench/cli/doctor.py": "files of installed packages",
    "bench/check.py": "what the check has trained",
    "bench/train/memory.py": "what is in memory",
    "bench/records/beside.py": "the tables beside the defenses",
    "bench/train/lookalike.py": "what weights_file.py has opened before",
    "bench/cli/documentation.py": "pages of ours",
    "bench/runner/card.py": "/proc/driver/nvidia/version",
    "bench/runner/trainings.py": "what this worker has trained",
    "bench/runner/worker.py": "what was sent and is held to its digest",
    "bench/runner/engines/on_slurm.py": "questions and answers in a folder of ours",
    "bench/studies/shift/corruptions.py": "what is in memory",
}
"""Modules that open files of our own alone, and which."""


def opened(path: Path) -> list[int]:
    """The lines of a module on which it opens a file by its path."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner, name = ast.unparse(node.func.value), node.func.attr
            reads = name in ("read_text", "read_bytes") or (name == "open" and "path" in owner.lower())
            if reads or (name in OPENS and owner in LIBRARIES):
                found.append(node.lineno)
    return found


def test_what_opens_files_asks_what_they_are():
    root = Path(files.__file__).parents[2]
    wrong = {}
    for path in sorted((root / "bench").rglob("*.py")):
        asks = "from bench.core.files import" in path.read_text(encoding="utf-8")
        if (name := str(path.relative_to(root))) not in OWN and not asks and opened(path):
            wrong[name] = opened(path)
    assert not wrong, f"opened by bench.core.files: {wrong}"


def test_the_search_sees_what_it_is_for(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        "torch.load(path)\nload(x)\npath.open('rb')\nPath(p).read_text()\nnp.load(x)\nregistry.load()\n"
    )
    assert opened(path) == [1, 3, 4, 5]
