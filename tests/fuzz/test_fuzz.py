"""Damaged files and odd words are read, or refused in one sentence: never a traceback, and never a wait.

A few inputs of each kind, always the same ones; `make fuzz` has as many as one likes.
"""

from __future__ import annotations

from random import Random

import pytest
from fuzzing import genuine
from fuzzing.commands import commands, names
from fuzzing.examples import found
from fuzzing.mutate import of_bytes, of_json, of_text
from fuzzing.readers import quiet, readers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

QUICK = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
"""The same inputs on every machine, so that no test hangs on luck."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("genuine")
    genuine.make(place)
    return place


@pytest.fixture(scope="session")
def every_reader(folder):
    return {**readers(folder), **commands(folder)}


READERS = (
    *("record", "record of transfer", "record of curve", "record of detect", "record of shift"),
    *("record of diagnose", "record of certify", "arrays of detect", "arrays of diagnose"),
    *("arrays of certify", "spec", "cell", "examples", "evidence"),
    *("training.json", "spec.json of weights", "origin", "spec.json of a run", "sweep"),
    *("npz", "pt", "npy images"),
    *("npy labels", "idx", "idx.gz", "p.png", "p.jpg", "p.bmp", "p.webp", "p.tif", "p.ppm", "grey.png"),
    *(
        "palette.png",
        "deep.png",
        "foreign w.safetensors",
        "foreign w.npz",
        "foreign w.pt",
        "foreign w_old.pt",
    ),
    *("own weights", "state", "class index", "class names", "training log", "published", "site.json"),
    *("imported", "word: eps", "word: attack", "word: defense", "word: network", "word: data"),
    *("word: detector", "word: settings", "word: normalize", "word: grammar"),
)
COMMANDS = names()


def test_every_reader_is_fuzzed(every_reader):
    """One that is added has a line here, so that it is a test of its own."""
    assert {*READERS, *COMMANDS} == {*every_reader}


@pytest.mark.parametrize("name", [*READERS, *COMMANDS])
def test_damaged_inputs_are_borne(every_reader, name, tmp_path):
    reader = every_reader[name]

    @QUICK
    @given(st.randoms(use_true_random=False))
    def bears(draw: Random) -> None:
        reader.bears(reader.input(draw), tmp_path)

    with quiet():
        bears()


@pytest.mark.parametrize("name", READERS)
def test_genuine_inputs_are_read(every_reader, name, tmp_path):
    """What the mutations begin with is accepted, or they would prove nothing."""
    reader = every_reader[name]
    for content in reader.begin:
        assert reader.bears(content, tmp_path) is None


@pytest.mark.parametrize(("name", "content"), found())
def test_what_was_borne_badly_once(every_reader, name, content, tmp_path):
    reader = every_reader[name]
    path = tmp_path / "first"
    path.mkdir()
    reader.bears(content, path)


def test_the_same_seed_makes_the_same_input():
    content = b'{"a": [1, 2, {"b": "text"}]}'
    for change in (of_bytes, of_json):
        made = [change(content, Random(seed)) for seed in range(50)]
        assert made == [change(content, Random(seed)) for seed in range(50)]
        assert len(set(made)) > 25
    assert of_text("8/255", Random(3)) == of_text("8/255", Random(3))


def test_a_reader_that_bears_nothing_is_seen(every_reader, tmp_path):
    """The check itself: a traceback, a sentence of two lines, and a command that raises are all faults."""
    from dataclasses import replace

    from bench.errors import BadValue

    class Loud(BadValue):
        def __str__(self) -> str:
            return "one\ntwo"

    def two_lines(_: object) -> None:
        raise Loud("one")

    broken = replace(every_reader["record"], read=lambda path: {}[path])
    with pytest.raises(KeyError):
        broken.bears(b"{}", tmp_path)
    with pytest.raises(AssertionError, match="several lines"):
        replace(broken, read=two_lines).bears(b"{}", tmp_path)
