"""What is encoded is a name of a closed table; ids are those under which results were first published."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core import names
from bench.core.digest import content_id
from bench.core.encoding import decode, encode, kinds_in
from bench.core.imports import module_at
from bench.core.threat import Budget
from bench.errors import BadValue
from bench.evaluate.nearest import Nearest
from bench.evaluate.numerics import Numerics
from bench.plan import parse_defense
from bench.registry import ATTACKS, DEFENSES, SUITES
from bench.studies.shift.spatial import Grid
from bench.suites.detection import DETECTORS, Protocol
from bench.train.recipes import RECIPES

ROOT = Path(__file__).parents[3]
PUBLISHED = sorted(
    path
    for folder in ("leaderboards/records", "docs/records", "benchmarks/records")
    for path in (ROOT / folder).rglob("*.json")
)


def place(kind):
    return f"{kind.__module__}:{kind.__qualname__}"


def reachable():
    """Every value behind a name: what can be encoded without code of the user's own."""
    yield from ((f"attack/{name}", ATTACKS.get(name)) for name in ATTACKS.names())
    yield from ((f"defense/{name}", parse_defense(name, {}).defense) for name in DEFENSES.names())
    yield from ((f"defense/{name}", DEFENSES.get(name)) for name in ("hf:some/net", "robustbench:Standard"))
    yield from ((f"suite/{name}", SUITES.get(name)) for name in SUITES.names())
    yield from ((f"detector/{name}", found) for name, found in DETECTORS.items())
    yield from ((f"recipe/{number}", found) for number, found in enumerate(RECIPES.values()))
    yield "protocol", Protocol()
    yield "grid", Grid()
    yield "numerics", Numerics()
    yield "nearest", Nearest("fmn", ATTACKS.get("fmn"), SUITES.get("smoke").trials[0].knowledge)


VALUES = dict(reachable())


@pytest.mark.parametrize("name", VALUES)
def test_every_dataclass_behind_a_name_is_in_the_table_and_survives_json(name):
    value = VALUES[name]
    lacking = {place(kind) for kind in kinds_in(value)} - {*names.PLACES.values()}
    assert not lacking
    data = json.loads(json.dumps(encode(value)))
    assert decode(data) == value
    assert decode(names.as_published(data)) == value, "by its former names"
    assert content_id(data) == content_id(names.as_published(data))


@pytest.mark.parametrize("name", names.PLACES)
def test_every_place_is_where_a_frozen_dataclass_is_defined(name):
    module, _, attribute = names.PLACES[name].partition(":")
    kind = getattr(importlib.import_module(module), attribute)
    assert place(kind) == names.PLACES[name]
    assert dataclasses.is_dataclass(kind) and kind.__dataclass_params__.frozen


def test_the_tables_lead_one_way_and_back():
    assert len({*names.PLACES.values()}) == len(names.PLACES)
    assert {*names.FORMER.values()} <= {*names.PLACES}
    assert {*names.FORMER_LIBRARIES.values()} == {*names.LIBRARIES}
    for name, found in names.PLACES.items():
        assert names.name_at(found) == name and names.place_of(name) == found
    for name in ("torchattacks", "foolbox", "art", "advlib"):
        where = f"bench.attacks.others.{name}:Some"
        assert (
            names.name_at(where) == f"attack/{name}:Some" and names.place_of(f"attack/{name}:Some") == where
        )


@pytest.mark.parametrize(("kind", "table"), [("attack", ATTACKS), ("defense", DEFENSES)])
def test_a_class_has_the_name_that_it_is_registered_by(kind, table):
    classes = {table.location(name): name for name in table.names()}
    held = {where: name for name, where in names.PLACES.items() if name.startswith(f"{kind}/")}
    for where, name in classes.items():
        if where in held:
            assert held[where] == f"{kind}/{name}"
    assert {where for where in held if where not in classes} <= {
        "bench.attacks.others.autoattack:AutoAttackComponent",  # autoattack:NAME
        "defenses.agkd_bml:AgkdBmlInTables",  # agkd_bml_7 and agkd_bml_paper are its values
        "defenses.fast_at:FastAt",  # fast_at and n_fgsm are its values
    }


def test_another_librarys_attack_is_named_by_the_library():
    attack = ATTACKS.get("torchattacks:PGD")
    data = encode(attack)
    assert data["is"] == "attack/torchattacks:PGD" and decode(data) == attack
    assert decode({**data, "is": "bench.attacks.others.torchattacks:PGD"}) == attack


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_a_published_result_keeps_its_id(path):
    held = json.loads(path.read_text(encoding="utf-8"))
    if "spec" not in held:
        pytest.skip("a measurement of the machine")
    assert content_id(held["spec"]) == held.get("run_id", held.get("id"))
    used = set(_names_in(held["spec"]))
    assert used and all(names.place_of(name) for name in used)
    renamed = json.loads(json.dumps(held["spec"]), object_hook=_renamed)
    assert {names.current(name) for name in used} == {*_names_in(renamed)}
    former = names.as_published(renamed)
    assert renamed != former, "a spec holds no name that was ever changed"
    assert content_id(renamed) == content_id(former) == content_id(held["spec"])


def _names_in(data):
    if isinstance(data, dict):
        if "is" in data:
            yield data["is"]
        data = list(data.values())
    for item in data if isinstance(data, list) else ():
        yield from _names_in(item)


def _renamed(data):
    return {key: names.current(value) if key == "is" else value for key, value in data.items()}


HOSTILE = (
    "antigravity:x", "this:s", "os:system", "subprocess:Popen", "bench.core.names:PLACES",
    "bench.cli.main:main", "bench.attacks.pgd:PGD.__init__", "bench.core.imports:module_at",
    "bench.records.record:Record",
    "bench.attacks.others.torchattacks:Given", "bench.attacks.others.torchattacks:looked_up",
    "attack/torchattacks:__import__", "attack/nothing", "defenses.trades:Trades.fit", "builtins:eval",
    ":", "", "tests.conftest:x", "..:x", "os.path:join",
)  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_else_is_imported_or_made(name):
    importlib.import_module("bench.attacks.others.torchattacks")
    before = {*sys.modules}
    with pytest.raises(BadValue, match="expected") as raised:
        decode({"is": "suite", "name": "x", "version": 1, "trials": [{"is": name, "attack": ["ls"]}]})
    assert "\n" not in str(raised.value)
    assert {found.partition(".")[0] for found in {*sys.modules} - before} <= {"bench", "torchattacks"}
    if not name.startswith(("attack/", "bench.attacks.others")):
        assert "--code" in str(raised.value)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"is": "budget", "norm": "Linf", "eps": "1e999999999"}, "Budget.eps is '1e999999999'"),
        ({"is": "budget", "norm": "Linf", "eps": "1" * 5000}, "Budget.eps is '1111"),
        ({"is": "budget", "norm": "Linf"}, "Budget lacks eps"),
        ({"is": "budget", "norm": "L9", "eps": "1"}, "Budget.norm is 'L9'"),
        (
            {"is": "trial", "column": "x", "attack": {"is": "attack/pgd"}, "knowledge": {"is": "attack/pgd"}},
            "Trial.knowledge is a PGD, expected Knowledge",
        ),
    ],
)
def test_values_that_fit_no_field_are_one_sentence_and_take_no_time(data, told):
    with pytest.raises(BadValue) as raised:
        decode(data)
    assert str(raised.value).startswith(told) and len(str(raised.value)) < 400


def test_another_kind_than_is_asked_for_is_refused():
    with pytest.raises(BadValue, match="there is a PGD, expected a Budget"):
        decode({"is": "attack/pgd"}, kind=Budget)


def test_a_class_is_made_where_it_is_defined_and_nowhere_else():
    """`Told` and `Budget` are frozen dataclasses that these modules import."""
    for name in ("attack/torchattacks:Told", "bench.attacks.others.torchattacks:Given"):
        with pytest.raises(BadValue, match="no frozen dataclass"):
            decode({"is": name})


def test_the_current_folder_is_nobodys_plug_in(tmp_path):
    """Python puts the current folder first for `python -m`: what lies there must not be run."""
    (tmp_path / "antigravity_of_others.py").write_text("raise SystemExit('it ran')\n")
    info = tmp_path / "antigravity_of_others-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: antigravity-of-others\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[bench.defenses]\nown = antigravity_of_others:Own\n")
    (tmp_path / "click.py").write_text("raise SystemExit('it ran')\n")
    for words in (["--version"], ["show", "defense", "own"]):
        done = subprocess.run(
            [sys.executable, "-m", "bench", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert "it ran" not in done.stdout + done.stderr, words


@pytest.fixture
def forgotten():
    """Modules of a test's own files are dropped after it: other processes would look for the files, too."""
    before = {*sys.modules}
    yield
    for name in {"thin_net", "helper_of_thin_net", "plug_of_others"} - before:
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("forgotten")
def test_a_class_of_a_file_is_made_after_the_user_gave_the_file(tmp_path):
    file = tmp_path / "thin_net.py"
    file.write_text(
        "from dataclasses import dataclass\nimport helper_of_thin_net\n\n\n"
        "@dataclass(frozen=True)\nclass Thin:\n"
        "    part: helper_of_thin_net.Part = helper_of_thin_net.Part()\n\n\n"
        "@dataclass\nclass Soft:\n    width: int = 1\n\n\ndef call():\n    raise AssertionError\n"
    )
    (tmp_path / "helper_of_thin_net.py").write_text(
        "from dataclasses import dataclass\n\n\n@dataclass(frozen=True)\nclass Part:\n    width: int = 2\n"
    )
    data = {"is": "thin_net:Thin", "part": {"is": "helper_of_thin_net:Part", "width": 3}}
    with pytest.raises(BadValue, match=r"--code thin_net\.py"):
        decode(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        module = module_at(str(file), "a file")
        assert encode(decode(data)) == data, "the file, and what it imports of the user's own"
        for other in ("thin_net:Soft", "thin_net:call", "thin_net:dataclass", "thin_net:lacking"):
            with pytest.raises(BadValue, match="expected"):
                decode({"is": other})
    assert module.Thin


def test_a_record_names_no_function_that_the_user_did_not_give():
    data = encode(DEFENSES.get("loaded"))
    for factory in ("os:abort", "antigravity:fly", "/tmp/evil.py:make", "subprocess:Popen"):
        with pytest.raises(BadValue, match=r"code that you did not give.*--code"):
            decode({**data, "factory": factory})


@pytest.mark.usefixtures("forgotten")
def test_a_plug_in_of_an_installed_package_is_made(monkeypatch, tmp_path):
    (tmp_path / "plug_of_others.py").write_text(
        "from dataclasses import dataclass\n\n\n@dataclass(frozen=True)\nclass Own:\n    steps: int = 1\n"
    )
    info = tmp_path / "plug_of_others-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug-of-others\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[bench.attacks]\nown = plug_of_others:Own\n")
    monkeypatch.syspath_prepend(tmp_path)
    data = {"is": "plug_of_others:Own", "steps": 4}
    assert encode(decode(data)) == data
