"""Settings by data set: what authors have on MNIST, under a label that says so and can be typed again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest

from bench.errors import UnknownName
from bench.plan import Request, name_of, parse_defense, plan_training
from bench.records.claims import claim_of
from bench.records.labels import named_so
from bench.records.presets import PRESET, presets_of, usual_preset, without_preset
from bench.records.record import Record
from bench.registry import DEFENSES
from defenses.alp import Alp
from defenses.awp import Awp
from defenses.fast_at import FastAt
from defenses.pgd_at import PgdAt
from defenses.tla import Tla
from defenses.trades import Trades

STEPS = {"steps": 40, "step_size": Fraction(1, 30)}
RELEASED = {  # as their configurations for MNIST have them; 0.01 of 0.3 is 1/30
    "pgd_at": PgdAt(**STEPS),
    "trades": Trades(beta=1, **STEPS),
    "alp": Alp(**STEPS),
    "fast_at": FastAt(clip_start=False),
    "tla": Tla(
        positives="other",
        pool=50,
        margin=0.05,
        lam1=0.5,
        lam2=1e-4,
        label_smoothing=0.1,
        at="pgd_at",
        **STEPS,
    ),
}


@pytest.mark.parametrize(
    ("name", "data", "released"),
    [  # as the released code has them; Tiny ImageNet's 16/255 of ALP is the budget's, not the defense's
        ("alp", "tiny_imagenet", Alp(target="least_likely", step_size=Fraction(2, 16), label_smoothing=0.1)),
        ("tla", "tiny_imagenet", Tla(pool=20, margin=0.02, lam1=0.5, match=0.5, label_smoothing=0.1)),
        (
            "at_awp",
            "svhn",
            Awp(PgdAt(step_size=Fraction(1, 8), last_look=True), warmup=Fraction(5, 200), clean_forward=True),
        ),
    ],
)
def test_settings_for_larger_images_are_those_of_released_code(
    name: str, data: str, released: object
) -> None:
    named = parse_defense(name, {}, data)
    assert named.defense == released and named.label == f"{name}[preset={data}]"
    assert parse_defense(named.label, {}).defense == released
    assert parse_defense(name, {}).defense != released


@pytest.mark.parametrize("name", RELEASED)
def test_on_mnist_a_defense_has_its_authors_settings_for_mnist(name: str) -> None:
    named = parse_defense(name, {}, "mnist")
    assert named.defense == RELEASED[name] != DEFENSES.get(name)
    assert named.label == f"{name}[preset=mnist]"
    assert plan_training(Request(name, data="mnist")).named == named
    assert parse_defense(name, {}, "cifar10").defense == DEFENSES.get(name) == parse_defense(name, {}).defense


def test_every_preset_is_of_a_defense_changes_something_and_names_its_source() -> None:
    found = [preset for name in DEFENSES.names() for preset in presets_of(name)]
    assert len(found) == 16
    for preset in found:
        named = parse_defense(f"{preset.defense}[{PRESET}={preset.data}]", {})
        assert named.defense != parse_defense(preset.defense, {}).defense and preset.source


LABELS = [
    "trades",
    "trades[beta=3]",
    "trades[preset=none]",
    "trades[preset=none,steps=3]",
    "tla_rn",
    "awp",
    "awp[base=trades]",
    "ensemble",
    "ensemble[members=trades[beta=3]+mart]",
    "awp[base=trades[preset=none]]",
    "awp[base=pgd_at[preset=none]]",
    "awp[base=trades[preset=none,steps=3],gamma=0.005]",
    "awp[base=trades[preset=mnist,steps=10]]",
    "awp[base=trades[preset=none,beta=1,step_size=1/30,steps=40]]",
    "ensemble[members=trades[preset=none]+alp]",
    "jpeg[base=tla[preset=none,pool=50]]",
    "ard[teacher=trades[preset=none]]",
    "at_awp",
    "at_awp[base=pgd_at]",
]


@pytest.mark.parametrize("data", ["mnist", "fashion_mnist", "digits"])
@pytest.mark.parametrize("text", LABELS)
def test_a_label_typed_again_is_the_same_defense(text: str, data: str) -> None:
    named = parse_defense(text, {}, data)
    assert parse_defense(named.label, {}, data) == named
    if text != "trades[preset=none]" and data != "digits":
        assert parse_defense(named.label, {}).defense == named.defense, "wherever it is typed"


def test_data_that_no_source_has_settings_for_say_whose_they_take() -> None:
    assert usual_preset("trades", "fashion_mnist") == "mnist"
    assert parse_defense("trades", {}, "fashion_mnist").label == "trades[preset=mnist]"
    assert usual_preset("mart", "mnist") == "" == usual_preset("trades", "digits")


def test_what_is_typed_overrides_the_preset() -> None:
    named = parse_defense("trades[beta=3]", {"steps": "7"}, "mnist")
    assert named.defense == Trades(beta=3, steps=7, step_size=Fraction(1, 30))
    assert named.label == "trades[preset=mnist,beta=3.0,steps=7]"
    assert (
        parse_defense("awp[base=trades[steps=7]]", {}, "mnist").label
        == "awp[base=trades[preset=mnist,steps=7]]"
    )
    assert parse_defense("trades", {PRESET: "none"}, "mnist").defense == Trades()


def test_what_a_defense_is_made_of_and_requires_has_its_settings_too() -> None:
    inside = parse_defense("awp[base=trades]", {}, "mnist")
    assert inside.label == "awp[base=trades[preset=mnist]]"
    plain = parse_defense("awp[base=trades[preset=none]]", {}, "mnist")
    assert plain.label == "awp[base=trades[preset=none]]" and plain.defense.base == Trades()  # type: ignore[attr-defined]
    assert parse_defense("awp[base=trades[preset=none]]", {}, "cifar10").label == "awp[base=trades]"
    assert name_of(RELEASED["trades"]).label == "trades[preset=mnist]"
    teacher = plan_training(Request("ard", data="mnist")).parents[0][1].named
    assert teacher.defense == RELEASED["pgd_at"] and teacher.label == "pgd_at[preset=mnist]"


def test_a_preset_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(UnknownName, match="trades has no preset 'cifar', expected one of mnist, none"):
        parse_defense("trades[preset=cifar]", {})
    with pytest.raises(UnknownName, match="mart has no preset 'mnist'"):
        parse_defense("mart[preset=mnist]", {})


def test_published_numbers_and_names_find_it(make_record: Callable[..., Record]) -> None:
    record = make_record(data="mnist", norm="Linf", eps="3/10", reconstruction=None)
    ours = replace(record, defense="pgd_at[preset=mnist]")
    assert claim_of(ours) == claim_of(replace(record, defense="pgd_at")) is not None
    assert claim_of(replace(record, defense="pgd_at[preset=mnist,steps=7]")) is None
    other = replace(ours, data="fashion_mnist")
    assert named_so("pgd_at", [ours, other]) == [ours] and named_so(other.defense, [ours, other]) != []
    assert without_preset("pgd_at[preset=mnist]", "cifar10") == "pgd_at[preset=mnist]"
