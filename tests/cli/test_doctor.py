"""`bench doctor` finds what is broken, and says what mends it."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from bench.cli import doctor
from bench.cli.main import main
from bench.core import lock

ROOT = Path(__file__).parents[2]


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
    assert found.remedy == "bench doctor --fix"
    old.write_text(old.read_text() + "from .eval import benchmark\n")
    (found,) = doctor.robustbench(old)
    assert found.state == "ok"
    (found,) = doctor.robustbench(None)
    assert found.state == "note" and found.remedy == "pip install 'robust-bench-harness[zoo]'"


def test_what_is_no_part_of_the_base_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    look = importlib.metadata.version

    def without(name: str) -> str:
        if name in ("torchattacks", "robustbench"):
            raise importlib.metadata.PackageNotFoundError(name)
        return look(name)

    monkeypatch.setattr(importlib.metadata, "version", without)
    abouts = ("packages", "robustbench", "robustbench files", "robustbench import", "pkg_resources")
    rows = {row.about: row for about in abouts for row in doctor.examine(None, Path(), about)}
    assert not [row for row in rows.values() if row.state == "problem"]
    assert rows["torchattacks"].remedy == "pip install 'robust-bench-harness[torchattacks]'"
    assert rows["robustbench"].remedy == "pip install 'robust-bench-harness[zoo]'"
    assert not {"robustbench files", "robustbench import", "pkg_resources"} & set(rows)


def test_packages_in_another_version_than_the_locks_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = doctor.examine(None, Path(), "lock")
    assert lock.digest() in row.found
    pinned = {**lock.locked(), "click": "0.0.1"}
    monkeypatch.setattr(lock, "locked", lambda path=lock.PATH: pinned)
    (row,) = doctor.examine(None, Path(), "lock")
    click = importlib.metadata.version("click")
    assert row.state == "note" and f"click {click} (lock: 0.0.1)" in row.found
    assert str(lock.PATH) in row.remedy


def wheel_of(folder: Path, name: str, version: str, files: dict[str, str]) -> Path:
    """A wheel of a few files, as an index would serve it."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    tags = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    held = {**files, f"{info}/METADATA": metadata, f"{info}/WHEEL": tags}

    def line(path: str, text: str) -> str:
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        return f"{path},sha256={digest},{len(text)}"

    listed = [line(path, text) for path, text in held.items()]
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in {**held, f"{info}/RECORD": "\n".join([*listed, f"{info}/RECORD,,"])}.items():
            archive.writestr(inside, text)
    return path


@pytest.mark.slow
def test_what_was_written_over_is_put_right(tmp_path: Path) -> None:
    real = {
        "robustbench/__init__.py": "from .utils import load_model\nfrom .eval import benchmark\n",
        "robustbench/utils.py": "load_model = None\n",
        "robustbench/eval.py": "benchmark = None\n",
    }
    old = {"robustbench/__init__.py": "from .utils import load_model\n", "old_copy.py": ""}
    wheels = [wheel_of(tmp_path, *of) for of in (("robustbench", "9.9", real), ("torchattacks", "9.9", old))]
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    (site,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    (site / "beside.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n{ROOT}\n")
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}

    def call(*words: str) -> str:
        command = [str(python), "-m", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, **pip}, capture_output=True, text=True, check=False
        )
        assert done.stdout or not done.returncode, done.stderr
        return done.stdout

    def look(*words: str) -> dict[str, str]:
        told = call("bench", "doctor", "--json", "--store", "runs", *words)
        return {row["about"]: row["state"] for row in json.loads(told)}

    call("pip", "install", "-q", "--no-deps", "--ignore-installed", str(wheels[0]))
    call("pip", "install", "-q", "--no-deps", "--ignore-installed", str(wheels[1]))
    before = look()
    assert before["robustbench"] == before["robustbench files"] == "problem"
    after = look("--fix")
    assert after["robustbench"] == after["robustbench files"] == after["robustbench import"] == "ok"
    assert (site / "robustbench" / "__init__.py").read_text() == real["robustbench/__init__.py"]


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
