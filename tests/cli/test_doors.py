"""What a command loads before it answers: names are checked first, and a complete run needs no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli.main import bench
from bench.records import asked
from bench.records.asked import Question
from bench.records.store import Store
from bench.registry import ATTACKS, DEFENSES, SUITES

ROOT = Path(__file__).parents[2]
RUN = (
    "run",
    "--defense",
    "standard",
    "--suite",
    "smoke",
    "--set",
    "recipe.epochs=1",
    "--set",
    "suite.examples=20",
)
HEAVY = ("torch", "torchvision", "scipy.stats", "pandas", "matplotlib", "lightning_fabric", "torch._dynamo")


def told(*arguments: str) -> tuple[int, list[str], str]:
    """The exit code of a command in its own process, the heavy modules that it loaded, and its stderr."""
    code = f"""
import sys
from bench.cli.main import main
try:
    main({list(arguments)!r})
except SystemExit as left:
    print("LOADED", left.code, *[name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    _, status, *loaded = done.stdout.splitlines()[-1].split()
    return int(status), loaded, done.stderr


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store that holds one complete run."""
    folder = str(tmp_path_factory.mktemp("store"))
    code, loaded, error = told(*RUN, "--store", folder)
    assert code == 0 and {"torch", "lightning_fabric"} <= {*loaded}, error
    return folder


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("run", "--defense", "pgdat"), "pgd_at"),
        (("run", "--defense", "pgdat[steps=3]"), "pgd_at"),
        (("run", "--defense", "pgd_at", "--suite", "smokee"), "smoke"),
        (("run", "--defense", "pgd_at", "--data", "digitz"), "digits"),
        (("run", "--defense", "pgd_at", "--arch", "lenett"), "lenet"),
        (("run", "--defense", "pgd_at", "--attack", "pdg"), "pgd"),
        (("run", "--defense", "pgd_at", "--recipe", "shrt"), "short"),
        (("run", "--defense", "pgd_at", "--suite", "blackbox", "--surrogate", "standrd@lenet"), "standard"),
        (("train", "--defense", "pgdat"), "pgd_at"),
        (("diagnose", "pgdat"), "pgd_at"),
        (("detect", "pgdat[steps=3]"), "pgd_at"),
        (("transfer", "pgd_at", "standrd@lenet"), "standard"),
        (("shift", "pgd_at", "--arch", "lenett"), "lenet"),
    ],
)
def test_a_mistyped_name_is_told_before_torch_is_loaded(arguments: tuple[str, ...], meant: str) -> None:
    code, loaded, error = told(*arguments)
    assert code == 2 and loaded == []
    assert f"did you mean {meant!r}?" in error


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("run", "--help"),
        ("list",),
        ("board", "leaderboards", "--data", "mnist", "--eps", "0.15"),
        ("compare", "trades", "pgd_at", "--store", "leaderboards", "--suite", "whitebox", "--data", "mnist"),
        ("show", "data", "mnist"),
        ("show", "recipe", "mnist"),
        ("show", "record", "39daccc68173", "--store", "leaderboards"),
    ],
    ids=" ".join,
)
def test_what_only_reads_loads_no_torch(arguments: tuple[str, ...]) -> None:
    assert "torch" not in told(*arguments)[1]


def test_a_run_that_trains_nothing_loads_nothing_to_train_with(store: str) -> None:
    code, loaded, error = told(*RUN, "--set", "attack.fgsm.steps=1", "--store", store)
    assert code == 2, error  # no such parameter: planned, with torch, and no more
    assert loaded == ["torch"]
    code, loaded, error = told(*RUN[:3], *RUN[5:7], "--attack", "noise", "--examples", "10", "--store", store)
    assert code == 0 and "training" not in error
    assert not {"lightning_fabric", "torch._dynamo"} & {*loaded}


def test_a_complete_run_answers_without_torch_and_with_the_same_table(store: str) -> None:
    code, loaded, error = told(*RUN, "--store", store)
    assert code == 0 and loaded == [] and "is complete: this is its record, nothing was computed" in error
    quick = CliRunner().invoke(bench, [*RUN, "--store", store, "--json"])
    for note in Path(store, asked.FOLDER).glob("*.json"):
        note.unlink()
    planned = CliRunner().invoke(bench, [*RUN, "--store", store, "--json"])
    assert quick.stdout == planned.stdout and json.loads(planned.stdout)["status"] == "complete"
    assert quick.stderr == planned.stderr


def test_complete_runs_of_several_suites_answer_without_torch(store: str) -> None:
    both = (*RUN[:4], "smoke,whitebox", *RUN[5:], "--store", store)
    code, _, error = told(*both)
    assert code == 0 and error.count("is complete") == 1, error
    code, loaded, error = told(*both, "--json", "--fail-under", "0")
    assert code == 0 and loaded == [] and error.count("this is its record, nothing was computed") == 2


WORDS = {"defense": "standard", "attacks": (), "seed": 0, "eps": "8/255"}


@pytest.fixture
def held(tmp_path: Path) -> Store:
    """A store that knows the answer to the question of these words."""
    path = tmp_path / "39daccc68173" / "record.json"
    path.parent.mkdir()
    path.write_bytes((ROOT / "leaderboards/records/39daccc68173.json").read_bytes())
    question = Question.of(WORDS)
    assert question is not None and question.answer(Store(tmp_path)) is None
    question.keep(Store(tmp_path), "39daccc68173", ["one", "two"])
    return Store(tmp_path)


def test_what_was_answered_before_is_answered_again(held: Store) -> None:
    question = Question.of(WORDS)
    answer = question.answer(held) if question else None
    assert answer is not None and answer.record.run_id == "39daccc68173" and answer.said == ("one", "two")


@pytest.mark.parametrize("name", [*WORDS])
def test_other_words_are_another_question(held: Store, name: str) -> None:
    question = Question.of({**WORDS, name: "other"})
    assert question is not None and question.answer(held) is None


def test_code_that_changed_has_no_answer(
    held: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = asked.state()
    files = dict(asked._own_files())
    assert {"bench/plan.py", "bench/requirements.lock", "defenses/__init__.py"} <= {*files}
    for name in ("bench/attacks/pgd.py", "defenses/trades.py"):
        changed = {**files, name: files[name] + b"\nX = 1\n"}
        monkeypatch.setattr(asked, "_own_files", lambda changed=changed: iter(changed.items()))
        assert asked.state() != before
        question = Question.of(WORDS)
        assert question is not None and question.answer(held) is None
    monkeypatch.setattr(asked, "_own_files", lambda: iter(files.items()))
    assert asked.state() == before
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "other-1.0.dist-info").mkdir()  # a package is installed
    assert asked.state() != before


def test_a_record_that_changed_is_no_answer(held: Store) -> None:
    path = held.run("39daccc68173").path / "record.json"
    text = path.read_text(encoding="utf-8")
    question = Question.of(WORDS)
    assert question is not None
    path.write_text(text + " ", encoding="utf-8")
    assert question.answer(held) is None
    path.unlink()
    assert question.answer(held) is None


def test_a_note_that_is_damaged_is_no_answer(held: Store) -> None:
    (note,) = (held.root / asked.FOLDER).glob("*.json")
    question = Question.of(WORDS)
    assert question is not None
    for text in ("{", "[]", "{}"):
        note.write_text(text, encoding="utf-8")
        assert question.answer(held) is None


def test_code_that_is_edited_meanwhile_leaves_no_note(held: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    question = Question.of({**WORDS, "seed": 7})
    assert question is not None
    monkeypatch.setattr(asked, "state", lambda: "edited")
    question.keep(held, "39daccc68173", [])
    assert question.state != "edited" and question.answer(held) is None
    assert len([*(held.root / asked.FOLDER).glob("*.json")]) == 1


@pytest.mark.parametrize(
    "words",
    [
        {"defense": "mine.py:Mine"},
        {"defense": "hf:someone/network"},
        {"defense": "awp[base=mine.py:Mine]"},
        {"data": "folder:pictures"},
        {"attacks": ("pgd", "foolbox:LinfPGD")},
        {"settings": ("defense.base=mine.py:Mine",)},
    ],
)
def test_where_more_than_our_code_decides_nothing_is_kept(words: dict[str, asked.Word]) -> None:
    assert Question.of({**WORDS, **words}) is None


def test_plug_ins_of_others_are_always_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "_of_others", lambda: iter(["plug-in"]))
    assert Question.of(WORDS) is None


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("defense", name) for name in DEFENSES.names()),
        *(("attack", name) for name in ATTACKS.names()),
        *(("suite", name) for name in SUITES.names()),
    ],
)
def test_every_registered_name_is_shown(kind: str, name: str) -> None:
    for form in ([], ["--json"]):
        shown = CliRunner().invoke(bench, ["show", kind, name, *form])
        assert shown.exit_code == 0 and shown.stdout.strip(), shown.exception


def test_a_store_is_checked_without_torch(store):
    status, loaded, error = told("fsck", store)
    assert status == 0, error
    assert "torch" not in loaded
