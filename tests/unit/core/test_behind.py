"""What is behind a result is found from imports: every module counts, and where its file lies does not."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core import digest
from bench.core.behind import FIGURES, LEFT_OUT
from bench.core.digest import found_again, source_digests
from bench.core.succession import changed_modules
from bench.plan import Request, plan_run
from bench.runner.stale import study_sources
from bench.studies.table import NAMES, study

ROOT = Path(__file__).parents[3]
RUN = plan_run(Request("trades", data="digits", suite="whitebox"))
OWN = {"curve": {"axis": "eps"}, "detect": {}, "shift": {}, "transfer": {}, "diagnose": {}, "certify": {}}
"""What each study asks for besides names and a request."""


def behind(kind: str) -> dict[str, str]:
    """The code behind a training, a cell of a run, or a study of two networks."""
    if kind not in OWN:
        return source_digests(RUN.training.modules if kind == "training" else RUN.modules)
    request = Request("trades", data="digits")
    spec = study(kind).module("plan").plan(["trades", "standard"], request, **OWN[kind])[0]
    return study_sources(spec.modules)


BEHIND = {kind: behind(kind) for kind in ("training", "cell", *NAMES)}
EVERY = [
    (kind, module)
    for kind, found in BEHIND.items()
    for module in found
    if kind in ("training", "cell") or module not in BEHIND["cell"]  # the others are behind all of them
]


def changed_constant(source: str) -> str:
    """The source with its first constant changed, no docstring; where there is none, with one."""
    tree = ast.parse(source)
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        plain = isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str))
        if plain and id(node) not in texts:
            node.value = "another" if isinstance(node.value, str) else node.value + 1
            return ast.unparse(tree)
    return f"{source}\nADDED = 1\n"


@pytest.mark.parametrize(("kind", "module"), EVERY)
def test_a_changed_constant_moves_the_key(monkeypatch, kind, module):
    path, read = digest._source_path(module), digest._source
    monkeypatch.setattr(digest, "_source", lambda p: changed_constant(read(p)) if p == path else read(p))
    assert changed_modules(BEHIND[kind], behind(kind), randomized=True) == [module]


def test_studies_are_held_to_their_own_code_and_to_that_of_cells():
    assert {*OWN} == {*NAMES}
    for kind in NAMES:
        own = {*BEHIND[kind]} - {*BEHIND["cell"]}
        assert f"bench.studies.{kind}.measure" in own and "bench.core.metrics" in {*BEHIND[kind]}
        assert {"bench.evaluate.referee", "bench.runner.subject"} <= {*BEHIND[kind]}


LOADED = """
import json, sys
import {root}
from bench.data.load import load
from bench.plan import Request, plan_run
run = plan_run(Request("trades", data="digits", suite="whitebox"))
spec = run.training
net = spec.named.defense.build(load("digits").task(spec.architecture))
spec.named.defense.deploy(net)
print(json.dumps([name for name in sys.modules if name.partition(".")[0] in ("bench", "defenses")]))
"""


@pytest.mark.parametrize(
    ("kind", "root"), [("training", "bench.runner.weights"), ("cell", "bench.runner.columns")]
)
def test_whatever_python_loads_for_it_is_behind_it(kind, root):
    code = LOADED.format(root=root)
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {*json.loads(told.stdout.splitlines()[-1])} - {"bench", "defenses", *LEFT_OUT}
    assert root in loaded
    # the tables and the planning load suites, attacks and the undefended network, which no training reaches
    named = ("bench.suites.whitebox", "defenses.standard")
    planned = source_digests([*LEFT_OUT, *named], ("bench", "defenses"))
    assert loaded <= {*BEHIND[kind], *planned}


def test_tables_judges_and_figures_are_where_they_belong():
    cell = BEHIND["cell"]
    assert not {*LEFT_OUT} & {*cell}
    assert {"bench.evaluate.engine", "bench.evaluate.referee", "bench.runner.subject"} <= {*cell}
    assert {
        "bench.data.load",
        "bench.attacks.pgd",
        "bench.attacks.mi_fgsm",
        "defenses.trades",
        "bench.train.loop",
    } <= {*cell}
    figures = {*source_digests(FIGURES)} - {*cell}
    assert {"bench.core.metrics", "bench.evaluate.diagnostics", "bench.records.verdicts", *FIGURES} <= figures
    assert not [name for name in LEFT_OUT if digest._source_path(name) is None], "all there"


MOVES = {
    "bench.attacks.pgd": "bench.attacks.climbing.steps",  # others import it
    "bench.attacks.mi_fgsm": "bench.attacks.momentum",  # only tables name it
    "bench.evaluate.referee": "bench.judge",
    "defenses.trades": "defenses.of_others.trades",
    "bench.runner.columns": "bench.runner.players",
}


@pytest.mark.parametrize("module", MOVES)
def test_a_moved_file_changes_nothing(monkeypatch, tmp_path, module):
    for package in ("bench", "defenses"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    new = MOVES[module]
    target = tmp_path / (new.replace(".", "/") + ".py")
    target.parent.mkdir(exist_ok=True)
    (target.parent / "__init__.py").touch()
    shutil.move(tmp_path / (module.replace(".", "/") + ".py"), target)
    for path in tmp_path.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(module, new), encoding="utf-8")

    def there(name: str) -> Path | None:
        place = tmp_path / name.replace(".", "/")
        return next((p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()), None)

    monkeypatch.setattr(digest, "_source_path", there)
    now = source_digests([new if name == module else name for name in RUN.modules])
    assert module not in now and new in now
    assert {*now.values()} == {*BEHIND["cell"].values()}
    assert changed_modules(BEHIND["cell"], now, randomized=True) == []
    again = source_digests(found_again(BEHIND["cell"]))
    assert new in again and changed_modules(BEHIND["cell"], again, randomized=True) == []
