"""The page in a real browser: sort, filter, open, compare, by mouse and keyboard, on a desk and a phone."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from bench.core.bitmap import packed
from bench.publish import read_records
from bench.records.record import Interval, Record, Verdicts
from bench.report.exchange import Published
from bench.site.pages import site_files, write_site

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("needs Chromium", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api")

BOARDS = Path(__file__).parents[2] / "leaderboards"
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
BOARD = "boards/mnist-linf-0.3.html"
FIRST_ROWS = 'tbody tr:not(.seed) td[data-column="clean"] .value'
HELD = np.random.default_rng(0).random((2, 500)) < np.array([[0.8], [0.7]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    records = {record.run_id: record for record in read_records(BOARDS)}
    for run_id, held in zip(("3e88280e118b", "41e30e9f4da1"), HELD, strict=True):
        records[run_id] = with_verdicts(records[run_id], held)
    write_site(site_files(list(records.values())), folder)
    return folder


def with_verdicts(record: Record, held: np.ndarray) -> Record:
    share = Interval(float(held.mean()), 0.0, 1.0, int(held.sum()), len(held))
    return dataclasses.replace(
        record, worst_case=share, robust_examples=Verdicts("same", packed(held), packed(held))
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield opened
        opened.close()


@pytest.fixture
def visit(browser, site):
    """Opens a page of the site; afterwards nothing was said on the console and nothing asked outside."""
    contexts, said, asked = [], [], []

    def open_(path: str, width: int = 1280, height: int = 900, scheme: str = "light"):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"file://{site}/{path}")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert said == [] and all(url.startswith("file://") for url in asked)


def rows_in_sight(page) -> int:
    return page.locator("tbody tr[data-key]:visible").count()


def defenses(page) -> list[str]:
    """What stands for each method in sight."""
    return page.locator("tbody tr:not(.seed):visible th[scope=row] .defense").all_inner_texts()


def test_sort_by_any_column(visit):
    page = visit(BOARD)
    first = defenses(page)
    assert len(first) == 26 and page.locator("tr.seed").count() == 12
    head = page.locator('th[data-column="clean"]')
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    values = [float(text) for text in page.locator(FIRST_ROWS).all_inner_texts()]
    assert values == sorted(values, reverse=True)
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    values = [float(text) for text in page.locator(FIRST_ROWS).all_inner_texts()]
    assert values == sorted(values)
    page.locator('th[data-column="defense"] button').click()
    assert defenses(page) == sorted(first) and page.locator("th[aria-sort]").count() == 1
    seeds = page.locator("tbody:has(.seed)").first.locator("tr").count()
    assert seeds == 3, "the rows of seeds stay below their method"
    page.locator('th[data-column="rank"] button').click()
    assert page.locator('td[data-column="rank"]').first.inner_text() == "1"


def test_filter_by_text_findings_and_suite(visit):
    page = visit(BOARD)
    page.keyboard.press("/")
    page.keyboard.type("dbp_")
    shown = defenses(page)
    assert len(shown) == 4 and all(name.startswith("dbp_") for name in shown)
    assert "#q=dbp_" in page.url
    page.reload()
    assert len(defenses(page)) == 4, "the address brings the filter back"
    assert page.locator("[data-shown]").inner_text() == "4 of 32 rows"
    page.keyboard.press("/")
    page.keyboard.press("Escape")
    assert len(defenses(page)) == 26
    page.get_by_label("Findings").select_option("some")
    some = rows_in_sight(page)
    page.get_by_label("Findings").select_option("none")
    assert rows_in_sight(page) == 32 - some
    page.get_by_label("Suites").select_option("graybox@1")
    assert page.locator('td[data-column="graybox@1"]:visible').count() > 0
    assert page.locator('td[data-column="whitebox@1"]:visible').count() == 0
    assert page.locator('td[data-column="forwards"]:visible').count() == 0
    page.get_by_label("costs").check()
    assert page.locator('td[data-column="forwards"]:visible').count() > 0


def test_open_a_record_and_come_back(visit):
    page = visit(BOARD)
    page.locator("tbody:has-text('tla') .seed a.defense").first.click()
    assert page.locator("h1").inner_text().startswith("tla under")
    page.get_by_role("link", name="mnist, Linf 0.3, 500 examples").click()
    assert page.locator("h1").inner_text() == "mnist, Linf 0.3, 500 examples"
    page.locator("[data-go]").select_option(label="digits, Linf 0.2, 360 examples")
    page.wait_for_url(re.compile("digits-linf-0.2.html"))


def test_compare_two_rows_with_the_test_that_scipy_gives(visit):
    page = visit(BOARD)
    page.get_by_label("Compare trades").check()
    assert page.get_by_role("link", name="Compare").get_attribute("aria-disabled") == "true"
    page.get_by_label("Compare pgd_at", exact=True).check()
    page.get_by_role("link", name="Compare").click()
    page.wait_for_url(re.compile("compare.html#.+/.+/.+"))
    sentences = page.locator(".sentence").all_inner_texts()
    won, lost = int((HELD[0] & ~HELD[1]).sum()), int((HELD[1] & ~HELD[0]).sum())
    p = binomtest(won, won + lost, 0.5).pvalue
    told = f"trades keeps {won} of 500 examples that pgd_at loses, and loses {lost} that it keeps"
    (tested,) = [text for text in sentences if told in text]
    assert f"p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}" in tested
    assert page.locator(".scroll table").count() == 2
    page.get_by_label("Second").select_option(label="trades")
    (same,) = [text for text in page.locator(".sentence").all_inner_texts() if "graybox@1" in text]
    assert "keeps 0 of 500" in same and "p = 1.000: no significant difference" in same


def theirs(name: str, robust: float, clean: float, link: str = "https://example.org/paper") -> Published:
    return Published(
        name,
        f"Title of {name}",
        "A. Author",
        "Venue 2020",
        link,
        "CNN",
        "mnist",
        "Linf",
        "0.3",
        clean,
        robust,
        None,
    )


@pytest.fixture(scope="module")
def with_theirs(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("published")
    others = [theirs("Strong2020", 99.0, 99.5), theirs("Weak2019", 1.0, 90.0, "javascript:alert(1)")]
    write_site(site_files(read_records(BOARDS), published=others), folder)
    return str(folder)


def test_published_rows_stay_below_and_are_never_tested_against_ours(visit, with_theirs):
    page = visit(f"../{Path(with_theirs).name}/{BOARD}")
    names = page.locator("tbody th[scope=row]").all_inner_texts()
    assert len(names) == 40 and {name.split()[0] for name in names[-2:]} == {"Strong2020", "Weak2019"}
    for column in ("clean", "defense", "lowest", "rank"):
        for _ in range(2):
            page.locator(f'th[data-column="{column}"] button').click()
            last = page.locator("tbody th[scope=row]").all_inner_texts()[-2:]
            assert {name.split()[0] for name in last} == {"Strong2020", "Weak2019"}, column
    assert page.locator('.published td[data-column="rank"]').all_inner_texts() == ["", ""]
    assert page.locator('.published a[href^="javascript"]').count() == 0
    rows = page.locator("[data-filter-origin]")
    rows.select_option("published")
    assert page.locator("[data-shown]").inner_text() == "2 of 34 rows"
    rows.select_option("measured")
    assert page.locator("tbody.published tr:visible").count() == 0
    rows.select_option("")
    page.get_by_label("Compare trades").check()
    page.get_by_label("Compare Strong2020 (published)").check()
    page.get_by_role("link", name="Compare").click()
    page.wait_for_url(re.compile("compare.html#.+/.+/.+"))
    (told,) = page.locator(".sentence").all_inner_texts()
    assert (
        "not measured by the same hand, so no difference is tested" in told and "Title of Strong2020" in told
    )
    assert "McNemar" not in page.locator("[data-comparison]").inner_text()
    lowest = (
        page.locator("[data-comparison] tr", has_text="lowest that is known").locator("td").all_inner_texts()
    )
    assert lowest[1:] == ["82.0", "99.0", "–"]


def test_an_address_says_how_a_board_is_sorted_and_filtered(visit):
    page = visit(f"{BOARD}#sort=clean.ascending&suites=fast@1&findings=some")
    head = page.locator('th[data-column="clean"]')
    assert head.get_attribute("aria-sort") == "ascending"
    assert page.locator('td[data-column="whitebox@1"]:visible').count() == 0
    assert rows_in_sight(page) < 32
    values = [float(text) for text in page.locator(FIRST_ROWS).all_inner_texts()]
    assert values == sorted(values)


def test_side_by_side_opens_with_the_first_two_of_the_largest_board(visit):
    first, second = defenses(visit(BOARD))[:2]
    page = visit("compare.html")
    assert page.locator('[data-side="a"] option:checked').inner_text() == first
    assert page.locator('[data-side="b"] option:checked').inner_text() == second
    assert f"{first} keeps" in page.locator("[data-comparison]").inner_text()


def test_a_phone_has_a_card_for_each_row_with_the_ranking_number_first(visit):
    page = visit(BOARD, width=390, height=844)
    card = page.locator("tbody tr").first
    boxes = {
        name: card.locator(f'[data-column="{name}"]').bounding_box() for name in ("ranked", "clean", "fast@1")
    }
    assert boxes["ranked"]["y"] < boxes["clean"]["y"] < boxes["fast@1"]["y"]
    assert boxes["ranked"]["x"] < 60 and card.bounding_box()["width"] <= 390
    page.get_by_label("Sort by").select_option("clean")
    values = [float(text) for text in page.locator(FIRST_ROWS).all_inner_texts()]
    assert values == sorted(values, reverse=True)


def test_a_desk_shows_every_column_without_scrolling(visit):
    page = visit(BOARD, width=1440)
    assert page.evaluate("(s => s.scrollWidth <= s.clientWidth)(document.querySelector('.scroll'))")


def test_everything_can_be_reached_by_keyboard(visit):
    page = visit(BOARD)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.tagName + ' ' + (document.activeElement.type || '')")
        )
    assert {"A ", "SELECT select-one", "INPUT search", "BUTTON button", "INPUT checkbox"} <= reached


@pytest.mark.parametrize(
    "path", ["index.html", BOARD, "records/3e88280e118b.html", "compare.html", "about.html"]
)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_down_only(visit, path, scheme):
    page = visit(path, width=390, height=844, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_light_and_dark_have_contrast_and_can_be_switched(visit):
    page = visit("index.html", scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_role("button", name="Switch between light and dark").click()
    light = page.evaluate(ground)
    assert light == "rgb(255, 255, 255)" != dark
    for scheme in ("light", "dark"):
        shown = visit(BOARD, scheme=scheme)
        colours = [
            shown.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()")
            for name in ("ground", "raised", "ink", "soft", "link", "warn", "block", "good")
        ]
        for text in colours[2:]:
            assert min(contrast(text, behind) for behind in colours[:2]) >= 4.5, (scheme, text)


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
