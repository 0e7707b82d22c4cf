"""The page on what agrees with the authors' code: made from its table, which the tests bear out."""

import csv
from pathlib import Path

from bench.records.beside import rows
from bench.registry import DEFENSES
from bench.report.fidelity import AGREEMENTS, PARTS, page

ROOT = Path(__file__).parents[3]


def test_the_page_is_made_from_the_table():
    assert (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8") == page()


def test_every_method_has_every_part_once_and_words_of_the_legend():
    found = rows("fidelity.csv")
    names = list(dict.fromkeys(row["defense"] for row in found))
    assert names == sorted(names) and set(names) <= set(DEFENSES.names())
    assert [(row["defense"], row["part"]) for row in found] == [
        (name, part) for name in names for part in PARTS
    ]
    for row in found:
        assert row["agreement"] in AGREEMENTS
        assert row["told"] or row["agreement"] != "differs", "what differs is told"


def test_every_class_that_trains_by_a_paper_is_in_it():
    modules = {DEFENSES.location(row["defense"]).partition(":")[0] for row in rows("fidelity.csv")}
    every = {DEFENSES.location(name).partition(":")[0] for name in DEFENSES.names()}
    assert every - modules == {"defenses.standard", "defenses.ensemble", "defenses.loaded"}


def test_reconstructions_are_guesses_and_nothing_else_has_a_guessed_loss():
    for row in rows("fidelity.csv"):
        if row["part"] == "loss" and row["defense"] != "clp":  # whose weight alone was chosen by others
            guessed = DEFENSES.get(row["defense"]).reconstruction is not None
            assert (row["agreement"] == "guess") == guessed, row["defense"]


def test_what_is_said_to_be_held_is_held():
    text = (ROOT / "tests" / "unit" / "defenses" / "released.csv").read_text(encoding="utf-8")
    parts = {
        "labels": "loss",
        "transport": "gradient",
        "perturbed weights": "loss",
        "inner attack as it trains": "inner attack",
        "running statistics": "BatchNorm",
    }
    held = {
        (row["defense"], parts.get(row["part"], row["part"]).removesuffix(" on MNIST"))
        for row in csv.DictReader(text.splitlines())
    }
    # the batch's statistics are held, and the running ones differ, as the page says
    held.remove(("score", "BatchNorm"))
    said = {(row["defense"], row["part"]) for row in rows("fidelity.csv") if row["agreement"] == "held"}
    assert said == held
