from __future__ import annotations

from bench.report.names import told_apart


def test_names_get_what_tells_them_apart_and_no_more() -> None:
    names = ["a", "a", "a", "b"]
    architectures, seeds = ["@x", "@x", "@y", "@z"], [" seed 0", " seed 1", " seed 0", " seed 5"]
    assert told_apart(names, architectures, seeds) == ["a@x seed 0", "a@x seed 1", "a@y", "b"]
    assert told_apart(["a", "a"], ["@x", "@x"]) == ["a", "a"]  # nothing differs
    assert told_apart([]) == []
