"""`bench.toml`: options for every command, behind what is typed."""

from __future__ import annotations

import pytest


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def words(linear, linear_data):
    return ["run", "--defense", linear, "--data", linear_data, "--examples", "20", "--suite", "smoke"]


def test_its_words_are_as_if_they_were_typed_and_what_is_typed_comes_before(bench, words, here):
    (here / "bench.toml").write_text('store = "mine"\ndevice = "cpu"\n')
    assert bench(*words).code == 0
    assert list((here / "mine").glob("*/record.json")) and not (here / "runs").exists()
    assert "nothing was computed" in bench(*words).err
    assert bench(*words, "--store", here / "typed").code == 0
    assert list((here / "typed").glob("*/record.json"))
    (record,) = (here / "mine").glob("*/record.json")
    assert record.parent.name in bench("list", "runs").out


def test_an_engine_of_the_file_is_checked_as_a_typed_one(bench, words, here):
    (here / "bench.toml").write_text('on = "lokal:2"\n')
    told = bench(*words)
    assert told.code == 2 and "no engine is named 'lokal'; did you mean 'local'?" in told.err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("stor = 'x'", "bench.toml has no key 'stor'; did you mean 'store'?"),
        ("seed = 3", "bench.toml has no key 'seed', expected one of store, data_root, device, on"),
        ("store = 3", "bench.toml: store is 3, expected a text"),
        ("store = ", "bench.toml cannot be read as TOML"),
    ],
)
def test_what_is_wrong_with_it_is_one_sentence(bench, words, here, text, sentence):
    (here / "bench.toml").write_text(text)
    told = bench(*words)
    assert (told.code, told.out, told.err.count("\n")) == (2, "", 1) and sentence in told.err


def test_other_folders_have_none(bench, words, here, tmp_path_factory, monkeypatch):
    (here / "bench.toml").write_text("nonsense")
    monkeypatch.chdir(tmp_path_factory.mktemp("other"))
    assert bench(*words).code == 0
