"""What is installed: sdist and wheel hold what they should, and the wheel works without the Makefile."""

from __future__ import annotations

import configparser
import email.message
import email.parser
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import bench
from bench.core import lock

ROOT = Path(__file__).parents[2]


def run(*words: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(word) for word in words]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def build(kind: str, tree: Path) -> Path:
    """What the build backend makes of a tree: kind is sdist or wheel."""
    code = f"from setuptools.build_meta import build_{kind}; print(build_{kind}('dist'))"
    done = run(sys.executable, "-c", code, cwd=tree)
    assert done.returncode == 0, done.stderr
    return tree / "dist" / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, built from a copy of the tree so that nothing is left in it."""
    tree = tmp_path_factory.mktemp("sdist") / "tree"
    local = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    unwanted = shutil.ignore_patterns(".git", *(pattern.strip("/") for pattern in local))
    shutil.copytree(ROOT, tree, ignore=unwanted)
    return build("sdist", tree)


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        # Python 3.11 knows the filter from 3.11.4 on; Debian 12 has 3.11.2
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    (tree,) = folder.iterdir()
    return tree


@pytest.fixture(scope="module")
def wheel(unpacked: Path) -> Path:
    """The wheel, built from the source distribution."""
    return build("wheel", unpacked)


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.parser.Parser().parsestr(archive.read(name).decode())


def inside(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_both_packages_and_nothing_else(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in inside(wheel)}
    assert {name for name in tops if not name.endswith(".dist-info")} == {"bench", "defenses"}


def test_the_wheel_holds_every_module_and_data_file(wheel: Path) -> None:
    expected = {
        str(path.relative_to(ROOT))
        for package in ("bench", "defenses")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert expected <= inside(wheel)
    assert {"bench/cli/templates/defense.py.tmpl", "bench/py.typed", "bench/requirements.lock"} <= expected


def test_the_sdist_holds_what_it_takes_to_test_and_to_read(unpacked: Path) -> None:
    for folder in ("tests", "docs", "leaderboards", "benchmarks", ".ci", "bench", "defenses"):
        held = {path.relative_to(unpacked) for path in (unpacked / folder).rglob("*") if path.is_file()}
        there = {
            path.relative_to(ROOT)
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert held == there, folder
    kept = {path.name for path in unpacked.iterdir()}
    assert {"Makefile", "LICENSE", "README.md", "CITATION.cff", "SECURITY.md", "setup.cfg"} <= kept
    assert "mkdocs.yml" in kept


def test_two_names_for_one_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        points = configparser.ConfigParser()
        points.read_string(archive.read(name).decode())
    assert dict(points["console_scripts"]) == dict.fromkeys(
        ("bench", "robust-bench-harness"), "bench.cli.main:main"
    )


def test_the_metadata_agree(metadata: email.message.Message) -> None:
    assert metadata["Version"] == bench.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Author"] == "the bench authors"
    assert f"version: {bench.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_installing_the_base_pins_nothing_of_others(metadata: email.message.Message) -> None:
    wanted = [Requirement(line) for line in metadata.get_all("Requires-Dist") or []]
    base = {requirement.name: requirement for requirement in wanted if requirement.marker is None}
    assert not {"torchattacks", "robustbench", "setuptools"} & set(base)
    assert {spec.operator for requirement in base.values() for spec in requirement.specifier} == {">="}
    extras = set(metadata.get_all("Provides-Extra") or [])
    named = {"all", "zoo", "torchattacks", "backends", "foolbox", "art", "advlib", "hf", "ray", "slurm"}
    assert extras == named | {"mlflow", "tensorboard", "browser", "docs", "dev"}


def test_its_page_reads_right_where_there_is_no_repository(metadata: email.message.Message) -> None:
    page = str(metadata.get_payload())
    assert page == (ROOT / "docs" / "package.md").read_text(encoding="utf-8")
    assert not re.findall(r"\]\((?!https?://)", page)
    extras = re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE)
    assert set(extras) | {"foolbox", "art"} == set(metadata.get_all("Provides-Extra") or [])


def test_the_tools_that_check_packages_have_no_complaint(sdist: Path, wheel: Path, unpacked: Path) -> None:
    scripts = Path(sys.executable).parent
    done = run(scripts / "twine", "check", "--strict", sdist, wheel, cwd=unpacked, NO_COLOR="1")
    assert done.returncode == 0 and done.stdout.count("PASSED") == 2, done.stdout
    done = run(scripts / "check-wheel-contents", wheel, cwd=unpacked)
    assert done.returncode == 0, done.stdout
    homeless = "Url,AuthorEmail,BusFactor"  # it has no address, and nobody's to give
    rated = ("--directory", f"--skip-tests={homeless}", "--min=10", unpacked)
    done = run(scripts / "pyroma", *rated, cwd=unpacked)
    assert done.returncode == 0, done.stdout + done.stderr


def base_of(metadata: email.message.Message) -> Iterator[importlib.metadata.Distribution]:
    """The distributions that the wheel asks for without any extra, and all that these ask for."""
    waiting, seen = [Requirement(line) for line in metadata.get_all("Requires-Dist") or []], set()
    while waiting:
        wanted = waiting.pop()
        extras = wanted.extras or {""}
        if wanted.name in seen or not _holds(wanted, {""}):
            continue
        seen.add(wanted.name)
        found = importlib.metadata.distribution(wanted.name)
        yield found
        waiting += [
            Requirement(str(line).partition(";")[0])
            for line in map(Requirement, found.requires or [])
            if _holds(line, extras)
        ]


def _holds(wanted: Requirement, extras: set[str]) -> bool:
    return wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in extras)


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, metadata: email.message.Message, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and the packages that it asks for, linked from here; no extra."""
    folder = tmp_path_factory.mktemp("elsewhere")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True)
    (site,) = (folder / "env" / "lib").glob("python*/site-packages")
    for found in base_of(metadata):
        for top in {file.parts[0] for file in found.files or [] if file.parts[0] != ".."} - {"__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(found.locate_file(top))))
    python = folder / "env" / "bin" / "python"
    install = ("install", "--no-index", "--no-deps", wheel)
    done = run(sys.executable, "-m", "pip", "--python", python, *install, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_wheel_works_without_extras_and_without_the_makefile(elsewhere: Path) -> None:
    command = elsewhere / "env" / "bin" / "bench"
    work = elsewhere / "work"
    work.mkdir()
    done = run(command, "doctor", cwd=work)
    assert done.returncode == 0 and "all is well" in done.stdout, done.stdout + done.stderr
    assert str(ROOT) not in done.stdout
    assert "pip install 'robust-bench-harness[zoo]'" in done.stdout
    done = run(elsewhere / "env" / "bin" / "robust-bench-harness", "list", "defenses", cwd=work)
    assert done.returncode == 0 and "agkd_bml" in done.stdout
    smoke = ("run", "--defense", "standard", "--suite", "smoke", "--set", "recipe.epochs=1")
    done = run(command, *smoke, cwd=work)
    assert done.returncode == 0 and "worst case" in done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (("--defense", "standard", "--attack", "torchattacks:PGD"), "torchattacks"),
        (("--defense", "robustbench:Wong2020Fast", "--data", "cifar10", "--suite", "smoke"), "zoo"),
        (("--defense", "standard", "--attack", "foolbox:LinfPGD"), "foolbox"),
        (("--defense", "standard", "--attack", "art:DeepFool"), "art"),
    ],
)
def test_what_an_extra_brings_is_told_where_it_is_missing(
    elsewhere: Path, words: tuple[str, ...], extra: str
) -> None:
    done = run(elsewhere / "env" / "bin" / "bench", "run", *words, cwd=elsewhere)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"pip install 'robust-bench-harness[{extra}]'" in done.stderr


def test_the_module_is_the_command() -> None:
    done = run(sys.executable, "-m", "bench", "--version", cwd=ROOT)
    assert done.returncode == 0 and bench.__version__ in done.stdout


def test_our_tests_are_no_package() -> None:
    # robustbench's wheel installs a top-level package `tests`, which a package of ours would shadow
    assert [*(ROOT / "tests").glob("__init__.py"), *(ROOT / "tests").glob("*/__init__.py")] == []


@pytest.fixture
def planned(tmp_path: Path) -> Iterator[object]:
    """(words of make) -> what it would do, in a folder with nothing but what `make setup` reads."""
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "bench").mkdir()
    shutil.copy(lock.PATH, tmp_path / "bench")

    def plan(*words: str, path: str = os.environ["PATH"]) -> str:
        done = run(make, "-n", *words, "VENV=env", cwd=tmp_path, PATH=path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    yield plan


def test_setting_up_installs_the_lock_and_nothing_else(planned, tmp_path: Path) -> None:
    told = planned("setup", path="/usr/bin:/bin")
    exactly = "install -q --require-hashes --no-deps --only-binary :all: -r bench/requirements.lock"
    assert f"env/bin/python -m pip {exactly}" in told
    assert "install -q --no-deps --no-build-isolation -e ." in told
    assert told.index("doctor --fix") > told.index("-e .")


def test_setting_up_twice_does_nothing(planned, tmp_path: Path) -> None:
    stamp = tmp_path / "env" / ".set-up"
    stamp.parent.mkdir()
    stamp.touch()
    assert "install" not in planned("setup")
    os.utime(tmp_path / "bench" / "requirements.lock", (stamp.stat().st_mtime + 10,) * 2)
    assert "install" in planned("setup")


def test_uv_installs_where_it_is_there(planned, tmp_path: Path) -> None:
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text("#!/bin/sh\n")
    uv.chmod(0o755)
    told = planned("setup", path=f"{uv.parent}:/usr/bin:/bin")
    assert f"{uv} pip install -q --python env/bin/python --require-hashes --no-deps" in told
    assert "-m pip" not in told


def test_the_newest_of_everything_and_extras_are_asked_for_by_name(planned) -> None:
    assert "newest.lock" in planned("setup", "LOCK=newest")
    told = planned("setup", "EXTRAS=advlib")
    assert '-e ".[advlib]"' in told and "--build-constraint" in told


@pytest.mark.parametrize("target", ["run", "test", "lint", "benchmark", "quick", "dist"])
def test_every_target_sets_up_what_it_needs(target: str, planned) -> None:
    assert "-r bench/requirements.lock" in planned(target)


def test_ci_runs_the_command_of_the_readers() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert "test VENV=" in script.read_text()
    assert ".ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text()
