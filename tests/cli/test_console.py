"""Progress: bars on a terminal, one line for each beginning and end elsewhere, never on stdout."""

from __future__ import annotations

import io

import click
import pytest
from rich.console import Console as Terminal

from bench.cli.console import Console, folded


def test_away_from_a_terminal_it_tells_beginnings_and_ends() -> None:
    out = io.StringIO()
    console = Console(Terminal(file=out, force_terminal=False, width=200))
    console.start("attacking with pgd_20", total=100, unit="images", done=40)
    for _ in range(60):
        console.advance(1, loss=0.3141592)
    console.finish()
    first, last = out.getvalue().splitlines()
    assert first == "attacking with pgd_20: 100 images, 40 of them done before"
    assert last.startswith("attacking with pgd_20: 100 images in ")
    assert "images/s" in last and last.endswith("loss 0.3142")


def test_brackets_are_text() -> None:
    out = io.StringIO()
    console = Console(Terminal(file=out, force_terminal=False, width=200))
    console.say("agkd_bml[margin=0.05] is in the [bold]cache")
    assert out.getvalue() == "agkd_bml[margin=0.05] is in the [bold]cache\n"


def test_no_name_becomes_a_picture() -> None:
    for is_terminal in (False, True):
        out = io.StringIO()
        terminal = Terminal(file=out, force_terminal=is_terminal, width=200, _environ={"TERM": "xterm"})
        console = Console(terminal)
        console.start("npz:heart: reading", total=1, unit="images")
        console.say("npz:heart: is read")
        console.finish()
        assert "npz:heart: is read" in out.getvalue() and "❤" not in out.getvalue()


def test_a_sentence_wraps_on_a_terminal_alone(monkeypatch) -> None:
    sentence = "what one keeps and the other loses, " * 6
    assert folded(sentence) == sentence
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    lines = folded(sentence).splitlines()
    assert (
        len(lines) > 3
        and max(map(len, lines)) <= 60
        and " ".join(" ".join(lines).split()) == sentence.strip()
    )


def test_on_a_terminal_it_draws() -> None:
    out = io.StringIO()
    console = Console(Terminal(file=out, force_terminal=True, width=120, _environ={"TERM": "xterm"}))
    console.start("training [short]", total=10, unit="images")
    console.advance(5, loss=0.5)
    console.start("validation", total=2, unit="images")
    console.advance(2)
    console.finish()
    console.advance(5)
    console.finish()
    drawn = out.getvalue()
    assert "\x1b[2K" in drawn and "━" in drawn  # a line that is drawn again, a bar
    validation, training = (line for line in drawn.splitlines() if " in 0." in line)
    assert "validation: 2 images" in validation
    assert "training [short]: 10 images" in training and training.endswith("loss 0.5")


def test_everything_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.start("work", total=1, unit="images")
    console.advance()
    console.finish()
    told = capsys.readouterr()
    assert told.out == "" and "work" in told.err


def test_an_error_takes_the_bars_down() -> None:
    out = io.StringIO()

    @click.command()
    def failing() -> None:
        Console(Terminal(file=out, force_terminal=True, width=80, _environ={"TERM": "xterm"})).start(
            "w", 1, "images"
        )
        raise RuntimeError

    with pytest.raises(RuntimeError):
        failing.main([], standalone_mode=False)
    assert out.getvalue().endswith("\x1b[?25h") or out.getvalue().rfind("\x1b[?25h") > out.getvalue().rfind(
        "\x1b[?25l"
    )


def test_a_stream_of_jupyter_that_says_it_is_a_terminal_shows_lines(monkeypatch):
    stream = type(
        "OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream", "isatty": lambda self: True}
    )()
    monkeypatch.setattr("sys.stderr", stream)
    console = Console()
    console.start("attacking", 3, "examples")
    console.finish()
    assert stream.getvalue().startswith("attacking: 3 examples\n") and "\x1b" not in stream.getvalue()


def test_a_notebook_is_no_terminal(monkeypatch, capsys):
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    console = Console()
    console.start("attacking", 3, "examples")
    console.finish()
    assert capsys.readouterr().err.startswith("attacking: 3 examples\n")
