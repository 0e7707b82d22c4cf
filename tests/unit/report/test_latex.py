"""LaTeX: what is printed, and that a real TeX takes it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bench.core.paired import Difference
from bench.records.record import Interval
from bench.report.latex import PREAMBLE, caption, escape, latex
from bench.report.render import ColumnKind, Marked, Table, TableColumn

HOSTILE = r"a|b & <c>_d% #1 {x} ~y^2 \z $5 -- \"q\" λ é"
SHARE = Interval(0.451, 0.4199, 0.4823, 451, 1000)
TABLE = Table(
    "t",
    (
        TableColumn("rank", "rank", ColumnKind.COUNT),
        TableColumn("defense & co", "defense"),
        TableColumn("hidden", "hidden", only_csv=True),
        TableColumn("clean %", "clean", ColumnKind.INTERVAL),
        TableColumn("gain", "gain", ColumnKind.DIFFERENCE),
        TableColumn("seconds", "seconds", ColumnKind.NUMBER),
    ),
    (
        (1, Marked("agkd_bml", " [1]"), "x", SHARE, Difference(3, 24, 1000, -0.0313, -0.0107), 1234.5),
        (12345, HOSTILE, "x", None, None, None),
    ),
    notes=("[1] is 100 % & more", "second"),
)


def test_the_table_holds_what_it_should():
    text = latex(
        TABLE, "Caption.", "tab:it", bold={(0, "clean"), (0, "defense")}, comment="from records a, b"
    )
    lines = text.splitlines()
    assert lines[0] == "% from records a, b" and lines[1] == r"\begin{table}"
    assert r"  \begin{tabular}{rlrrr}" in lines
    assert r"    rank & defense \& co & clean \% & gain & seconds \\" in lines
    assert (
        r"    1 & \textbf{agkd\_bml\textsuperscript{[1]}} & \textbf{45.1} {\scriptsize [42.0, 48.2]} & "
        r"$-$2.1 {\scriptsize [$-$3.1, $-$1.1]} & 1,234.5 \\"
    ) in lines
    assert r"-- & -- & -- \\" in text and "hidden" not in text
    assert r"[1] is 100 \% \& more \\ second" in text


def test_what_pdflatex_cannot_print_is_said():
    table = Table("", (TableColumn("defense", "defense"),), (("防御",), ("ok",)))
    assert latex(table, "c", "l").startswith("% needs XeLaTeX or LuaLaTeX, for: 御 防\n")
    assert "防御" in latex(table, "c", "l")


def test_the_caption_says_what_the_numbers_are():
    said = caption("tiny_imagenet", "Linf", "8/255", 10000, ["whitebox@1", "fast@1"], "Bold: best.")
    for part in ("$n = 10{,}000$", r"tiny\_imagenet", "whitebox@1, fast@1", r"$\ell_\infty$", "= 8/255$"):
        assert part in said
    assert said.endswith("Wilson intervals. Bold: best.") and "radius" not in said


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs a TeX with booktabs")
def test_a_real_tex_takes_it(tmp_path: Path):
    said = caption("a_b", "L2", "1/2", 1000, ["whitebox@1"])
    body = latex(TABLE, said, "tab:it", bold={(0, "clean")}, comment="x")
    empty = latex(Table("", TABLE.columns, ()), escape(HOSTILE), "tab:none")
    document = [r"\documentclass{article}", PREAMBLE, r"\begin{document}", body, empty, r"\end{document}"]
    (tmp_path / "it.tex").write_text("\n".join(document), encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "it.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    if shutil.which("pdftotext"):
        subprocess.run(["pdftotext", "-layout", "it.pdf"], cwd=tmp_path, check=True, timeout=60)
        seen = (tmp_path / "it.txt").read_text(encoding="utf-8")
        seen = " ".join(seen.replace("_", " ").split())  # the rule that TeX prints for _ is no letter
        for part in ("agkd bml", "45.1 [42.0, 48.2]", "a|b & <c> d% #1 {x}", "$5 --", "λ", "n = 1,000"):
            assert part in seen
