"""The command `bench`: which commands there are, and how mistakes are told."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click

from bench import __version__
from bench.cli.options import Commands
from bench.cli.usual import usual_words
from bench.core.disk import FAILING, FULL
from bench.core.files import IsNotRegular
from bench.core.imports import one_file_each
from bench.core.text import one_line
from bench.errors import BenchError, unknown
from bench.studies.table import studies

COMMANDS: Mapping[str, tuple[str, str]] = {
    "run": ("bench.cli.run:run", "Train a defense, attack it with a suite, print the table."),
    "sweep": ("bench.cli.sweep:sweep", "Many runs, defenses x suites x seeds and more, in one table."),
    "jobs": ("bench.cli.jobs:jobs", "What workers do now in a store, of every command with --on."),
    "train": ("bench.cli.train:train", "Train a defense and keep its weights."),
    "list": ("bench.cli.list_:list_", "Defenses, attacks, suites, data, architectures, recipes, runs."),
    "show": ("bench.cli.show:show", "Everything about one suite, defense, data set, recipe or record."),
    "ablate": ("bench.cli.ablate:ablate", "Turn a defense's switches one by one, in one table."),
    **{study.name: ("bench.cli.study:command", study.does) for study in studies()},
    "plot": ("bench.cli.plot:plot", "Draw figures for a paper of what other commands kept."),
    "board": ("bench.cli.board:board", "Rank the defenses of some records, or rebuild published boards."),
    "export": ("bench.cli.export:export", "Write records in the form of another board, RobustBench's."),
    "site": ("bench.cli.site:site", "Write a page of boards and records that people can browse."),
    "audit": ("bench.cli.audit:audit", "Apply the rules that reviewers check to a run, with figures."),
    "compare": ("bench.cli.compare:compare", "Do defenses differ on the same examples, or is it chance?"),
    "verify": ("bench.cli.verify:verify", "Does a stored run keep its word? Cells are computed again."),
    "reproduce": (
        "bench.cli.reproduce:reproduce",
        "Train and attack again as a record says; is it the same?",
    ),
    "fsck": ("bench.cli.fsck:fsck", "Is everything in a store what it was when it was written?"),
    "import": ("bench.cli.import_:import_", "Judge adversarial images that others made (.npy)."),
    "publish": ("bench.cli.publish:publish", "Put records on the boards of leaderboards/."),
    "submit": ("bench.cli.submit:submit", "Pack a run for the boards of others, or check what was packed."),
    "check": ("bench.cli.check:check", "Does a defense or an attack keep its contract?"),
    "new": ("bench.cli.new:new", "Start a defense of your own from a template that works."),
    "doctor": ("bench.cli.doctor:doctor", "Is everything installed, and does it fit together?"),
}
"""name -> where the command is, or what makes one of its name, and what it does; imported when called."""

USAGE, INTERRUPTED = 2, 130
"""Exit codes; 0 is success, 1 a result that is not good: a failed cell, a broken installation.

`bench run --fail-under` exits with 3 where the worst case is too low; a signal's code is 128 and its number.
"""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit; a user's mistake is one sentence, a fault of ours keeps its traceback.

    A command returns nothing, or its exit code.
    """
    # threads that spin while they wait slow small networks down 30-fold once another program wants the cores
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        with _stops_told(), one_file_each():
            words = list(sys.argv[1:] if arguments is None else arguments)
            check_words(words)
            code = bench.main(words, prog_name="bench", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(USAGE)
    except click.ClickException as error:
        _fail(sentence_of(error), USAGE)
    except BenchError as error:
        _fail(str(error), USAGE)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted; the same command goes on from where it stopped", INTERRUPTED)
    except Stopped as stop:
        _fail(f"stopped by {stop}; the same command goes on from where it stopped", 128 + stop.number)
    except OSError as error:
        if error.errno in FULL:  # told by a write, which knows no name
            _fail(
                f"the disk is full ({error.strerror}), expected room for what is written; what is stored is "
                "whole, and the same command goes on from there",
                USAGE,
            )
        if isinstance(error, IsNotRegular):
            _fail(f"{str(error.filename)!r} cannot be used ({error.strerror}), expected another path", USAGE)
        if error.errno in FAILING:
            where = f" at {str(error.filename)!r}" if error.filename else ""
            _fail(
                f"the file system failed{where} ({error.strerror}), expected one that reads and writes; what "
                "is stored is whole, and the same command goes on from there",
                USAGE,
            )
        if error.errno not in _UNWRITABLE or not error.filename:
            raise
        _fail(
            f"cannot write {str(error.filename)!r} ({error.strerror}), expected a folder that can be written",
            USAGE,
        )
    sys.exit(code if isinstance(code, int) else 0)


LONGEST = 4096
"""Letters of a word on the command line; no path that a system takes is longer."""

_NO_LETTERS = ("Cc", "Cs", "Zl", "Zp")  # control characters, bytes that are no text, other ends of lines


class Stopped(BaseException):
    """A signal asked the process to end, as schedulers do before they kill it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def _stops_told() -> Iterator[None]:
    """Let signals that would end the process without a word raise `Stopped`, so that all is closed first."""
    if threading.current_thread() is not threading.main_thread():  # no other may say what signals do
        yield
        return
    ends = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    usual = {number: signal.getsignal(number) for number in ends}
    mine = [number for number, held in usual.items() if held == signal.SIG_DFL]  # nohup ignores SIGHUP
    for number in mine:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, usual[number])


def _stop(number: int, _: object) -> NoReturn:
    raise Stopped(number)


class LazyGroup(Commands):
    """A group that knows its commands by name and imports the one that is called."""

    def list_commands(self, context: click.Context) -> list[str]:
        """All commands, in the order a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Import a command."""
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        found: click.Command | Callable[[str], click.Command] = getattr(
            importlib.import_module(module), attribute
        )
        return found if isinstance(found, click.Command) else found(name)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, from their short helps, so that help imports none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Start with: bench run --defense pgd_at --suite smoke --data digits",
)
@click.version_option(__version__, prog_name="bench")
@click.pass_context
def bench(context: click.Context) -> None:
    """Measure how robust defenses of image classifiers are, and doubt the numbers."""
    usual = usual_words(Path.cwd())
    context.default_map = {name: usual for name in COMMANDS} if usual else None


_UNWRITABLE = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
}


def check_words(words: Iterable[str]) -> None:
    """Refuse what no name, number or path of ours is: text of several lines, of no letters, without end.

    Raises:
        BenchError: a word is longer than LONGEST letters, or holds a control character or half a letter.
    """
    for word in words:
        if len(word) > LONGEST:
            raise BenchError(
                f"{word[:40]!r}... is of {len(word):,} letters, expected at most {LONGEST:,} in one word"
            )
        odd = next((letter for letter in word if unicodedata.category(letter) in _NO_LETTERS), None)
        if odd is not None:
            raise BenchError(
                f"{word[:80]!r} holds {odd!r}, which is no letter, expected text in one line of letters"
            )


def sentence_of(error: click.ClickException) -> str:
    """What click found wrong, as one sentence like ours, with the command whose help explains it."""
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        return str(unknown("option", error.option_name, error.possibilities))
    message = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "bench"
    hint = "" if message.endswith("?") else f"; try: {command} --help"
    return f"{message[:1].lower()}{message[1:]}{hint}"


def _fail(sentence: str, code: int) -> NoReturn:
    click.echo(f"bench: {one_line(sentence)}", err=True)
    sys.exit(code)
