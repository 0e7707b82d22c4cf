"""Tables for papers: booktabs, with a caption that says what the numbers are."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from fractions import Fraction
from itertools import groupby

from bench.core.paired import Difference
from bench.core.text import one_line
from bench.core.threat import format_eps
from bench.records.record import Balanced, Interval
from bench.report.over_seeds import OverSeeds
from bench.report.render import Cell, ColumnKind, Marked, Table, TableColumn, percent, points, read_cell
from bench.report.siunitx import column_of, number_of

Place = tuple[int, str]
"""A cell of a table: its row, from 0, and the name of its column."""

PREAMBLE = r"\usepackage{booktabs}"
"""What a document needs for these tables."""

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\ttfamily\char34}",
    "†": r"\textdagger{}",
    "±": r"$\pm$",
}
_GREEK = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu"),
    *(
        "nu",
        "xi",
        "omicron",
        "pi",
        "rho",
        "varsigma",
        "sigma",
        "tau",
        "upsilon",
        "phi",
        "chi",
        "psi",
        "omega",
    ),
)
_NORMS = {"Linf": r"$\ell_\infty$", "L2": r"$\ell_2$", "L1": r"$\ell_1$", "L0": r"$\ell_0$"}
_LATIN = 0x24F
"""The last character that pdfLaTeX's usual fonts have."""


def latex(
    table: Table,
    caption: str,
    label: str,
    bold: Collection[Place] = (),
    comment: str | None = None,
    wide: bool = False,
    style: str = "",
    siunitx: bool = False,
) -> str:
    r"""A floating table; `caption` and `style` are LaTeX already, everything else is escaped here.

    Notes stand below the rules in small print, quiet rows in italics. `wide` spans both columns of a page;
    `style` stands before the table, such as `\small`; with `siunitx` its S columns align numbers. Letters
    that pdfLaTeX has no fonts for stay as they are, and a comment says that XeLaTeX or LuaLaTeX is needed.

    >>> table = Table("", (TableColumn("a_b", "a"),), (("x & y",),))
    >>> print(latex(table, "Of $x$.", "tab:x", {(0, "a")}), end="")
    \begin{table}
      \centering\setlength{\belowcaptionskip}{6pt}
      \caption{Of $x$.}
      \label{tab:x}
      \begin{tabular}{l}
        \toprule
        a\_b \\
        \midrule
        \textbf{x \& y} \\
        \bottomrule
      \end{tabular}
    \end{table}
    """
    shown = [(column, place) for place, column in enumerate(table.columns) if not column.only_csv]
    kinds = [
        column_of(column, [row[place] for row in table.rows]) if siunitx else None for column, place in shown
    ]
    usual = ["l" if column.kind is ColumnKind.TEXT else "r" for column, _ in shown]
    shape = "".join(kind or other for kind, other in zip(kinds, usual, strict=True))
    heads = [_braced(escape(c.title), kind) for (c, _), kind in zip(shown, kinds, strict=True)]

    def written(place: int, number: int, column: TableColumn, kind: str | None) -> str:
        cell, is_bold = table.rows[number][place], (number, column.name) in bold
        is_quiet = number in table.quiet
        plain = None if kind is None or is_quiet else number_of(column, cell, is_bold)
        return plain or _braced(_cell(column, cell, is_bold, is_quiet), kind)

    body = [
        [written(place, number, c, kind) for (c, place), kind in zip(shown, kinds, strict=True)]
        for number in range(len(table.rows))
    ]
    environment = "table*" if wide else "table"
    lines = [f"% {' '.join(one_line(comment).split())}"] if comment else []
    lines += [
        rf"\begin{{{environment}}}",
        rf"  \centering\setlength{{\belowcaptionskip}}{{6pt}}{style}",
        rf"  \caption{{{caption}}}",
        rf"  \label{{{_label(label)}}}",
        rf"  \begin{{tabular}}{{{shape}}}",
        r"    \toprule",
        *_groups([column for column, _ in shown]),
        f"    {' & '.join(heads)} \\\\",
        r"    \midrule",
        *(f"    {_apart(' & '.join(cells))} \\\\" for cells in body),
        r"    \bottomrule",
        r"  \end{tabular}",
    ]
    if table.notes:
        notes = r" \\ ".join(escape(note) for note in table.notes)
        lines.append(
            rf"  \par\smallskip\begin{{minipage}}{{\linewidth}}\footnotesize {notes}\end{{minipage}}"
        )
    lines.append(rf"\end{{{environment}}}")
    text = "\n".join(lines) + "\n"
    foreign = sorted({sign for sign in text if ord(sign) > _LATIN})
    if foreign:
        text = f"% needs XeLaTeX or LuaLaTeX, for: {' '.join(foreign)}\n{text}"
    return text


def caption(
    data: str,
    norm: str,
    eps: str,
    n: int,
    suites: Collection[str],
    bold: str | None = None,
    more: str = "",
    intervals: str = r"with 95\,\% Wilson intervals",
) -> str:
    """What a board's numbers are, for its caption; `bold` says what bold figures mean.

    >>> caption("mnist", "Linf", "3/10", 500, ["whitebox@1"])[:65]
    'Accuracy in percent over all $n = 500$ test images of mnist, clea'
    """
    number = f"{n:,}".replace(",", "{,}")
    threat = f"{_NORMS.get(norm, escape(norm))}, $\\epsilon = {format_eps(Fraction(eps))}$"
    worst = f" and in the worst case over the attacks of {', '.join(map(escape, suites))}" if suites else ""
    sentences = (
        f"Accuracy in percent over all $n = {number}$ test images of {escape(data)}, clean"
        f"{worst} ({threat}), {intervals}.",
        bold or "",
        more,
    )
    return " ".join(sentence for sentence in sentences if sentence)


def escape(text: str) -> str:
    r"""Text that LaTeX prints as it is; Greek letters become mathematics.

    >>> escape("agkd_bml[margin=5%] & <µ> λ")
    'agkd\\_bml[margin=5\\%] \\& \\textless{}$\\mu$\\textgreater{} $\\lambda$'
    """
    found = []
    for sign in " ".join(text.split()):
        place = ord(sign) - ord("α")
        if sign == "µ":
            found.append(r"$\mu$")
        elif 0 <= place < len(_GREEK) and sign != "ο":
            found.append(f"$\\{_GREEK[place]}$")
        else:
            found.append(_SPECIAL.get(sign, sign))
    return "".join(found).replace("--", "-{}-")  # or TeX makes a dash of two


def _groups(columns: Sequence[TableColumn]) -> list[str]:
    """A line above the heads that names groups of neighbours, with a rule below each; none without groups."""
    cells, rules = [], []
    at = 1
    for name, members in groupby(columns, key=lambda column: column.group):
        width = len(list(members))
        if name is None:
            cells += [""] * width
        else:
            cells.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(name)}}}")
            rules.append(rf"\cmidrule(lr){{{at}-{at + width - 1}}}")
        at += width
    return [f"    {' & '.join(cells)} \\\\", f"    {''.join(rules)}"] if rules else []


def _cell(column: TableColumn, cell: Cell, bold: bool, quiet: bool) -> str:
    face = r"\textbf" if bold else r"\textit" if quiet else ""
    if isinstance(cell, (Interval, Balanced, Difference)):
        value, _, rest = (
            percent(cell) if isinstance(cell, (Interval, Balanced)) else points(cell)
        ).partition(" ")
        if isinstance(cell, (Interval, Balanced)):  # so that figures stand below each other
            rest = re.sub(r"(?<!\d)(\d\.)", r"\\phantom{0}\1", rest)
        return rf"{_in(face, value)} {{\scriptsize {rest}}}".replace("-", "$-$")
    if cell is None:
        return "--"
    if isinstance(cell, OverSeeds):
        value, sign, rest = str(cell).partition(" ")
        small = escape(rest).replace("$ ", "$") if sign else ""
        return _in(face, value) + (rf"{{\tiny {small}}}" if small else "")
    if isinstance(cell, Marked):
        mark = rf"\textsuperscript{{{escape(cell.mark.strip())}}}" if cell.mark else ""
        cite = rf"~\cite{{{cell.cite}}}" if cell.cite else ""
        return _in(face, escape(cell.text) + mark) + cite
    text = escape(read_cell(column, cell))
    return _in(face, text if column.kind is ColumnKind.TEXT else text.replace("-", "$-$"))


def _braced(text: str, kind: str | None) -> str:
    """In an S column, text that is no number."""
    return text if kind is None else f"{{{text}}}"


def _label(text: str) -> str:
    """A name that \\ref finds, of signs that mean nothing to TeX."""
    return re.sub(r"[^A-Za-z0-9:._-]", "-", text)


def _apart(line: str) -> str:
    """A line that the end of the one before it does not take for its argument."""
    return f"{{}}{line}" if line[:1] in ("*", "[") else line


def _in(face: str, text: str) -> str:
    return f"{face}{{{text}}}" if face else text
