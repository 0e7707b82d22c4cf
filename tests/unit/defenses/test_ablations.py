"""Every stated ablation is of a real field, changes the method, and is no other row's twin."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

import defenses.ablations
from bench.core.encoding import encode
from bench.data.catalog import source
from bench.errors import UnknownName
from bench.plan import Request, parse_defense, plan_run
from bench.registry import DEFENSES, ablations

ROWS = [
    pytest.param(name, label, fields, id=f"{name}: {label}")
    for name, parts in defenses.ablations.ABLATIONS.items()
    for rows in parts.values()
    for label, fields in rows.items()
]
NAMES = list(defenses.ablations.ABLATIONS)


@pytest.mark.parametrize("name", NAMES)
def test_rows_differ_from_the_method_and_from_each_other(name):
    full = parse_defense(name, {}).defense
    seen = {str(encode(full)): "the method itself"}
    for param in ROWS:
        of, label, fields = param.values
        if of != name:
            continue
        found = parse_defense(name, fields).defense
        assert str(encode(found)) not in seen, f"{label} is {seen[str(encode(found))]}"
        seen[str(encode(found))] = label
        for field in fields:  # none of several is idle
            assert getattr(found, field) != getattr(full, field), (label, field)


@pytest.mark.parametrize("name, label, fields", ROWS)
def test_rows_can_be_planned_with_all_that_they_require(name, label, fields):
    spec = plan_run(Request(name, suite="smoke", settings={"defense": fields}))
    full = plan_run(Request(name, suite="smoke"))
    assert spec.training.id != full.training.id
    assert replace(spec, training=full.training) == full, "nothing but the training differs"
    assert spec.training.named.label.startswith(f"{name}[")
    assert source(spec.training.data).name == "digits"


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_names(name):
    parts = defenses.ablations.ABLATIONS[name]
    labels = [label for rows in parts.values() for label in rows]
    assert len(set(labels)) == len(labels)
    assert not set(labels) & set(parts), "a label that is a part would be chosen with it"
    assert all(rows for rows in parts.values())
    assert all(label == label.strip() and label for label in labels)


def test_the_six_papers_are_there_and_the_table_is_sorted():
    assert sorted(NAMES) == NAMES
    assert {"aalp", "agkd_bml", "alp", "dbp", "fdml", "tla"} < set(NAMES)
    assert set(NAMES) <= set(DEFENSES.names())


def test_no_label_is_stated_twice_and_nothing_is_imported():
    tree = ast.parse(Path(defenses.ablations.__file__).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
            assert len(set(keys)) == len(keys), keys
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"__future__", "collections.abc"}


def test_the_registry_finds_them_by_name_only():
    assert ablations("agkd_bml") is defenses.ablations.ABLATIONS["agkd_bml"]
    with pytest.raises(UnknownName, match=r"'agkd_bm'; did you mean 'agkd_bml'\?$"):
        ablations("agkd_bm")
