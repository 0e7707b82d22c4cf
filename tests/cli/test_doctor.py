"""`bench doctor` finds what is broken, and says what mends it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli import doctor
from bench.cli.main import main


@pytest.mark.slow
def test_this_installation_is_examined(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as left:
        main(["doctor", "--json", "--store", str(tmp_path / "runs")])
    found = {row["about"]: row for row in json.loads(capsys.readouterr().out)}
    problems = [row for row in found.values() if row["state"] == "problem"]
    assert left.value.code == (1 if problems else 0)
    assert all(row["remedy"] for row in problems)
    assert {
        "python",
        "bench",
        "torch",
        "torchvision",
        "robustbench",
        "pkg_resources",
        "device",
        "store",
    } <= set(found)
    assert found["torch"]["found"] == importlib.metadata.version("torch")
    assert not (tmp_path / "runs").exists()


def test_the_old_copy_of_robustbench_is_recognised(tmp_path: Path) -> None:
    old = tmp_path / "__init__.py"
    old.write_text("from .data import load_cifar10\nfrom .utils import load_model\n")
    (found,) = doctor.robustbench(old)
    assert found.state == "problem" and "torchattacks" in found.found
    assert found.remedy == "pip install --force-reinstall --no-deps robustbench"
    old.write_text(old.read_text() + "from .eval import benchmark\n")
    (found,) = doctor.robustbench(old)
    assert found.state == "ok"
    (found,) = doctor.robustbench(None)
    assert found.state == "problem" and found.remedy == "pip install robustbench"


@pytest.mark.slow
def test_the_aliased_import_agrees_with_python() -> None:
    code = (
        "import sys, pyautoattack, pyautoattack.state as s; sys.modules['autoattack'] = pyautoattack; "
        "sys.modules['autoattack.state'] = s; import robustbench; robustbench.benchmark"
    )
    works = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
    found = doctor.examine(None, Path(), "robustbench import")
    assert [row.state for row in found] == ["ok" if works else "problem"]


def test_a_missing_pkg_resources_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = doctor.examine(None, Path(), "pkg_resources")
    assert row.state == "ok"
    look = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pkg_resources" else look(name)
    )
    (row,) = doctor.examine(None, Path(), "pkg_resources")
    assert row.state == "problem" and row.remedy == 'pip install "setuptools<81"'


def test_torch_and_torchvision_that_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    (row,) = doctor.examine(None, Path(), "torchvision")
    assert row.state == "ok"

    def unfit(*_: object) -> object:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(torchvision.ops, "nms", unfit)
    (row,) = doctor.examine(None, Path(), "torchvision")
    assert row.state == "problem"
    assert "torchvision::nms does not exist" in row.found and "reinstall torch torchvision" in row.remedy


def test_a_look_that_fails_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: 1 / 0)
    (row,) = doctor.examine(None, Path(), "device")
    assert row.state == "problem" and row.found == "ZeroDivisionError: division by zero"


def test_versions_that_are_missing_or_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["numpy>=999", "surely-not-installed>=1", "click>=8", 'never; extra == "dev"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: asked)
    rows = {row.about: row for row in doctor.examine(None, Path(), "packages")}
    assert {name: row.state for name, row in rows.items()} == {
        "numpy": "problem",
        "surely-not-installed": "problem",
        "click": "ok",
    }
    assert rows["numpy"].remedy == 'pip install "numpy>=999"'


def test_data_is_named_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "mnist.npz").touch()
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "nowhere"))
    found = {row.about: row for row in doctor.examine(tmp_path, Path(), "data")}
    assert found[f"data in {tmp_path}"].found == "mnist, cifar10"
    gone = found[f"data in {tmp_path / 'nowhere'}"]
    assert gone.state == "problem" and "BENCH_DATA" in gone.remedy


def test_a_store_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    (row,) = doctor.writable(tmp_path / "runs" / "deeper")
    assert row.state == "problem" and "--store" in row.remedy
    (row,) = doctor.writable(tmp_path / "new" / "deeper")
    assert row.state == "ok" and not (tmp_path / "new").exists()
