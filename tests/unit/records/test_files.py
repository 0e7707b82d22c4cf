"""Files are whole or not there, and what a killed process left is found."""

import os
import time

import pytest

from bench.records.files import leftovers, sweep, write_atomically, writing


def test_what_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "deep" / "file"
    write_atomically(path, b"first")
    with pytest.raises(RuntimeError), writing(path) as file:
        file.write(b"second")
        raise RuntimeError
    assert path.read_bytes() == b"first" and list(path.parent.iterdir()) == [path]


def test_the_folder_is_synced_after_the_rename(tmp_path, monkeypatch):
    done, rename, sync = [], os.replace, os.fsync
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("rename"), rename(*paths))[1])
    monkeypatch.setattr(
        os, "fsync", lambda handle: (done.append("folder" if _is_folder(handle) else "file"), sync(handle))[1]
    )
    write_atomically(tmp_path / "file", b"content")
    assert done == ["file", "rename", "folder"]
    done.clear()
    write_atomically(tmp_path / "new" / "newer" / "file", b"content")
    assert done == ["folder", "folder", "file", "rename", "folder"], "the names of both new folders, too"


def _is_folder(handle):
    import stat

    return stat.S_ISDIR(os.fstat(handle).st_mode)


def test_a_failed_sync_of_the_folder_is_told(tmp_path, monkeypatch):
    sync = os.fsync

    def broken(handle):
        if _is_folder(handle):
            raise OSError(5, "Input/output error")
        sync(handle)

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output error"):
        write_atomically(tmp_path / "file", b"content")


def test_leftovers_are_swept_and_nothing_else(tmp_path):
    names = [".record.json.a1b2c3_4", ".state.ckpt.part", "record.json", ".hidden", ".git.ignore"]
    (tmp_path / "cells").mkdir()
    for name in names:
        (tmp_path / "cells" / name).write_text("content")
    old, now = tmp_path / "cells" / names[0], time.time()
    os.utime(old, (now - 60, now - 60))
    assert [path.name for path in leftovers(tmp_path)] == sorted(names[:2])
    sweep(tmp_path, now - 30)
    assert not old.exists() and (tmp_path / "cells" / names[1]).exists(), "a younger one may be in the making"
    sweep(tmp_path, now + 30)
    assert {path.name for path in (tmp_path / "cells").iterdir()} == set(names[2:])
