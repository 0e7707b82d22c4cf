"""The lock: what it pins for this machine, and how far an environment is from it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from bench.core import lock

TEXT = lock.PATH.read_text(encoding="utf-8")


def test_the_digest_is_the_files() -> None:
    assert lock.digest() == hashlib.sha256(lock.PATH.read_bytes()).hexdigest()[:12]


def test_every_requirement_has_a_version_and_hashes() -> None:
    lines = [line for line in TEXT.splitlines() if not line.startswith("#")]
    for block in re.split(r"\n(?=[a-z])", "\n".join(lines)):
        first, *hashes = block.splitlines()
        assert re.match(r"[a-z0-9-]+==[^ ]+( ; .*)? \\$", first), first
        assert hashes and all(re.fullmatch(r" +--hash=sha256:[0-9a-f]{64}( \\)?", line) for line in hashes)


def test_it_names_no_index_and_no_place() -> None:
    assert "://" not in TEXT and "--index" not in TEXT and "--find-links" not in TEXT


def test_it_holds_what_the_project_asks_for() -> None:
    pinned = lock.locked()
    asked = [Requirement(line) for line in importlib.metadata.requires(lock.DISTRIBUTION) or []]
    extras = ("", "torchattacks", "zoo", "foolbox", "art", "browser", "dev")
    for wanted in asked:
        here = any(wanted.marker is None or wanted.marker.evaluate({"extra": extra}) for extra in extras)
        if here and wanted.name != lock.DISTRIBUTION:
            assert wanted.specifier.contains(pinned[wanted.name]), str(wanted)


@pytest.mark.parametrize("name", ["adv-lib", "visdom"])
def test_what_has_to_be_built_is_not_in_it(name: str) -> None:
    assert name not in lock.locked()


def test_markers_choose_the_version(tmp_path: Path) -> None:
    path = tmp_path / "requirements.lock"
    path.write_text(
        "# made by hand\n"
        "numpy==1.0 ; python_full_version < '3' \\\n    --hash=sha256:aa\n"
        "numpy==2.0 ; python_full_version >= '3' \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc\n"
        "surely-not-installed==7 \\\n    --hash=sha256:dd\n"
    )
    assert lock.locked(path) == {"numpy": "2.0", "surely-not-installed": "7"}
    assert lock.differing(path) == {"numpy": importlib.metadata.version("numpy")}
    assert lock.missing(path) == ["surely-not-installed"]
    entry = lock.entry("numpy", path)
    assert entry is not None and entry.splitlines()[1:] == [
        "    --hash=sha256:bb \\",
        "    --hash=sha256:cc",
    ]
    assert lock.entry("torch", path) is None
