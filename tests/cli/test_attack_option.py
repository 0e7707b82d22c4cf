"""`bench run --attack NAME`, `bench show attack NAME`, `bench list attacks`: any attack as a column."""

from __future__ import annotations

import json

import pytest

from bench.records.reading import from_json


@pytest.fixture
def run(bench, linear, linear_data, tmp_path):
    """`bench run` of the linear defense in a store of this test; answers in a moment."""

    def call(*words, eps="1/20"):
        given = ["--data", linear_data, "--examples", "all", "--store", tmp_path / "runs"]
        return bench("run", "--defense", linear, *words, usual=[*given, "--eps", eps])

    return call


def test_columns_of_ours_and_theirs_reach_the_closed_form(run, robust_count):
    pytest.importorskip("foolbox")
    names = ["pgd", "torchattacks:PGD", "foolbox:LinfPGD", "autoattack:apgd-ce"]
    settings = ["--set", "attack.torchattacks_pgd.alpha=1/100", "--set", "attack.torchattacks_pgd.steps=40"]
    told = run("--json", *settings, *[word for name in names for word in ("--attack", name)])
    record = from_json(told.out)
    assert told.code == 0 and record.status == "complete"
    assert record.suite == "attacks@1" and record.custom
    columns = {column.name: column for column in record.columns}
    assert list(columns) == ["pgd", "torchattacks_pgd", "foolbox_linfpgd", "autoattack_apgd_ce"]
    assert columns["torchattacks_pgd"].attack == "torchattacks.PGD(alpha=1/100, steps=40, random_start=True)"
    assert {column.robust.count for column in columns.values()} == {robust_count(1 / 20)}
    assert record.worst_case.count == robust_count(1 / 20)


def test_a_step_made_for_another_eps_is_told_with_one_that_fits(run):
    told = run("--attack", "torchattacks:BIM")
    sentence = next(line for line in told.err.splitlines() if "pixel units" in line)
    assert "alpha is 2/255" in sentence and "for eps 8/255" in sentence
    fitting = ["--set", "attack.torchattacks_bim.alpha=1/80"]  # a quarter of 1/20, as theirs is of 8/255
    assert sentence.endswith(" ".join(fitting))
    assert "pixel units" not in run("--attack", "torchattacks:BIM", eps="8/255").err
    assert "pixel units" not in run("--attack", "torchattacks:BIM", *fitting).err


def test_knowledge_chooses_what_they_see(run):
    few = ["--set", "attack.square.queries=30", "--set", "attack.torchattacks_square.n_queries=30"]
    attacks = ["--attack", "square", "--attack", "torchattacks:Square"]
    told = run("--json", *attacks, *few, "--knowledge", "scores")
    assert {column.knowledge for column in from_json(told.out).columns} == {"black-box, logits"}


def test_decisions_are_one_hot_for_foolbox_and_their_number_is_kept(run):
    pytest.importorskip("foolbox")
    attack = "foolbox:LinearSearchBlendedUniformNoiseAttack"
    column = "attack.foolbox_linearsearchblendeduniformnoiseattack"
    few = ["--set", f"{column}.directions=5", "--set", f"{column}.steps=20"]
    told = run("--json", "--attack", attack, *few, "--knowledge", "decisions")
    (column,) = from_json(told.out).columns
    assert told.code == 0 and column.knowledge == "black-box, labels" and 0 < column.forwards <= 5000


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--attack", "pgd", "--suite", "smoke"], "--suite is 'smoke' and --attack is 'pgd', expected one"),
        (["--attack", "pdg"], "did you mean 'pgd'?"),
        (["--attack", "torchatack:PGD"], "did you mean 'torchattacks:PGD'?"),
        (["--attack", "torchattacks:PDG"], "did you mean 'torchattacks:PGD'?"),
        (["--attack", "torchattacks:PGDL2"], "has L2, but the budget's norm is Linf"),
        (
            ["--attack", "torchattacks:PGD", "--norm", "L2", "--eps", "1"],
            "has Linf, but the budget's norm is L2",
        ),
        (["--attack", "torchattacks:LGV"], "needs trainloader"),
        (["--attack", "pgd", "--attack", "pgd"], "the column pgd twice"),
        (["--attack", "pgd", "--set", "attack.pdg.steps=3"], "did you mean 'pgd'?"),
        (["--attack", "pgd", "--knowledge", "score"], "did you mean 'scores'?"),
        (["--attack", "pgd", "--knowledge", "scores"], "pgd needs gradients, but --knowledge gives scores"),
        (["--attack", "square", "--knowledge", "decisions"], "square needs scores"),
        (["--attack", "torchattacks:PGD", "--knowledge", "decisions"], "needs gradients"),
        (["--suite", "smoke", "--knowledge", "scores"], "expected it with --attack"),
        (
            ["--attack", "torchattacks:PGD", "--set", "attack.torchattacks_pgd.stepz=3"],
            "did you mean 'steps'?",
        ),
        (["--attack", "pgd", "--surrogate", "standard"], "expected a suite that transfers"),
    ],
)
def test_mistakes_are_one_sentence_before_anything_is_computed(run, tmp_path, words, told):
    said = run(*words)
    assert said.code == 2 and said.out == ""
    assert told in said.err and said.err.count("\n") == 1 and "Traceback" not in said.err
    assert not list((tmp_path / "runs").glob("*/cells"))


def test_show_attack_lists_fields_with_defaults(bench):
    out = bench("show", "attack", "torchattacks:PGD").out
    assert (
        "alpha = 2/255" in out and "pixel units, no share of eps: the library's choice for eps 8/255" in out
    )
    assert "--set attack.torchattacks_pgd.NAME=VALUE" in out and "needs:    gradients" in out
    out = bench("show", "attack", "pgd").out
    assert "step_size = 1/4" in out and "of eps" in out and "--set attack.pgd.NAME=VALUE" in out
    told = json.loads(bench("show", "attack", "torchattacks:OnePixel", "--json").out)
    assert told["needs"] == "scores" and told["norms"] == "L0" and "refused" not in told
    assert {"name": "steps", "type": "int", "value": 10}.items() <= told["fields"][1].items()


def test_list_attacks_says_what_each_needs_and_what_to_install(bench):
    entries = {entry["name"]: entry for entry in json.loads(bench("list", "attacks", "--json").out)}
    assert entries["pgd"]["needs"] == "gradients" and entries["square"]["needs"] == "scores"
    assert entries["hop_skip_jump"]["needs"] == "labels"
    assert entries["foolbox:NAME"]["extra"] == "foolbox"
    assert "pip install 'robust-bench-harness[art]'" in entries["art:NAME"]["summary"]


def test_list_attacks_of_one_library(bench):
    entries = json.loads(bench("list", "attacks", "--backend", "torchattacks", "--json").out)
    named = {entry["name"]: entry for entry in entries}
    assert named["torchattacks:CW"]["norms"] == "L2" and "L0" in named["torchattacks:JSMA"]["summary"]
    told = bench("list", "attacks", "--backend", "torchatacks")
    assert told.code == 2 and "did you mean 'torchattacks'?" in told.err
    assert bench("list", "suites", "--all").code == 2
