"""docs/quickstart.ipynb runs from top to bottom, as a notebook would, and shows tables."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import torch

NOTEBOOK = Path(__file__).parent.parent / "docs" / "quickstart.ipynb"


def played(source: str, names: dict[str, Any]) -> Any:
    """A cell in the notebook's namespace; gives what its last expression, if it ends with one, is worth."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(NOTEBOOK), "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)


def test_a_table_is_text_in_a_notebook_too(monkeypatch):
    from bench.report.render import Table, TableColumn, terminal

    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("rich.jupyter.display", lambda *_: None)
    assert "plain" in terminal(Table("t", (TableColumn("name", "name"),), (("plain",),)))


def test_every_cell_runs_and_results_are_shown_as_tables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] for cell in cells if cell["cell_type"] == "code"), "kept without outputs"
    with torch.random.fork_rng():
        shown = [played(source, names) for source in sources]
    assert sum("<table>" in one._repr_html_() for one in shown if hasattr(one, "_repr_html_")) == 5
    result, other = names["result"], names["other"]
    assert result.record.clean.value > 0.8 and other.worst_case.value > result.worst_case.value
    assert not list(tmp_path.iterdir()), "nothing is stored unasked"
