"""What a worker is told: it computes the same from contents alone, and refuses what differs."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bench.cli.run import planned
from bench.cli.run import run as command
from bench.cli.words import words_of
from bench.core.digest import file_sha256
from bench.errors import BadValue
from bench.records.store import Store
from bench.runner import assignment as assignments
from bench.runner.assignment import Assigned, Assignment, assigned
from bench.runner.columns import Chain, Columns, RunWork
from bench.runner.engines.local import Local
from bench.runner.options import Options
from bench.runner.subject import open_subject
from bench.runner.weights import fit, weights_behind
from bench.runner.wire import Lacks, Message, Raised, packed, unpacked
from bench.runner.worker import Desk

LINEAR = Path(__file__).parents[1] / "reference" / "linear_defense.py"

HELPER = "SCALE = 0.5\n"

NUMBERS = itertools.count(1)

ATTACK = '''
"""An attack that has a helper beside it (nobody, 2026)."""
from dataclasses import dataclass

from HELPER import SCALE


@dataclass(frozen=True)
class Halfway:
    """Moves by half the radius."""

    def __call__(self, oracle, x, y, budget, generator):
        return x + SCALE * float(budget.eps)
'''


@pytest.fixture
def mine(tmp_path):
    """The file of an attack, with a helper of its own."""
    folder = tmp_path / "mine"
    folder.mkdir()
    number = next(NUMBERS)  # no two tests have modules of one name
    (folder / f"helper_{number}.py").write_text(HELPER)
    path = folder / f"attack_{number}.py"
    path.write_text(ATTACK.replace("HELPER", f"helper_{number}"))
    return path


@pytest.fixture
def work(mine, linear, arrays, tmp_path):
    """A run of images, weights and an attack of the user's own, with a store that holds the weights."""
    np.savez(tmp_path / "pictures.npz", **arrays)
    data = f"npz:{tmp_path / 'pictures.npz'}"
    words = {"defense": linear, "data": data, "attacks": [f"{mine}:Halfway"], "examples": "40", "eps": "0.1"}
    spec = planned({**words_of(command, words), "suite": None})
    options = Options(Store(tmp_path / "runs"), device="cpu")
    fit(spec.training, options)
    return RunWork(spec, weights_behind([spec], options.store)), options


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """What another process answers, which has run none of these files and has a folder of its own."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    seat = Local(1, "cpu").seat(0)
    yield lambda message: unpacked(seat.ask(packed(message)).result(120))
    seat.end()


def first_chain(work):
    return Chain(0, tuple(work.spec.suite.trials))


def asked(answer_of, held: Assigned, task, rounds=6):
    """What a desk answers at last, and what it lacked before, round by round."""
    lacked, contents = [], {}
    for _ in range(rounds):
        answer = answer_of(Message(held.key, task, contents))
        if not isinstance(answer, Lacks):
            return answer, lacked
        lacked.append(answer.digests)
        contents = {digest: held.contents[digest]() for digest in answer.digests}
    raise AssertionError("it lacks more and more")


def test_a_worker_that_sees_no_file_of_the_driver_s_computes_the_same_cell(work, mine, tmp_path, stranger):
    work, options = work
    (expected,) = Columns(open_subject(work.spec, options)).play(first_chain(work))
    held, seen = assigned(work, options), file_sha256(LINEAR)
    kept = {digest: content() for digest, content in held.contents.items()}
    away = Assigned(held.key, {digest: partial(bytes, content) for digest, content in kept.items()})
    task = packed(first_chain(work))
    shutil.rmtree(mine.parent)
    (tmp_path / "pictures.npz").unlink()
    shutil.rmtree(tmp_path / "runs")
    answer, lacked = asked(stranger, away, task)
    assert not isinstance(answer, Raised), answer.told
    found = unpacked(answer.result)
    assert found.column == f"{mine.stem}_py_halfway" and found.cell.outcomes is not None
    for name, array in expected.cell.outcomes.arrays().items():
        np.testing.assert_array_equal(array, found.cell.outcomes.arrays()[name])
    assert {digest for digests in lacked for digest in digests} == set(held.contents) - {seen}
    assert not (tmp_path / "runs").exists(), "only the driver writes there"


def test_nothing_is_sent_that_can_be_seen(work, tmp_path):
    work, options = work
    held = assigned(work, options)
    answer, lacked = asked(Desk(tmp_path / "desk").answer, held, packed(first_chain(work)))
    assert not isinstance(answer, Raised) and lacked == [(held.key,)]


def changed(held: Assigned, **fields) -> Assigned:
    """An assignment that says something else."""
    told = unpacked(held.contents[held.key]())
    assert isinstance(told, Assignment)
    content = packed(dataclasses.replace(told, **fields))
    key = hashlib.sha256(content).hexdigest()
    return Assigned(key, {**held.contents, key: lambda: content})


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"code": {"bench.attacks.pgd": "0" * 12}},
            "a worker has other code than the process that started it",
        ),
        ({"packages": {"torch": "1.0"}}, "and the process that started it 1.0, expected the same"),
    ],
)
def test_other_code_and_other_versions_are_refused_in_a_sentence(work, tmp_path, fields, sentence):
    work, options = work
    answer, _ = asked(
        Desk(tmp_path / "desk").answer, changed(assigned(work, options), **fields), packed(first_chain(work))
    )
    assert isinstance(answer, Raised) and isinstance(answer.error, BadValue)
    assert sentence in str(answer.error)


def test_what_was_planned_is_computed_though_its_file_was_edited_since(work, mine, stranger):
    work, options = work
    (expected,) = Columns(open_subject(work.spec, options)).play(first_chain(work))
    held = assigned(work, options)
    task = packed(first_chain(work))
    before = mine.read_text()
    mine.write_text(before.replace("SCALE *", "2 * SCALE *"))
    answer, lacked = asked(stranger, held, task)
    assert lacked[1] == (hashlib.sha256(before.encode()).hexdigest(),)
    assert not isinstance(answer, Raised), answer.told
    found = unpacked(answer.result).cell.outcomes
    np.testing.assert_array_equal(found.robust, expected.cell.outcomes.robust)


def test_weights_that_were_damaged_on_the_way_are_refused(work, tmp_path):
    work, options = work
    held = assigned(work, options)
    kept = {digest: content() for digest, content in held.contents.items()}
    (name,) = work.weights
    kept[assignments.weight_files(options.store, name)["best.safetensors"]] += b"x"
    shutil.rmtree(tmp_path / "runs")
    away = Assigned(held.key, {digest: partial(bytes, content) for digest, content in kept.items()})
    answer, _ = asked(Desk(tmp_path / "desk").answer, away, packed(first_chain(work)))
    assert isinstance(answer, Raised) and "has another SHA-256" in str(answer.error)
