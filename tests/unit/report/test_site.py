"""The page as files: what is in them, that nothing leaves them, and how a folder is replaced."""

from __future__ import annotations

import dataclasses
import json
import re
import statistics
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from scipy.stats import binomtest

from bench.errors import BadValue
from bench.publish import read_records
from bench.records.record import Check, Record
from bench.records.store import read_record
from bench.records.verdicts import worst_case_of
from bench.site.pages import MANIFEST, site_files, write_site

BOARDS = Path(__file__).parents[3] / "leaderboards"
FINETUNED = BOARDS.parent / "benchmarks/records/cascade/23ef5c2c2cbe.json"
"""A run of weights that began with others."""
BOARD = "boards/mnist-linf-0.3.html"
HOSTILE = 'a|b & <script>alert(1)</script> _d_ "q" 防御 </td>'


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return read_records(BOARDS)


@pytest.fixture(scope="module")
def page(records: list[Record]) -> dict[str, str]:
    return site_files(records)


def html(made: dict[str, str]) -> dict[str, Page]:
    return {name: Page(str(text)) for name, text in made.items() if name.endswith(".html")}


def test_every_record_has_a_page_and_every_link_leads_somewhere(records, page):
    pages = html(page)
    assert {f"records/{record.run_id}.html" for record in records} < set(pages)
    for name, parsed in pages.items():
        for tag, attributes in parsed.tags:
            for key in ("href", "src"):
                link = attributes.get(key)
                if link and not link.startswith("#") and not (tag == "a" and link.startswith("https://")):
                    file = link.partition("#")[0]
                    target = (Path("/") / Path(name).parent / file).resolve().relative_to("/")
                    assert str(target) in page, f"{name}: <{tag}> leads to {link}"


def test_nothing_is_asked_of_anybody_outside(page):
    for name, parsed in html(page).items():
        for tag, attributes in parsed.tags:
            for key in ("href", "src", "srcset", "action"):
                outside = re.match(r"\s*([a-z]+:)?//", attributes.get(key) or "")
                assert tag == "a" or not outside, f"{name}: <{tag}> asks for {attributes[key]}"
        assert any("default-src 'none'" in (attributes.get("content") or "") for _, attributes in parsed.tags)
    for name in ("site.css", "site.js"):
        assert not re.search(r"url\(|@import|fetch\(|XMLHttp|import\(", str(page[name])), name


def test_boards_have_the_numbers_of_the_records(records, page):
    record = next(r for r in records if r.defense == "trades" and r.data == "mnist" and "white" in r.suite)
    assert record.worst_case is not None
    cell = f"{100 * record.worst_case.value:.1f}</span>"
    board = str(page["boards/mnist-linf-0.3.html"])
    row = board[board.index(">trades<") :].partition("</tr>")[0]
    link = row[row.index(f"records/{record.run_id}.html") :].partition("</a>")[0]
    assert cell in link and f"{100 * record.worst_case.low:.1f}–" in link
    assert f"{record.worst_case.count} of {record.worst_case.n}" in link


def test_a_board_begins_with_the_number_that_ranks_then_clean_then_suites(page):
    heads = [held for tag, held in html(page)[BOARD].tags if tag == "th" and held.get("scope") == "col"]
    columns = [held["data-column"] for held in heads if "data-column" in held]
    assert columns[:5] == ["rank", "defense", "ranked", "clean", "whitebox@1"]


def test_several_seeds_stand_as_mean_and_deviation_with_each_below(records, page):
    rows = [r for r in records if r.defense == "tla" and r.data == "mnist" and r.suite == "whitebox@1"]
    shares = [record.worst_case.value for record in rows]
    board = str(page[BOARD])
    (body,) = [body for body in board.split("<tbody") if ">tla<" in body]
    mean, *seeds = body.split("<tr")[1:]
    cell = mean.partition('data-column="whitebox@1"')[2].partition("</td>")[0]
    assert len(seeds) == len(rows) == 2 and "mean of 2 seeds" in mean
    assert f">{100 * statistics.mean(shares):.1f}<" in cell
    assert f"± {100 * statistics.stdev(shares):.1f}" in cell


def test_bold_is_what_is_not_worse_than_the_highest_beyond_chance(records, page):
    under = [r for r in records if r.data == "mnist" and r.eps == "0.3" and r.suite == "whitebox@1"]
    held = {record.run_id: worst_case_of(record) for record in under}
    first = max(held.values(), key=lambda kept: int(kept.sum()))
    p_values = {
        run: binomtest(int((first & ~kept).sum()), int((first ^ kept).sum()), 0.5).pvalue
        for run, kept in held.items()
        if (first ^ kept).any()
    }
    worse = set()  # Holm, step by step
    for step, run in enumerate(sorted(p_values, key=lambda run: p_values[run])):
        if p_values[run] * (len(under) - 1 - step) >= 0.05:
            break
        worse.add(run)
    cells = re.findall(r'data-column="whitebox@1".*?</td>', str(page[BOARD]))
    bold = {re.search(r"records/(\w+)\.html", cell)[1] for cell in cells if 'class="value best"' in cell}
    assert bold == set(held) - worse and len(worse) > 10


def test_what_was_not_run_says_what_runs_it_and_is_not_what_is_unknown(records):
    several = [r for r in records if r.data == "mnist" and r.eps == "0.3" and r.defense in ("mart", "ard")]
    left = [r for r in several if not (r.defense == "ard" and r.suite == "graybox@1")]
    failed = [
        dataclasses.replace(r, worst_case=None, robust_examples=None)
        if r.defense == "ard" and r.suite == "blackbox@1"
        else r
        for r in left
    ]
    page = html(site_files(failed))[BOARD]
    body = page.text.partition("Notes")[0]
    assert body.count("not run") == 1 and body.count("unknown") == 1
    (link,) = [a["href"] for tag, a in page.tags if tag == "a" and "not-run" in (a.get("href") or "")]
    assert any(a.get("id") == link[1:] for _, a in page.tags)
    told = page.text.partition("What was not run")[2]
    assert "ard (seed 0) under graybox@1" in told and "--defense ard --suite graybox --data mnist" in told


def test_every_row_of_a_board_can_be_cited(records, page):
    entries = str(page[BOARD.replace("html", "bib")])
    for paper in ("Theoretically Principled Trade-off", "Metric Learning for Adversarial Robustness"):
        assert paper in entries
    assert entries.count("@") == len(re.findall(r"^@\w+\{\w", entries, re.M)) > 10
    assert "metric learning, about 2022" in entries, "a paper that nobody noted stands as the record says it"
    cited = yaml_value("title")
    assert cited in str(page["about.html"]) and f"license = {{{yaml_value('license')}}}" in entries


def yaml_value(name: str) -> str:
    """A value of CITATION.cff, which repeats what the page says."""
    text = (BOARDS.parent / "CITATION.cff").read_text(encoding="utf-8")
    return re.search(rf'^{name}: "?(.*?)"?$', text, re.M)[1]


def test_downloads_are_the_board(records, page):
    group = [r for r in records if r.data == "mnist" and r.eps == "0.3"]
    stem = BOARD.removesuffix(".html")
    published = BOARDS / f"{Path(stem).name}.csv"
    assert page[f"{stem}.csv"] == published.read_text(encoding="utf-8")
    assert json.loads(page[f"{stem}.json"])["suites"][0] == "whitebox@1"
    assert r"\begin{tabular}" in page[f"{stem}.tex"] and group


def test_boards_with_more_behind_them_come_first(page):
    stems = re.findall(r'<li><a href="boards/(.*?)\.html"', str(page["index.html"]))
    assert stems == ["mnist-linf-0.3", "fashion_mnist-linf-0.1", "mnist-linf-0.15", "digits-linf-0.2"]
    assert str(page["rows.js"]).startswith('window.BENCH = {"mnist-linf-0.3"')


def test_papers_are_linked_and_published_numbers_told(records, page):
    record = next(r for r in records if r.defense == "trades" and r.data == "mnist")
    text = str(page[f"records/{record.run_id}.html"])
    assert 'href="https://arxiv.org/abs/1901.08573"' in text
    assert "95.6 % under PGD-1000" in text and "claimed by its authors" in text


def test_who_was_trained_at_another_radius_is_made_again_at_that_one(records, page):
    record = next(r for r in records if r.data == "mnist" and r.eps == "0.15")
    text = html(page)[f"records/{record.run_id}.html"].text
    command = next(line for line in text.splitlines() if "bench run" in line)
    assert "--eps 0.15" in command and "--train-eps 0.3" in command
    assert "four_minutes, trained at Linf 0.3" in text


def test_a_record_page_says_how_to_make_it_again():
    record = read_record(FINETUNED)
    page = site_files([record])
    text = html(page)[f"records/{record.run_id}.html"].text
    command = next(line for line in text.splitlines() if "bench run" in line)
    for part in ("--defense n_fgsm", "--eps 8/255", "--recipe finetune", "recipe.epochs=1", "--init FILE"):
        assert part in command
    assert f"git checkout {record.provenance.commit}" in text
    assert "--train-eps 8/255" in command
    assert record.training and record.training.sha256 in text
    assert json.loads(str(page[f"records/{record.run_id}.json"]))["run_id"] == record.run_id


def test_names_are_text_wherever_they_stand(records):
    check = Check("A5", "warn", HOSTILE, HOSTILE)
    bad = dataclasses.replace(
        records[0], defense=HOSTILE, paper=HOSTILE, reconstruction=HOSTILE, audit=(check,)
    )
    made = site_files([bad])
    for name, parsed in html(made).items():
        scripts = [attributes for tag, attributes in parsed.tags if tag == "script"]
        assert all("src" in attributes for attributes in scripts), name
    assert " ".join(HOSTILE.split()) in " ".join(html(made)[f"records/{bad.run_id}.html"].text.split())
    assert "</script" not in str(made["rows.js"])


def test_the_same_records_are_the_same_bytes_in_any_order(records, page):
    assert site_files(records[::-1]) == page


def test_no_record_is_a_page_that_says_so():
    made = site_files([])
    assert "There are no records here yet" in str(made["index.html"])


def test_a_page_replaces_an_earlier_one_and_leaves_what_is_not_its_own(records, tmp_path):
    out = tmp_path / "site"
    write_site(site_files(records[:3]), out)
    (out / "CNAME").write_text("mine", encoding="utf-8")
    write_site(site_files(records[:1]), out)
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert names == {*site_files(records[:1]), MANIFEST, "CNAME"}


@pytest.mark.parametrize("manifest", [None, "{", "3"])
def test_a_folder_that_is_not_a_page_is_left_alone(tmp_path, manifest):
    (tmp_path / "thesis.tex").write_text("years of work", encoding="utf-8")
    if manifest:
        (tmp_path / MANIFEST).write_text(manifest, encoding="utf-8")
    with pytest.raises(BadValue, match="expected"):
        write_site(site_files([]), tmp_path)
    assert (tmp_path / "thesis.tex").read_text(encoding="utf-8") == "years of work"
    assert not (tmp_path / "index.html").exists()


def test_a_manifest_cannot_reach_outside(tmp_path):
    outside = tmp_path / "precious"
    outside.write_text("x", encoding="utf-8")
    out = tmp_path / "site"
    out.mkdir()
    (out / MANIFEST).write_text(json.dumps(["../precious", str(outside), "old.html"]), encoding="utf-8")
    (out / "old.html").write_text("x", encoding="utf-8")
    write_site(site_files([]), out)
    assert outside.exists() and not (out / "old.html").exists()


def test_a_page_needs_no_torch(tmp_path):
    code = (
        "import sys; from bench.cli.site import site; "
        f"site.main([{str(BOARDS)!r}, '--out', {str(tmp_path / 's')!r}], standalone_mode=False); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
