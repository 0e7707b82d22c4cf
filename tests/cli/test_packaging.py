"""What is installed: the wheel holds what runs, and nothing that does not belong to users."""

from __future__ import annotations

import configparser
import email.parser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import bench

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy of the tree so that nothing is left in it."""
    folder = tmp_path_factory.mktemp("wheel")
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("bench", "defenses"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in ("tests", "benchmarks", "leaderboards", "docs"):  # must stay out, even as packages
        (folder / name).mkdir()
        (folder / name / "__init__.py").touch()
    for name in ("setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    (folder / "README.md").write_text("# read me\n")
    command = "from setuptools.build_meta import build_wheel; print(build_wheel('.'))"
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(folder / done.stdout.split()[-1])


def test_holds_both_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in tops if not name.endswith(".dist-info")} == {"bench", "defenses"}


def test_holds_every_module_and_data_file(wheel: zipfile.ZipFile) -> None:
    expected = {
        str(path.relative_to(ROOT))
        for package in ("bench", "defenses")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert expected <= set(wheel.namelist())
    assert {"bench/cli/templates/defense.py.tmpl", "bench/py.typed", "defenses/py.typed"} <= expected


def test_the_command_is_bench(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    points = configparser.ConfigParser()
    points.read_string(wheel.read(name).decode())
    assert dict(points["console_scripts"]) == {"bench": "bench.cli.main:main"}


def test_the_metadata_agree(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = email.parser.Parser().parsestr(wheel.read(name).decode())
    assert metadata["Version"] == bench.__version__
    assert metadata["Requires-Python"] == ">=3.10"
    wanted = [Requirement(line) for line in metadata.get_all("Requires-Dist") or []]
    core = [requirement.name for requirement in wanted if requirement.marker is None]
    assert core.index("torchattacks") < core.index("robustbench")
    (setuptools,) = [requirement for requirement in wanted if requirement.name == "setuptools"]
    assert not setuptools.specifier.contains("81.0.0")


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--version"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and bench.__version__ in done.stdout


def test_our_tests_are_no_package() -> None:
    # robustbench's wheel installs a top-level package `tests`, which a package of ours would shadow
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_setting_up_twice_does_nothing(tmp_path: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    for name in ("Makefile", "setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    stamp = tmp_path / "env" / ".set-up"

    def planned() -> str:
        command = [make, "-n", "setup", "VENV=env"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    first = planned()
    assert first.index("torchattacks") < first.index(".[dev]")
    stamp.parent.mkdir()
    stamp.touch()
    assert "pip install" not in planned()
    os.utime(tmp_path / "setup.cfg", (stamp.stat().st_mtime + 10,) * 2)
    assert "pip install" in planned()


@pytest.mark.parametrize("target", ["run", "test", "lint", "benchmark"])
def test_every_target_sets_up_what_it_needs(target: str, tmp_path: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    command = [make, "-n", target, f"VENV={tmp_path}"]
    planned = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.search(r"pip install .*\.\[dev\]", planned)


def test_ci_runs_the_command_of_the_readers() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert "test VENV=" in script.read_text()
