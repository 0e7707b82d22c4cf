"""`bench new defense`: what it writes works at once, and a failure leaves nothing behind."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.cli.new import add_row, plan_alone, write_all
from bench.errors import BadValue

ROOT = Path(__file__).parents[2]


def new(*arguments: str) -> object:
    with pytest.raises(SystemExit) as left:
        main(["new", "defense", *arguments])
    return left.value.code


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the part of the tree that `bench new` changes."""
    shutil.copytree(ROOT / "defenses", tmp_path / "defenses", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_writes_module_row_and_test(checkout: Path) -> None:
    before = ast.literal_eval((checkout / "defenses" / "__init__.py").read_text().partition("DEFENSES = ")[2])
    assert new("my_defense") == 0
    after = ast.literal_eval((checkout / "defenses" / "__init__.py").read_text().partition("DEFENSES = ")[2])
    assert after == {**before, "my_defense": "defenses.my_defense:MyDefense"}
    assert list(after) == sorted(after)
    assert (checkout / "tests" / "plugins" / "test_my_defense.py").is_file()


@pytest.mark.slow
def test_the_new_defense_passes_its_own_test_and_every_check(checkout: Path) -> None:
    assert new("my_defense") == 0
    assert new("aaa") == 0
    for name in ("bench", "setup.cfg", "pyproject.toml"):
        (checkout / name).symlink_to(ROOT / name)
    written = ["defenses/my_defense.py", "tests/plugins/test_my_defense.py"]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    for command in (
        ["pytest", "-q", "-p", "no:cacheprovider", "tests/plugins/test_my_defense.py"],
        ["ruff", "check", "--no-cache", *written],
        ["ruff", "format", "--no-cache", "--check", *written],
        ["mypy", "--cache-dir", os.devnull, "defenses/my_defense.py"],
        ["bench", "list", "defenses"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=checkout,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert "aaa " in done.stdout and "my_defense " in done.stdout


def test_outside_a_checkout_one_file_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert new("lonely_star") == 0
    assert list(files(tmp_path)) == ["lonely_star.py"]
    assert "lonely_star.py:LonelyStar" in capsys.readouterr().err
    from bench.registry import DEFENSES

    made = DEFENSES.get(str(tmp_path / "lonely_star.py:LonelyStar"))
    assert type(made).__name__ == "LonelyStar"
    assert made == type(made)(steps=10, clean_weight=0.5)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "name", ["", "My_Defense", "2fast", "a-b", "class", "losses", "../evil", "a__b", "a_", "é"]
)
def test_names_that_no_module_can_have(checkout: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(checkout)
    assert new("--", name) == 2
    assert "cannot be a defense's name" in capsys.readouterr().err
    assert files(checkout) == before


@pytest.mark.parametrize("taken", ["pgd_at", "only_a_module", "only_a_test"])
def test_names_that_are_taken(checkout: Path, taken: str, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "defenses" / "only_a_module.py").touch()
    (checkout / "tests" / "plugins").mkdir(parents=True)
    (checkout / "tests" / "plugins" / "test_only_a_test.py").touch()
    before = files(checkout)
    assert new(taken) == 2
    assert "already" in capsys.readouterr().err
    assert files(checkout) == before


def test_a_failure_leaves_nothing_behind(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "tests").write_text("a file where the folder of tests should be")
    before = files(checkout)
    assert new("my_defense") == 2
    assert "cannot write" in capsys.readouterr().err
    assert files(checkout) == before


def test_a_half_written_plan_is_undone(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_all({tmp_path / "a" / "b": "x", tmp_path / "kept": "new", tmp_path / "last": "\udcff"})
    assert files(tmp_path) == {"kept": b"old"}
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "table",
    [
        "DEFENSES = {}\n",
        'DEFENSES = {"b": "d.b:B"}\nOTHER = 1\n',
        'X = 1\nDEFENSES: dict[str, str] = {\n    "b": "d.b:B",  # a comment\n    "z": "d.z:Z",\n}\n',
    ],
)
def test_rows_go_into_any_table(table: str) -> None:
    for name in ("a", "c", "zz"):
        space: dict[str, object] = {}
        was: dict[str, dict[str, str]] = {}
        exec(table, space)  # the test's own text
        exec(table, was)  # type: ignore[arg-type]
        changed = add_row(table, name, f"d.{name}:X")
        exec(changed, space)
        assert space["DEFENSES"] == {**was["DEFENSES"], name: f"d.{name}:X"}
        assert list(space["DEFENSES"]) == sorted(space["DEFENSES"])  # type: ignore[call-overload]
        assert ("# a comment" in table) == ("# a comment" in changed)


def test_a_package_without_a_table() -> None:
    with pytest.raises(BadValue, match="has no table DEFENSES"):
        add_row("X = {}\n", "a", "d.a:A")


def test_the_template_is_python_with_a_class_of_that_name(tmp_path: Path) -> None:
    ((path, text),) = plan_alone("snake_case_2", tmp_path).items()
    assert path == tmp_path / "snake_case_2.py"
    names = [node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    assert names == ["SnakeCase2"]
    assert "TITLE" not in text and "CLASS " not in text and "NAME" not in text


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("os", "imports a module of that name"),
        ("json", "imports a module of that name"),
        ("torch", "imports a module of that name"),
        ("bench", "imports a module of that name"),
        ("none", "would be None"),
        ("true", "would be True"),
        ("exception", "would be Exception"),
        ("deployed", "would be Deployed"),
        ("task", "would be Task"),
        ("a" * 41, "at most 40 letters"),
        ("a" * 5000, "at most 40 letters"),
        ("a\nb", "cannot be a defense's name"),
        ("/etc/passwd", "cannot be a defense's name"),
    ],
)
def test_names_that_mean_something_already(
    checkout: Path, tmp_path: Path, name: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(checkout)
    assert new("--", name) == 2
    err = capsys.readouterr().err
    assert told in err or "control" in err or "letters" in err
    assert new("--folder", str(tmp_path / "alone"), "--", name) == 2
    assert files(checkout) == before and not (tmp_path / "alone").exists()
