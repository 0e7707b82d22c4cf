"""Which changes of code leave results fresh: those that are written down, digest by digest, and no others."""

from __future__ import annotations

import pytest

from bench.core.succession import SUCCESSIONS, Succession, changed_modules

STEPS = (
    Succession(
        "room for norms", "weights are equal", {"a": ("1", "2"), "new": (None, "7"), "old": ("5", None)}
    ),
    Succession("more room", "equal weights", {"a": ("2", "3"), "new": ("7", "8")}),
)


@pytest.mark.parametrize(
    ("then", "now", "changed"),
    [
        ({"a": "1", "old": "5"}, {"a": "3", "new": "8"}, []),  # through both steps
        ({"a": "2", "new": "7"}, {"a": "3", "new": "8"}, []),  # made between them
        ({"a": "1"}, {"a": "2"}, []),  # the code as it was between them
        ({"a": "1"}, {"a": "4"}, ["a"]),  # edited since
        ({"a": "3"}, {"a": "1"}, ["a"]),  # a succession leads one way
        ({"a": "1", "b": "1"}, {"a": "3", "b": "2"}, ["b"]),
        ({"a": "1"}, {"a": "3", "newer": "9"}, ["newer"]),  # came to it, and nobody wrote that down
        ({"a": "1"}, {"a": "3", "moved": "8"}, []),  # what came to it was moved since
        ({"a": "1", "b": "5"}, {"there": "5", "else": "1"}, []),  # both were moved
        ({"a": "1"}, {"moved": "2"}, []),  # moved after the step
        ({"a": "9", "bench.plan": "1"}, {"a": "9", "bench.plan": "2"}, []),  # it only names
        ({"a": "1", "b": "2"}, {"a": "1"}, ["b"]),  # no content may go
        ({"a": "3"}, {"a": "3", "new": "9"}, ["new"]),
        ({"a": "3", "old": "6"}, {"a": "3"}, ["old"]),  # not the digest that may go
        ({}, {}, []),
    ],
)
def test_only_what_is_written_down_is_the_same(then, now, changed):
    assert changed_modules(then, now, STEPS) == changed


def test_every_succession_says_what_changed_and_how_it_was_shown():
    for step in SUCCESSIONS:
        assert step.change and step.shown and step.digests
        for module, (before, after) in step.digests.items():
            assert before != after, f"{module} did not change"


def test_a_change_of_randomized_verdicts_leaves_results_on_randomized_defenses_stale():
    step = Succession("votes", "cells of deterministic runs", {"referee": ("1", "2")}, of_randomized=False)
    assert changed_modules({"referee": "1"}, {"referee": "2"}, [step]) == []
    assert changed_modules({"referee": "1"}, {"referee": "2"}, [step], randomized=True) == ["referee"]
