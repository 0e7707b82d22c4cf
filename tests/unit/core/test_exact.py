"""Numbers are exact, and no text of a few letters becomes one of gigabytes."""

from __future__ import annotations

from fractions import Fraction

import pytest

from bench.attacks.pgd import PGD
from bench.core.encoding import override
from bench.core.exact import LARGEST, exact, whole
from bench.core.threat import WHITE_BOX, Budget, Norm, parse_eps
from bench.errors import BadValue


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8/255", Fraction(8, 255)),
        (" 0.3 ", Fraction(3, 10)),
        ("1e-3", Fraction(1, 1000)),
        ("-2.5E2", Fraction(-250)),
        (".5", Fraction(1, 2)),
        ("5.", Fraction(5)),
    ],
)
def test_what_people_type(text, value):
    assert exact(text) == value == Fraction(text)


@pytest.mark.parametrize(
    "text",
    ["1e99999", "1e999999999", "8/0", "1/3/5", "nan", "inf", "-Infinity", "", " ", "٣", "²", "1_000", "0x10",
     "8 / 255", "1,5", "8/255\n9", "1" * 401, "½", "1e", "e5", "--1", "1j"],
)  # fmt: skip
def test_everything_else_is_refused_at_once(text):
    with pytest.raises(ValueError):
        exact(text)
    with pytest.raises(BadValue, match="expected a number"):
        parse_eps(text)


@pytest.mark.parametrize("text", ["٣", "-1", "1.5", "", "1" * 5000, "1_000", "²", str(LARGEST + 1)])
def test_whole_numbers(text):
    assert whole(str(LARGEST)) == LARGEST
    with pytest.raises(ValueError):
        whole(text)


@pytest.mark.parametrize("text", ["1e400", "1e8", "1e-31", "1e-400"])
def test_a_radius_is_neither_endless_nor_nothing(text):
    with pytest.raises(BadValue, match=r"eps is (more than 10,000,000|above 0 and below 1e-30)"):
        parse_eps(text)
    with pytest.raises(BadValue, match=r"eps is (more than|above 0 and below)"):
        Budget(Norm.L2, Fraction(text))


def test_a_radius_of_nothing_and_the_largest_one_are_radii():
    assert parse_eps("0") == 0 and parse_eps("1e7") == 10**7 and float(parse_eps("1e-30")) > 0


@pytest.mark.parametrize("text", ["1e999999999", "1e99999", "9" * 5000])
def test_a_field_takes_no_endless_number(text):
    with pytest.raises(BadValue, match="step_size"):
        override(PGD(), {"step_size": text})
    with pytest.raises(BadValue, match="max_queries"):
        override(WHITE_BOX, {"max_queries": text})


def test_a_field_takes_no_number_that_no_file_holds():
    with pytest.raises(BadValue, match="steps is '99999999999999999999'"):
        override(PGD(), {"steps": "99999999999999999999"})
    assert override(PGD(), {"steps": str(LARGEST)}).steps == LARGEST
