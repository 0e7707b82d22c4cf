"""How figures look in a paper: sizes, type, colours; and how they are written, with numbers and caption."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.core.text import in_a_spreadsheet
from bench.errors import BadValue
from bench.records.files import write_all

Format = Literal["pdf", "png", "svg"]

COLUMN, PAGE = 3.25, 6.75
"""Widths in inches: of one column, and of two with the gap between them."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""One for each defense: Okabe and Ito's palette for all eyes, without its yellow, which is too pale."""

CLASS_COLOURS = (
    "#CC6677",
    "#332288",
    "#DDCC77",
    "#117733",
    "#88CCEE",
    "#882255",
    "#44AA99",
    "#999933",
    "#AA4499",
    "#A0A0A0",
)
"""One for each class: Paul Tol's muted scheme."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""One for each defense, so that nobody needs the colours."""

DASHES: tuple[Any, ...] = (
    "-",
    (0, (4, 1.5)),
    (0, (1, 1)),
    (0, (4, 1, 1, 1)),
    (0, (6, 3)),
    (0, (2, 2)),
    (0, (8, 1, 1, 1, 1, 1)),
)
"""The same for lines."""

RIGHT, WRONG = "#0072B2", "#D55E00"

GRAY = "#666666"

_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # matplotlib brings it, so figures are the same everywhere
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": True,
    "grid.linewidth": 0.4,
    "grid.color": "#DDDDDD",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 3,
    "hatch.linewidth": 0.6,
    "pdf.fonttype": 42,  # outlines that publishers accept and readers can search
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",  # the same figure, the same bytes
    "savefig.dpi": 300,
}


@dataclass(frozen=True)
class Drawing:
    """A figure, the numbers that it shows, and what to print below it."""

    name: str  # of the file, without its ending
    figure: Figure
    columns: tuple[str, ...]
    rows: Sequence[tuple[object, ...]]
    caption: str  # whole sentences in one line; the figure itself has no title


class _Attacked(Protocol):
    """What results say that are of one attack."""

    @property
    def data(self) -> str: ...
    @property
    def budget(self) -> str: ...
    @property
    def attack(self) -> str: ...
    @property
    def knowledge(self) -> str: ...
    @property
    def examples(self) -> int: ...


@contextmanager
def paper() -> Iterator[None]:
    """Figures are made and written in here."""
    with mpl.rc_context(cast(Any, _STYLE)):
        yield


def sheet(width: float, height: float) -> Figure:
    """An empty figure, in inches; what it shows is for its caption to say."""
    return Figure(figsize=(width, height), layout="constrained")


def require_few(count: int, what: str, most: int = len(COLOURS), hint: str | None = None) -> None:
    """BadValue where there are more than one figure can tell apart: `what` they are, in the plural."""
    if count > most:
        raise BadValue(f"{count} {what} are more than one figure can show, expected at most {most}", hint)


def about(found: _Attacked, knowledge: bool = True) -> str:
    """Data, budget, attack (and what its attacker sees) and number of examples in one line."""
    attack = attack_name(found) if knowledge else attack_name(found).rpartition(" ")[2]
    return f"{found.data}, {found.budget}, {attack}, n = {found.examples:,}"


def attack_name(found: _Attacked) -> str:
    """The attack and its steps, and what the attacker sees: white-box PGD-20.

    >>> from types import SimpleNamespace
    >>> attack_name(SimpleNamespace(attack="PGD(steps=20, step_size=1/4)", knowledge="white-box"))
    'white-box PGD-20'
    """
    name, _, fields = found.attack.rstrip(")").partition("(")
    steps = [field.strip()[6:] for field in fields.split(",") if field.strip().startswith("steps=")]
    return f"{found.knowledge} {'-'.join([name, *steps])}"


def plain(text: str) -> str:
    """Text in which matplotlib finds no formula."""
    return text.replace("$", r"\$")


def shortened(name: str, letters: int = 26) -> str:
    """A name with its middle left out where it is longer; the CSV has it whole.

    >>> shortened("ensemble[members=pgd_at/trades]", 20)
    'ensemble[…at/trades]'
    """
    return name if len(name) <= letters else f"{name[: letters // 2 - 1]}…{name[-(letters - letters // 2) :]}"


def folded(name: str, letters: int = 22) -> str:
    """A long name on several lines, broken before what a variant changes, else between words of it.

    >>> folded("agkd_bml[attention_stage=0]")
    'agkd_bml\\n[attention_stage=0]'
    >>> folded("standard@wide_resnet_10_1", 16)
    'standard@wide_\\nresnet_10_1'
    """
    if len(name) <= letters:
        return name
    return "\n".join(line for part in re.split(r"(?=\[)", name) for line in _lines(part, letters))


def _lines(part: str, letters: int) -> list[str]:
    """As many words on a line as it takes; a word that is longer than a line is cut."""
    words = [piece for word in re.findall(r"[^ _@,]*[ _@,]*", part) for piece in _cut(word, letters)]
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(word.rstrip()) <= letters:
            lines[-1] += word
        else:
            lines.append(word)
    return [line.strip() for line in lines]


def _cut(word: str, letters: int) -> list[str]:
    return [word[start : start + letters] for start in range(0, len(word), letters)]


def write(drawing: Drawing, folder: Path, form: Format) -> list[Path]:
    """The figure and, beside it, its numbers and its caption; the same figure gives the same bytes."""
    picture, text = io.BytesIO(), io.StringIO()
    dated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}[form]
    drawing.figure.savefig(picture, format=form, metadata=dated)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(in_a_spreadsheet, drawing.columns))
    writer.writerows([_cell(value) for value in row] for row in drawing.rows)
    files = {
        folder / f"{drawing.name}.{form}": picture.getvalue(),
        folder / f"{drawing.name}.csv": text.getvalue().encode(),
        folder / f"{drawing.name}.caption.txt": (drawing.caption + "\n").encode(),
    }
    write_all(files)
    return list(files)


def _cell(value: object) -> object:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else in_a_spreadsheet(value)
