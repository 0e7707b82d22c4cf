"""Progress on a terminal: bars with rates and time left; everything goes to stderr."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import click
from rich.console import Console as Terminal
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from bench.core.progress import Progress
from bench.core.text import one_line
from bench.report.layout import fold


class Console:
    """Draws the work in progress; away from a terminal, one line when a piece starts and one when it ends.

    A notebook is no terminal: it shows lines.

    Pieces may be nested: figures and units belong to the innermost.
    """

    def __init__(self, terminal: Terminal | None = None) -> None:
        self._terminal = terminal or Terminal(stderr=True, highlight=False, force_jupyter=False, emoji=False)
        self._drawn = self._terminal.is_terminal and not _is_notebook(self._terminal.file)
        self._pieces: list[_Piece] = []
        self._bars: Bars | None = None
        context = click.get_current_context(silent=True)
        if context is not None:  # an error or Ctrl-C must find the terminal as it was
            context.call_on_close(self.close)

    def start(self, title: str, total: int, unit: str, done: int = 0) -> None:
        """Begin a piece of work of `total` units, of which `done` were done before (a resumed run)."""
        piece = _Piece(title, total, unit, done, done, time.monotonic())
        if self._drawn:
            if self._bars is None:
                self._bars = self._new_bars()
                self._bars.start()
            piece.task = self._bars.add_task(title, total=total, completed=done, rate="", figures="")
        else:
            resumed = f", {done} of them done before" if done else ""
            self._line(f"{title}: {total} {unit}{resumed}")
        self._pieces.append(piece)

    def advance(self, amount: int = 1, **figures: float) -> None:
        """Some units are done; figures such as loss=0.31 are shown beside the bar."""
        if not self._pieces:
            return
        piece = self._pieces[-1]
        piece.done += amount
        piece.figures.update(figures)
        if self._bars is not None and piece.task is not None:
            self._bars.update(piece.task, completed=piece.done, rate=piece.rate(), figures=piece.shown())

    def say(self, message: str) -> None:
        """One sentence worth reading, such as what was found in the cache."""
        self._line(message)

    def finish(self) -> None:
        """This piece of work is over."""
        if not self._pieces:
            return
        piece = self._pieces.pop()
        if self._bars is not None and piece.task is not None:
            self._bars.remove_task(piece.task)
            if not self._pieces:
                self._bars.stop()
                self._bars = None
        figures = piece.shown()
        seconds = time.monotonic() - piece.began
        told = [f"{piece.title}: {piece.done} {piece.unit} in {seconds:.1f} s", piece.rate(), figures]
        self._line(", ".join(part for part in told if part))

    def close(self) -> None:
        """Take down what is still drawn, so that an error message starts on a clean line."""
        self._pieces.clear()
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _line(self, text: str) -> None:
        self._terminal.print(one_line(text), markup=False, highlight=False, emoji=False, soft_wrap=True)

    def _new_bars(self) -> Bars:
        return Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:.0f}/{task.total:.0f}", markup=False),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[figures]}", markup=False),
            console=self._terminal,
            transient=True,
        )


def folded(text: str, indent: str = "  ") -> str:
    """A sentence for stdout, broken at the width of a terminal; whole in a file or a pipe."""
    if not sys.stdout.isatty():
        return text
    return "\n".join(fold(text, shutil.get_terminal_size().columns, indent))


@contextmanager
def tidy(progress: Progress) -> Iterator[None]:
    """What is drawn within is taken down at the end, so that an error starts on a clean line."""
    try:
        yield
    finally:
        if isinstance(progress, Console):
            progress.close()


def _is_notebook(stream: object) -> bool:
    """Whether it is a stream of Jupyter, which says of itself that it is a terminal and keeps every line."""
    return type(stream).__module__.partition(".")[0] == "ipykernel"


@dataclass
class _Piece:
    title: str
    total: int
    unit: str
    resumed: int
    done: int
    began: float
    task: TaskID | None = None
    figures: dict[str, float] = field(default_factory=dict)

    def rate(self) -> str:
        seconds = time.monotonic() - self.began
        done = self.done - self.resumed
        if not done or seconds <= 0:
            return ""
        rate = done / seconds
        return f"{rate:,.0f} {self.unit}/s" if rate >= 10 else f"{rate:.2g} {self.unit}/s"

    def shown(self) -> str:
        return "  ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in self.figures.items())


_: Progress = Console(Terminal(stderr=True))
