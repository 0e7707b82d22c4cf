"""Boards for papers: what is bold, what is told, and that it fits the page of a real TeX."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.core.bitmap import packed
from bench.errors import BadValue, UnknownName
from bench.publish import read_records
from bench.records.record import Finding, Record, Verdicts
from bench.report import siunitx
from bench.report.bibliography import bibtex_of
from bench.report.latex import PREAMBLE
from bench.report.latex_tables import TESTED, board_latex, run_latex
from bench.report.paper_table import PaperTable

Maker = Callable[..., Record]
BOARDS = Path(__file__).parents[3] / "leaderboards"
N = 1000


def kept(record: Record, first: int = 0) -> Record:
    """The record, saying that it kept so many examples in a row, from this one on."""
    assert record.worst_case is not None
    held = np.zeros(N, dtype=np.bool_)
    held[first : first + record.worst_case.count] = True
    return dataclasses.replace(record, robust_examples=Verdicts("ids", packed(held), packed(held)))


def bold(text: str) -> list[str]:
    return re.findall(r"\\textbf\{([\d.]+)\}", text)


def test_bold_is_what_a_test_cannot_tell_from_the_highest(make_record: Maker) -> None:
    """20 of 20 discordant pairs: p = 2^-19; 3 of 3: p = 1/4, by hand."""
    records = [
        kept(make_record(run_id="a", defense="first", worst=600)),
        kept(make_record(run_id="b", defense="equal", worst=597)),
        kept(make_record(run_id="c", defense="worse", worst=580)),
    ]
    text = board_latex(records)
    assert bold(text) == ["60.0", "59.7"] and TESTED in text


def test_the_highest_alone_is_not_bold_by_being_the_highest(make_record: Maker) -> None:
    records = [
        kept(make_record(run_id="a", defense="first", worst=502)),
        kept(make_record(run_id="b", defense="second", worst=500)),
    ]
    text = board_latex(records)
    assert bold(text) == [] and TESTED not in text
    assert "Nothing is bold under whitebox@1: no row is worse than another beyond chance." in text


def test_without_single_examples_nothing_is_bold_and_the_caption_says_so(make_record: Maker) -> None:
    records = [
        kept(make_record(run_id="a", defense="known", worst=400)),
        kept(make_record(run_id="b", defense="low", worst=100)),
        make_record(run_id="c", defense="unknown", worst=900),
    ]
    text = board_latex(records)
    assert bold(text) == []
    assert "1 of 3 records do not say which images were kept" in text


def test_a_row_alone_needs_no_word_about_bold(make_record: Maker) -> None:
    assert "bold" not in board_latex([kept(make_record())]).lower()


def test_what_all_rows_share_is_in_the_caption(make_record: Maker) -> None:
    text = board_latex([make_record(run_id=name, defense=name, worst=400) for name in "ab"])
    assert r"Of all rows: network preact\_resnet18, recipe short, seed 0." in text
    assert r"n = 1{,}000" in text and r"\ell_\infty" in text and "8/255" in text and "& seed" not in text
    text = board_latex([make_record(run_id=f"{seed}", seed=seed, worst=400) for seed in (0, 1)])
    assert "defense & seed & clean" in text and ", seed 0" not in text


def test_doubts_are_marked(make_record: Maker) -> None:
    doubt = Finding("zero-gradients", "warn", "x")
    text = board_latex(
        [
            make_record(run_id="a", defense="fdml", reconstruction="its loss", findings=(doubt,)),
            make_record(run_id="b", defense="noisy", traits=("randomized",), eot_samples=3),
            make_record(run_id="c", defense="noisy", traits=("randomized",), eot_samples=3, suite="fast@1"),
            make_record(run_id="d", defense="other"),
            make_record(run_id="e", defense="other", suite="fast@1", worst=400),
            make_record(run_id="f", defense="other", suite="autoattack@1", worst=390),
        ]
    )
    assert r"fdml\textsuperscript{\textdagger{}!a}" in text and r"noisy\textsuperscript{*}" in text
    assert r"other\textsuperscript{+}" in text and "+ lower under attacks that not all rows met" in text
    for told in (r"\textdagger{} reconstructed", "! not every suite", "* owes", "a: zero-gradients"):
        assert told in text


def test_the_order_of_records_changes_no_byte(make_record: Maker) -> None:
    records = [kept(make_record(run_id=name, defense=name, worst=400)) for name in "cab"]
    assert board_latex(records) == board_latex(records[::-1])


TWO_COLUMNS = (
    r"\documentclass[10pt,twocolumn,letterpaper]{article}"
    r"\usepackage[margin=0.75in,columnsep=0.25in]{geometry}"
)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs a TeX with booktabs")
@pytest.mark.parametrize("ground", [("fashion_mnist", "0.1"), ("mnist", "0.3"), ("digits", "0.2")])
def test_published_boards_fit_the_page_of_a_conference(tmp_path: Path, ground: tuple[str, str]) -> None:
    published = [r for r in read_records(BOARDS) if (r.data, r.eps) == ground]
    tables = [board_latex(published), board_latex(published, wide=True)]
    tables += [board_latex(published, asked=PaperTable(top=12, over_seeds=True))]
    tables += [run_latex(published[0]), run_latex(published[0], wide=True)]
    lines = [TWO_COLUMNS, PREAMBLE, r"\begin{document}", *tables, r"\end{document}"]
    (tmp_path / "it.tex").write_text("\n".join(lines), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "it.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout


def test_suites_that_few_rows_met_are_in_the_lowest_and_the_caption_names_them(make_record: Maker) -> None:
    records = [make_record(run_id=name, defense=name, worst=500) for name in "abc"]
    assert "Lowest" not in board_latex(records)
    records.append(make_record(run_id="a2", defense="a", worst=480, suite="autoattack@1"))
    made = board_latex(records)
    assert r"those that few rows met among them (autoattack@1)" in made
    (row,) = [line for line in made.splitlines() if line.lstrip().startswith("a") and "50.0" in line]
    assert "48.0" in row


def test_seeds_become_a_mean_and_a_deviation(make_record: Maker) -> None:
    """Of 40, 50 and 60 %: mean 50, deviation of the sample 10, by hand; a seed alone has no deviation."""
    records = [make_record(run_id=f"a{s}", defense="a", seed=s, worst=400 + 100 * s) for s in range(3)]
    records.append(make_record(run_id="b", defense="b", worst=550))
    text = board_latex(records, asked=PaperTable(over_seeds=True))
    rows = [line.strip() for line in text.splitlines() if " & " in line and "80.0" in line]
    assert [row.partition(" & ")[0] for row in rows] == ["b", "a"], "by the mean, not by the best seed"
    assert r"50.0{\tiny $\pm$10.0}" in rows[1] and "tiny" not in rows[0]
    assert "Mean and standard deviation" in text and not bold(text)


def test_a_paper_chooses_rows_columns_and_names(make_record: Maker) -> None:
    records = [make_record(run_id=n, defense=n, worst=w) for n, w in (("trades", 500), ("mart", 400))]
    records += [make_record(run_id="o", defense="mine", worst=300)]
    asked = PaperTable(columns=("whitebox",), top=2, names={"trades": "TRADES & co"}, cite=True)
    text = board_latex(records, asked=asked)
    rows = [line.strip() for line in text.splitlines() if "cite" in line]
    assert rows[0].startswith(r"TRADES \& co~\cite{zhang2019trades} & ") and "50.0" in rows[0]
    assert rows[1].startswith(r"mart~\cite{wang2020mart}") and "mine" not in text and "80.0" not in text
    assert "Shown: 2 of 3 defenses." in text and "% @inproceedings{zhang2019trades," in text
    with pytest.raises(UnknownName, match="did you mean 'whitebox'"):
        board_latex(records, asked=PaperTable(columns=("whitebx",)))
    with pytest.raises(UnknownName, match="did you mean 'mart'"):
        board_latex(records, asked=PaperTable(only=("mrt",)))


def test_numbers_in_s_columns_are_the_numbers(make_record: Maker) -> None:
    """Digits before the point are counted by hand: 90.0 wants two, and a deviation room behind it."""
    records = [
        kept(make_record(run_id="a", defense="a", worst=900)),
        kept(make_record(run_id="b", defense="b", worst=85)),
    ]
    text = board_latex(records, asked=PaperTable(siunitx=True))
    assert "S[table-format=2.1,detect-weight]" in text and "{clean}" in text
    assert r"\bfseries 90.0" in text and " 8.5 " in text and r"\textbf{8" not in text
    seeds = [make_record(run_id=f"s{s}", defense="s", seed=s, worst=400 + 100 * s) for s in range(3)]
    of_seeds = board_latex(seeds, asked=PaperTable(siunitx=True, over_seeds=True))
    assert r"50.0{\tiny $\pm$10.0}" in of_seeds and r"table-space-text-post={\tiny $\pm$10.0}" in of_seeds
    with pytest.raises(BadValue, match="--wide has intervals"):
        board_latex(records, wide=True, asked=PaperTable(siunitx=True))


def test_citations_and_the_pages_bibliography_are_of_one_source(make_record: Maker) -> None:
    records = [make_record(run_id=name, defense=name, worst=400) for name in ("trades", "mart")]
    records.append(make_record(run_id="own", defense="mine[a=1]", paper="Me & you, Ours, 2030"))
    text = board_latex(records, asked=PaperTable(cite=True))
    entries = "\n".join(line[2:] for line in text.splitlines() if line.startswith("%"))
    assert bibtex_of(records).strip().replace("\n\n", "\n") in entries.replace("\n\n", "\n")
    cited = re.findall(r"\\cite\{(.*?)\}", text)
    assert sorted(cited) == sorted(re.findall(r"^@\w+\{(.*?),", entries, re.M)) and "mine" in cited


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs a TeX with siunitx")
def test_s_columns_fit_one_column_of_a_page(tmp_path: Path) -> None:
    found = subprocess.run(["kpsewhich", "siunitx.sty"], capture_output=True, text=True)
    if not found.stdout.strip():
        pytest.skip("needs siunitx")
    published = [r for r in read_records(BOARDS) if (r.data, r.eps) == ("mnist", "0.3")]
    asked = PaperTable(siunitx=True), PaperTable(top=12, over_seeds=True, cite=True, siunitx=True)
    tables = [board_latex(published, asked=one) for one in asked]
    lines = [TWO_COLUMNS, siunitx.PREAMBLE, r"\begin{document}", *tables, r"\end{document}"]
    (tmp_path / "it.tex").write_text("\n".join(lines), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "it.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
