"""Every command that a document shows can be typed, and is run unless the page says why it is not."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from documented.parsing import parse, unknown_options
from documented.place import SETUP, furnish, small
from documented.reading import PAGES, ROOT, blocks, commands, spoken

from bench.cli.main import COMMANDS, main


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_can_be_typed(page):
    for command in commands(page):
        parse(command.words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_in_sentences_exist(page):
    for words in spoken(page):
        assert not unknown_options(words), words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_targets_of_make_exist(page):
    there = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    told = re.findall(r"(?:^|`)make (\w+)", page.read_text(encoding="utf-8"), re.M)
    assert {*told} <= there


def test_what_is_misspelt_is_found():
    import click

    for words in (["rum"], ["run", "--defence", "trades"], ["board", "--format", "latec"], ["verify"]):
        with pytest.raises(click.UsageError):
            parse(words)
    assert unknown_options(["run", "--suite", "A,B", "--fail"]) == ["--fail"]


def test_every_reason_is_of_something():
    for page in PAGES:
        for block in blocks(page):
            for texts, why in block.not_run:
                assert why and all(text in block.text for text in texts), (page.name, texts)


def test_the_tour_has_every_command():
    shown = {command.words[0] for command in commands(ROOT / "docs" / "tour.md")}
    assert shown == {*COMMANDS}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A furnished folder in which the tests of this module work; gives the id of a run in its store."""
    folder, before = tmp_path_factory.mktemp("documents"), Path.cwd()
    furnish(folder)
    os.chdir(folder)
    for words in SETUP:
        assert call(small(words.split(), "")) == 0
    run_id = min(Path("runs").glob("*/record.json"), key=lambda path: path.stat().st_mtime).parent.name
    yield run_id
    os.chdir(before)
    for name, module in [*sys.modules.items()]:  # or other tests find their names taken
        if folder in Path(getattr(module, "__file__", None) or "/").parents:
            del sys.modules[name]


def call(words: Sequence[str]) -> object:
    """What the command exits with."""
    with pytest.raises(SystemExit) as left:
        main(words)
    return left.value.code


TO_RUN = [page for page in PAGES if any(command.why_not is None for command in commands(page))]
WEAK = 3
"""The exit code of --fail-under, which a network of one epoch on few images cannot pass."""


@pytest.mark.slow
@pytest.mark.parametrize("page", TO_RUN, ids=lambda page: page.name)
def test_commands_run(page, place, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "mine", raising=False)  # files of other tests have that name, too
    for left in Path().glob("*mine.py"):  # by the page before
        left.unlink()
    for command in commands(page):
        if command.why_not is None:
            code = call(small(command.words, place))
            told = capsys.readouterr().err
            assert code == 0 or (code == WEAK and "--fail-under" in command.words), f"{command}\n{told}"
