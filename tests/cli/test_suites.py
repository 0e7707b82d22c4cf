"""`bench run --suite A,B`: one training, a run for each suite, one table with the worst case over all."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import click
import pandas as pd
import pytest

import bench as python
from bench.cli import main as commands
from bench.cli import options
from bench.cli.options import Once
from bench.cli.suites import require_one_ground
from bench.errors import BadValue, BenchError
from bench.records.reading import from_json

SUITES = "smoke,whitebox"


@pytest.fixture(scope="module")
def store(linear, linear_data, tmp_path_factory):
    """A store in which two suites are complete."""
    place = tmp_path_factory.mktemp("suites") / "runs"
    python.run(
        linear, data=linear_data, suite=SUITES, eps="1/10", examples="all", store=place, progress=False
    )
    return place


@pytest.fixture
def run(bench, linear, linear_data, store):
    """`bench run` of the linear defense, whose worst case at 1/10 is known."""

    def call(*words, suite=SUITES, defense=linear, eps="1/10", examples="all", store=store):
        given = ["--data", linear_data, "--eps", eps, "--store", store, "--suite", suite]
        given += ["--examples", examples] if examples else []
        return bench("run", "--defense", defense, *given, *words)

    return call


@pytest.fixture
def nothing_computed(monkeypatch):
    """No network may be opened."""
    monkeypatch.setattr("bench.runner.run.open_subject", None)


def refused(told, sentence):
    assert (told.code, told.out, told.err) == (2, "", f"bench: {sentence}\n")


def test_one_table_ends_with_the_worst_case_over_all(run, robust_count, nothing_computed):
    told = run()
    lines = told.out.splitlines()
    assert told.code == 0 and lines[0] == "linear_defense.py:Linear under smoke@1 and whitebox@2"
    sections = [line.split() for line in lines if line.startswith("worst case")]
    assert [words[2] for words in sections] == ["smoke@1", "whitebox@2", "all"]
    assert sections[-1][4] == f"{100 * robust_count(1 / 10) / 120:.1f}", "the closed form"
    assert f"- all suites: {robust_count(1 / 10)} of 120 examples hold against every column" in told.out


def test_each_suite_is_the_run_that_it_is_alone(run, store, nothing_computed):
    document = json.loads(run("--json").out)
    for suite, held in zip(SUITES.split(","), document["records"], strict=True):
        alone = run("--json", suite=suite)
        assert "is complete" in alone.err and json.loads(alone.out) == held
        assert (store / held["run_id"] / "record.json").read_text() == alone.out
    trained = {record["training"]["training_id"] for record in document["records"]}
    assert len(trained) == len(list(store.glob("models/*"))) == 1, "trained once"


def test_the_worst_case_over_all_is_that_of_the_examples(run, store, nothing_computed):
    document = json.loads(run("--json").out)
    rows = pd.concat(pd.read_csv(store / record["run_id"] / "examples.csv") for record in document["records"])
    assert len(rows) == 120 * sum(len(record["columns"]) for record in document["records"])
    held = (rows["clean"] == rows["labels"]) & (rows["attacked"] == rows["labels"])
    left = held.groupby(rows["ids"]).all()
    assert (document["worst_case"]["count"], document["worst_case"]["n"]) == (left.sum(), len(left))


def test_the_order_is_that_of_the_words_however_they_are_given(run, nothing_computed):
    whole = run("--json").out
    assert run("--suite", "whitebox", "--json", suite="smoke").out == whole
    assert run("--json", suite=" smoke , whitebox").out == whole
    other = json.loads(run("--json", suite="whitebox,smoke").out)
    assert other["suites"] == ["whitebox@2", "smoke@1"]
    assert other["worst_case"] == json.loads(whole)["worst_case"]


def test_the_gate_is_the_worst_case_over_all(run, robust_count, tmp_path, nothing_computed):
    known, path = 100 * robust_count(1 / 10) / 120, tmp_path / "report.xml"
    told = run("--fail-under", f"{known + 0.01:.6f}", "--junit", path)
    assert told.code == 3 and f"is {known:.1f} [" in told.err.splitlines()[-1]
    names = [case.get("name") for case in ET.parse(path).iter("testcase")]
    assert names[:4] == ["noise", "fgsm", "pgd_10", "worst case"] and names[-1] == "worst case"
    assert "apgd_t" in names and len(list(ET.parse(path).iter("failure"))) == 1
    assert run("--fail-under", f"{int(known * 1e6) / 1e6}").code == 0


def test_the_board_has_one_row_with_both(run, tmp_path, nothing_computed):
    assert run("--board", tmp_path / "boards").code == 0
    (table,) = (tmp_path / "boards").glob("*.csv")
    held = pd.read_csv(table, comment="#")
    assert len(held) == 1 and {"smoke@1", "whitebox@2"} <= {*held}


def test_what_was_interrupted_goes_on_after_the_suite_that_is_complete(run, tmp_path, monkeypatch):
    import bench.runner.run as runner

    opened = []

    def second_is_interrupted(spec, how):
        opened.append(spec.suite.id)
        if len(opened) == 2:
            raise KeyboardInterrupt
        return real(spec, how)

    real = runner.open_subject
    monkeypatch.setattr(runner, "open_subject", second_is_interrupted)
    words = {"store": tmp_path / "runs", "suite": SUITES}
    stopped = run(**words)
    assert stopped.code == 130 and stopped.out == "" and "suite 2 of 2: whitebox@2" in stopped.err
    again = run("--json", **words)
    assert again.code == 0 and opened == ["smoke@1", "whitebox@2", "whitebox@2"]
    assert again.err.count("is complete") == 1 and json.loads(again.out)["suites"] == opened[:2]


def test_what_blinds_one_suite_is_found_by_the_other(run, linear, robust_count, tmp_path):
    """Gradients of another layer: white-box attacks are led astray, a search on scores is not."""
    blind = f"{linear.rpartition(':')[0]}:Misled"
    words = {"defense": blind, "suite": "smoke,adaptive", "store": tmp_path / "runs"}
    document = json.loads(run("--json", "--no-evidence", **words).out)
    (finding,) = document["findings"]
    assert finding["code"] == "black-box-beats-white-box" and finding["detail"].startswith("square leaves")
    smoke, adaptive = (record["worst_case"]["count"] for record in document["records"])
    assert robust_count(1 / 10) <= document["worst_case"]["count"] <= adaptive < smoke
    assert "- warn: black-box-beats-white-box: square leaves" in run("--no-evidence", **words).out


@pytest.mark.parametrize(
    ("suite", "told"),
    [
        ("smoke,smoke", "--suite gives 'smoke' twice, expected every suite once; try: --suite smoke"),
        (
            "smoke,smoke@1",
            "--suite gives 'smoke' and 'smoke@1', which are one suite, expected every suite once; try: "
            "--suite smoke",
        ),
        ("smoke,whitebx", "no suite is named 'whitebx'; did you mean 'whitebox'?"),
        ("smoke,", "no suite is named ''; try: bench list suites"),
        (
            "smoke,whitebox@7",
            "there is no suite 'whitebox@7', this version of bench has whitebox@1, whitebox@2; ",
        ),
        (
            "smoke,detection",
            "the suite is 'detection', which has a command of its own, expected bench detect",
        ),
    ],
)
def test_a_suite_that_does_not_fit_is_told_before_anything_runs(suite, told, run, tmp_path):
    said = run(suite=suite, store=tmp_path / "runs")
    assert said.code == 2 and said.out == "" and said.err.startswith(f"bench: {told}")
    assert said.err.count("\n") == 1 and not (tmp_path / "runs").exists()


def test_suites_of_other_numbers_of_examples_are_refused_and_the_hint_works(run, tmp_path):
    sentence = (
        "smoke@1 is of 100 examples and whitebox@2 of 1,000 examples, expected one number for all suites"
    )
    refused(run(examples=None, store=tmp_path / "runs"), f"{sentence}; try: --examples 100")
    assert run(examples="100", store=tmp_path / "runs").code == 0


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (("graybox@1", "digits", None), "whitebox@2 is of 100 examples and graybox@1 of the whole test set"),
        (("graybox@1", "folder:x", 100), "whitebox@2 would attack digits and graybox@1 folder:x, because"),
    ],
)
def test_suites_share_images_or_are_refused(other, told):
    first = ("whitebox@2", "digits", 100)
    require_one_ground([first, ("blackbox@1", "digits", 100)])
    with pytest.raises(BadValue, match=told):
        require_one_ground([first, first, other])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--attack", "pgd"], "--suite is 'smoke' and --attack is 'pgd', expected one of them"),
        (["--knowledge", "twin"], "--knowledge is 'twin', but every trial of a suite states its own"),
        (["--set", "attack.pgd_10.steps=3"], "whitebox@2 has no column 'pgd_10'"),
        (["--surrogate", "standard@lenet"], "but no attacker of smoke@1 owns a surrogate"),
        (["--rerun", "--accept-stale"], "--rerun and --accept-stale contradict each other"),
    ],
)
def test_words_that_fit_one_suite_alone_are_one_sentence(words, told, run):
    said = run(*words)
    assert said.code == 2 and told in said.err and said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("run --defense pgd_at --defense trades", "--defense is given twice"),
        ("run --defense pgd_at --data digits --data mnist", "--data is given twice"),
        ("run --defense pgd_at --seed 0 --seed 0 --seed=1", "--seed is given 3 times"),
        ("run --defense pgd_at --examples 5 --suite smoke --examples 6", "--examples is given twice"),
        ("train --defense pgd_at --arch lenet --arch resnet18", "--arch is given twice"),
        ("transfer pgd_at trades --eps 0.1 --eps 0.2", "--eps is given twice"),
        ("board --store a --store b", "--store is given twice"),
        ("show record abc --store a --store b", "--store is given twice"),
        ("list runs --store a --store b", "--store is given twice"),
    ],
)
def test_an_option_given_twice_is_no_longer_forgotten(words, told, bench):
    refused(bench(*words.split()), f"{told}, expected it once; try: a command for each")


def test_flags_and_repeatable_options_may_be_given_again(bench):
    assert bench("list", "suites", "--json", "--json").code == 0
    told = bench("run", "--defense", "pgd_at", "--attack", "pgd", "--attack", "pgdd")
    assert "no attack is named 'pgdd'" in told.err


def test_every_command_refuses_an_option_given_twice():
    context = click.Context(commands.bench)

    def leaves(group):
        for name in group.list_commands(context):
            found = group.get_command(context, name)
            yield from leaves(found) if isinstance(found, click.Group) else [found]

    found = list(leaves(commands.bench))
    assert len(found) >= len(commands.COMMANDS)
    assert all(isinstance(command, Once) for command in found)


@pytest.mark.parametrize(
    "words",
    [
        "ablate agkd_bml --list",
        "compare a b",
        "import x.npy --defense a",
        "plot scatter runs --out x",
    ],
)
def test_commands_of_one_suite_say_who_takes_several(words, bench):
    refused(
        bench(*words.split(), "--suite", "whitebox, blackbox"),
        "--suite is 'whitebox, blackbox', expected one suite, because only `bench run` takes several; "
        "try: --suite whitebox",
    )


def test_python_has_them_as_one_result(linear, linear_data, store, run, nothing_computed):
    words = {"data": linear_data, "eps": "1/10", "examples": "all", "store": store, "progress": False}
    both = python.run(linear, suite=["smoke", "whitebox"], **words)
    assert [result.record.suite for result in both] == ["smoke@1", "whitebox@2"]
    document = json.loads(run("--json").out)
    assert vars(both.worst_case) == document["worst_case"]
    assert str(both) == repr(both) == run().out.rstrip("\n") + "\n" and "all suites" in both._repr_html_()
    assert {*both.frame()["suite"]} == {"smoke@1", "whitebox@2"}
    assert len(both.images) == 120 - both.worst_case.count and len({*both.images.ids}) == len(both.images)
    assert {column.partition(" ")[0] for column in both.images.columns} <= {"smoke@1", "whitebox@2"}
    assert str(python.run(linear, suite=SUITES, **words)) == str(both)
    assert len(python.run(linear, suite=["smoke"], **words)) == 1, "a list is a list, of one, too"
    assert python.run(linear, suite="smoke", **words).record == both[0].record
    assert "smoke@1" in str(python.board(both))
    with pytest.raises(BenchError, match="there are 2 results in the place of one"):
        python.compare(both, both)


def test_python_evaluates_a_network_under_several(arrays):
    import torch

    layer = torch.nn.Linear(16, 2)
    network = torch.nn.Sequential(torch.nn.Flatten(), layer)
    words = {"norm": "Linf", "eps": "1/10", "examples": 50, "progress": False}
    found = python.evaluate(network, arrays["x_test"], arrays["y_test"], suite=["smoke", "fast"], **words)
    assert [one.record.examples for one in found] == [50, 50]
    assert found.worst_case.count <= min(one.worst_case.count for one in found)
    with pytest.raises(BenchError, match="no suite is named 'fst'; did you mean 'fast'"):
        python.evaluate(network, arrays["x_test"], arrays["y_test"], suite="smoke,fst", **words)


def test_python_refuses_several_values_of_what_takes_one(linear, linear_data):
    with pytest.raises(BenchError, match="--seed is given twice, expected it once"):
        python.run(linear, data=linear_data, seed=[0, 1])


def test_a_record_is_read_from_the_document(run, nothing_computed):
    document = json.loads(run("--json").out)
    assert [from_json(json.dumps(record)).suite for record in document["records"]] == document["suites"]


def test_the_example_in_the_help_names_suites_that_are_there():
    from bench import registry

    (option,) = options.suite(lambda: None).__click_params__
    named = option.help.partition("one training: ")[2].partition(".")[0].split(",")
    assert len(named) == 3 and {*named} <= {*registry.SUITES.names()}
