"""`bench run --fail-under` and `--junit`: a gate for forges, also where a stored record answers."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from bench.records.record import Finding
from bench.report.junit import junit


@pytest.fixture
def run(bench, linear, linear_data, tmp_path):
    """`bench run` of the linear defense, whose worst case at 1/20 is known."""

    def call(*words):
        given = ["--data", linear_data, "--suite", "smoke", "--examples", "all", "--eps", "1/20"]
        return bench("run", "--defense", linear, *given, "--store", tmp_path / "runs", *words)

    return call


@pytest.fixture
def known(robust_count):
    """The worst case in percent, by the closed form."""
    return 100 * robust_count(1 / 20) / 120


def test_exits_with_3_below_the_point_estimate_and_with_0_at_it(run, known):
    below, at = f"{known + 0.01:.6f}", f"{int(known * 1e6) / 1e6}"
    told = run("--fail-under", below)
    assert told.code == 3 and told.out.splitlines()[-1].startswith(("worst case", "- "))
    assert f"is {known:.1f} [" in told.err and f"expected at least {float(below):g} %" in told.err
    assert run("--fail-under", at).code == 0
    again = run("--fail-under", below)
    assert again.code == 3 and "nothing was computed" in again.err, "also from the store"


@pytest.mark.parametrize("wrong", ["many", "101", "-1", "nan", "1/0"])
def test_a_percentage_that_is_none_is_one_sentence_and_the_hint_works(run, wrong):
    told = run(f"--fail-under={wrong}")
    assert told.code == 2 and told.out == ""
    assert told.err == (
        f"bench: --fail-under is {wrong!r}, expected a percentage from 0 to 100 of robust examples; "
        "try: --fail-under 40\n"
    )
    assert run("--fail-under", "40%").code in (0, 3)


def test_junit_has_a_case_for_each_column_and_fails_with_the_gate(run, known, tmp_path):
    path = tmp_path / "report.xml"
    assert run("--junit", path, "--fail-under", "100").code == 3
    suite = ET.parse(path).getroot()
    names = [case.get("name") for case in suite.iter("testcase")]
    assert names == ["noise", "fgsm", "pgd_10", "worst case"]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "1", "0")
    (failure,) = suite.iter("failure")
    assert f"{known:.1f} [" in failure.get("message") and "expected at least 100 %" in failure.text
    assert run("--junit", path).code == 0
    assert ET.parse(path).getroot().get("failures") == "0" and not list(ET.parse(path).iter("failure"))


def test_junit_goes_nowhere_before_anything_is_computed(run, tmp_path):
    (tmp_path / "file").write_text("")
    told = run("--junit", tmp_path / "file" / "report.xml")
    assert told.code == 2 and "cannot be written to" in told.err and "--junit FILE" in told.err
    assert not (tmp_path / "runs").exists()


def test_what_blocks_fails_what_failed_is_an_error_and_no_sign_breaks_the_file(make_record, make_trial):
    failed = make_trial("apgd_t", robust=None, error="\x1b[31mout of <memory> & more\x00")
    skipped = make_trial("adaptive", robust=None, skipped="no loss of its own")
    blocked = Finding("more-steps-help", "block", "50 steps leave 40.1 %")
    warned = Finding("weak-beats-strong", "warn", "only told")
    record = make_record(
        status="failed", columns=(make_trial(), failed, skipped), findings=(blocked, warned), defense="a<b"
    )
    suite = ET.fromstring(junit(record))
    assert suite.get("name") == "a<b under whitebox@1" and suite.find("properties/property").get("value")
    counts = [suite.get(name) for name in ("tests", "failures", "errors", "skipped")]
    assert counts == ["4", "1", "1", "1"]
    assert suite.find("testcase/error").get("message") == "?[31mout of <memory> & more?"
    assert suite.find("testcase/failure").text == "more-steps-help: 50 steps leave 40.1 %"
    assert suite.find("testcase[@name='pgd_20']/system-out").text.startswith("robust accuracy 45.1 [")
