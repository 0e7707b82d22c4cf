"""Studies: every result that is no run, one row each; nothing of a study is imported before it is asked for.

A study is a folder, `bench/studies/<name>/`, of six modules:

    row.py       STUDY, the row: names, words and figures; imports nothing heavy
    command.py   OPTIONS, the options of its own; its docstring is the command's help
    plan.py      plan(names, request, **own) -> specs, one for each result
    measure.py   Measure(spec, options), which loads networks, computes cells, and sums them up
    record.py    RECORD, SCHEMA, UPGRADES, contradictions(found) and summary(found): what is kept; imports no
                 torch
    report.py    tables(found), write(found, folder), and what draws its figures; imports no torch

`bench.studies.compute.compute` does the rest for all of them: what is stored, whether it is stale, what is
left to compute and by whom, provenance, and writing.
"""

from __future__ import annotations

from importlib import import_module

from bench.studies.study import Study

NAMES = ("transfer", "curve", "detect", "shift", "diagnose", "certify")
"""Each the name of a command and of a folder here, in the order in which help lists them."""


def study(name: str) -> Study:
    """The row of a study; KeyError for a name that is none.

    >>> study("curve").folder
    'curves'
    """
    if name not in NAMES:
        raise KeyError(name)
    found: Study = import_module(f"bench.studies.{name}.row").STUDY
    return found


def studies() -> tuple[Study, ...]:
    """All rows."""
    return tuple(map(study, NAMES))
