"""`bench.run` in Python: the words of the command, the same record, the same sentences."""

from __future__ import annotations

import inspect

import pytest

import bench as python
from bench.cli.run import run as command
from bench.errors import BenchError
from bench.records.reading import from_json


@pytest.fixture
def words(linear_data, tmp_path):
    """What both are asked, in a store of this test."""
    return {"data": linear_data, "suite": "smoke", "examples": "all", "store": tmp_path / "runs"}


def test_the_command_answers_with_the_record_of_python(bench, linear, words):
    result = python.run(linear, eps=0.05, seed=3, progress=False, **words)
    typed = [f"--{name}={value}" for name, value in words.items()]
    told = bench("run", "--defense", linear, *typed, "--eps", "1/20", "--seed", 3, "--json")
    assert from_json(told.out) == result.record and "nothing was computed" in told.err
    table = bench("show", "record", result.record.run_id, "--store", words["store"]).out
    assert str(result).splitlines()[-1] in table


def test_every_option_of_the_command_is_a_word_with_its_default():
    signature = inspect.signature(python.run).parameters
    options = {option.name for option in command.params} - {"board", "as_json", "fail_under", "junit"}
    assert {*signature} - {"epochs", "progress"} == options
    assert all(not signature[name].default for name in options - {"defense"}), "the default is the command's"


def test_settings_and_epochs_are_overrides(linear, words):
    result = python.run(
        "standard",
        data="synthetic",
        attacks=("fgsm", "noise"),
        examples=10,
        epochs=1,
        settings={"attack.noise.draws": 3},
        store=words["store"],
        progress=False,
    )
    assert result.record.training.epochs == 1 and "draws=3" in result.record.columns[1].attack
    assert result.record.custom and [column.name for column in result.record.columns] == ["fgsm", "noise"]


WRONG = [
    ({"suite": "smok"}, "no suite is named 'smok'; did you mean 'smoke'?"),
    ({"data": "digit"}, "no data set is named 'digit'; did you mean 'digits'?"),
    ({"eps": "a lot"}, "--eps is 'a lot', expected a radius"),
    ({"seed": -1}, "invalid value for '--seed'"),
    ({"device": "tpu"}, "the device is 'tpu', expected auto, cpu, cuda or cuda:N"),
    ({"rerun": True, "accept_stale": True}, "--rerun and --accept-stale contradict each other"),
    ({"settings": {"recipe.epoch": 3}}, "Recipe has no parameter 'epoch'"),
]


@pytest.mark.parametrize(("wrong", "told"), WRONG, ids=[next(iter(wrong)) for wrong, _ in WRONG])
def test_what_is_wrong_is_the_sentence_of_the_command(wrong, told, bench, linear, words):
    with pytest.raises(BenchError) as error:
        python.run(linear, **{**words, **wrong})
    assert told in str(error.value)
    asked = {**words, **wrong}
    settings = [f"--set={key}={value}" for key, value in asked.pop("settings", {}).items()]
    typed = [f"--{n.replace('_', '-')}" + ("" if v is True else f"={v}") for n, v in asked.items()]
    said = bench("run", "--defense", linear, *typed, *settings)
    assert said.code == 2 and said.err == f"bench: {error.value}\n"


def test_a_name_that_leads_nowhere_is_told(words):
    with pytest.raises(BenchError, match="no defense is named 'trade'; did you mean 'trades'"):
        python.run("trade", **words)


def test_progress_is_lines_on_stderr_or_nothing(linear, words, capsys):
    python.run(linear, **words)
    told = capsys.readouterr()
    assert told.out == "" and "smoke@1: 360 examples" in told.err
    python.run(linear, rerun=True, progress=False, **words)
    assert capsys.readouterr() == ("", "")
