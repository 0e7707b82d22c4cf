"""`bench sweep`: a product of runs, each what it is alone, and one table over their seeds."""

from __future__ import annotations

import dataclasses
import inspect
import io
import json
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch
from PIL import Image

import bench as python
from bench.cli.run import run as command_of_run
from bench.cli.sweep import DECIDING
from bench.cli.sweep import sweep as command
from bench.errors import BadValue
from bench.records.store import read_record
from bench.sweeps.axes import points_of
from bench.sweeps.file import blocks_of

ROOT = Path(__file__).parents[2]

FRAGILE = '''
"""A classifier that learns nothing, and whose training fails where it is told to."""
from dataclasses import dataclass
from torch import nn
from bench.api import Deployed
from bench.errors import BadValue
from bench.nn.architectures import network

@dataclass(frozen=True)
class Fragile:
    paper = "none"
    reconstruction = "all of it"
    fails: str = "no"
    @property
    def requires(self):
        return {}
    def build(self, task):
        return network(task)
    def fit(self, net, context):
        if self.fails == "sentence":
            raise BadValue("it was told to fail", "fails=no")
        if self.fails == "fault":
            raise ZeroDivisionError("it was told to break")
        if self.fails == "disk":
            raise OSError(28, "No space left on device")
    def deploy(self, net):
        return Deployed(net)
'''


@pytest.fixture
def sweep(bench, linear_data, tmp_path):
    """`bench sweep` of small images, in a store of this test."""

    def call(*words, store=tmp_path / "runs"):
        options = ["--data", linear_data, "--eps", "1/20", "--examples", "all"]
        from_file = any(str(word).endswith(".toml") for word in words)
        return bench("sweep", *words, *([] if from_file else options), "--store", store)

    return call


@pytest.fixture(scope="module")
def asked(linear, linear_data):
    """The words of Python for what `two` types."""
    return {
        "defense": [linear, f"{linear}[weights_seed=16]"],
        "suite": ["smoke", "adaptive"],
        "seed": [0, 1],
        "data": linear_data,
        "eps": 0.05,
        "examples": "all",
    }


@pytest.fixture(scope="module")
def whole(asked, tmp_path_factory):
    """A store in which that is complete."""
    place = tmp_path_factory.mktemp("sweep") / "runs"
    python.sweep(**asked, store=place, progress=False)
    return place


@pytest.fixture
def two(linear):
    """Two methods that differ in their weights, two suites, two seeds: eight runs of four trainings."""
    words = ["--defense", linear, "--defense", f"{linear}[weights_seed=16]", "--suite", "smoke,adaptive"]
    return [*words, "--seed", 0, "--seed", 1]


@pytest.fixture
def fragile(tmp_path):
    """The name of a defense whose training fails where it is told to."""
    path = tmp_path / "fragile.py"
    path.write_text(FRAGILE)
    return f"{path}:Fragile"


@pytest.fixture
def counted(monkeypatch):
    """The trainings that were done, and the runs that were opened, in order."""
    import bench.runner.run as runner
    import bench.runner.weights as weights

    done = {"trained": [], "opened": []}
    train, open_subject = weights.train, runner.open_subject

    def counting_train(*given, identity, **more):
        done["trained"].append(identity)
        return train(*given, identity=identity, **more)

    def counting_open(spec, how):
        done["opened"].append(spec.id)
        return open_subject(spec, how)

    monkeypatch.setattr(weights, "train", counting_train)
    monkeypatch.setattr(runner, "open_subject", counting_open)
    return done


def refused(told, sentence):
    assert (told.code, told.out, told.err) == (2, "", f"bench: {sentence}\n")


def test_the_product_is_run_and_each_shared_training_is_done_once(sweep, two, counted, tmp_path):
    told = sweep(*two, "--json")
    assert told.code == 0, told.err
    document = json.loads(told.out)
    held = [(run["defense"], run["seed"], run["suite"]) for run in document["runs"]]
    names = ["linear_defense.py:Linear", "linear_defense.py:Linear[weights_seed=16]"]
    suites = ["smoke@1", "adaptive@1"]
    assert held == [(name, seed, suite) for name in names for seed in (0, 1) for suite in suites]
    assert len(counted["trained"]) == len(set(counted["trained"])) == 4
    assert len(counted["opened"]) == len(list((tmp_path / "runs").glob("*/record.json"))) == 8
    assert "plan: 8 runs, 0 of them complete; 4 trainings, 4 to do, 4 of these for several runs" in told.err


def test_each_is_the_run_that_its_command_is_alone(sweep, two, bench, whole):
    for run in json.loads(sweep(*two, "--json", store=whole).out)["runs"]:
        words = shlex.split(run["command"])[1:]
        alone = bench(*words, "--json")
        assert alone.code == 0 and "nothing was computed" in alone.err
        assert json.loads(alone.out)["run_id"] == run["run_id"]


def test_mean_and_deviation_are_those_of_the_records(sweep, linear, tmp_path):
    """Seeds of a linear defense are alike, so its weights stand in for them: the truth is statistics'."""
    told = sweep("--defense", linear, "--suite", "smoke", "--seed", 0, "--seed", 1, "--json")
    (method,) = json.loads(told.out)["methods"]
    records = [read_record(path) for path in sorted((tmp_path / "runs").glob("*/record.json"))]
    values = sorted(record.worst_case.value for record in records)
    share = method["shares"]["smoke@1"]
    assert sorted(share["values"]) == values and share["n"] == 2
    assert share["mean"] == pytest.approx(statistics.mean(values))
    assert share["sd"] == pytest.approx(statistics.stdev(values))


def test_the_mean_of_seeds_that_differ(genuine):
    """From records that say 41.2, 45.1 and 38 %: by hand, a mean of 41.43 and a deviation of 3.56 points."""
    from bench.report.render import csv, markdown
    from bench.sweeps.runs import SweepRun
    from bench.sweeps.table import sweep_table

    records = [genuine(seed=seed, worst=worst) for seed, worst in enumerate((412, 451, 380))]
    runs = [
        SweepRun({"defense": "trades"}, "whitebox@2", r.seed, f"t{r.seed}", r.run_id, "bench run", r)
        for r in records
    ]
    values = [record.worst_case.value for record in records]
    table = sweep_table(runs)
    assert "41.4 ± 3.6" in markdown(table) and "mean of 3" in markdown(table)
    frame = pd.read_csv(io.StringIO(csv(table)))
    assert list(frame["seed"]) == ["mean of 3", "0", "1", "2"]
    assert frame["whitebox@2"][0] == pytest.approx(statistics.mean(values))
    assert frame["whitebox@2_sd"][0] == pytest.approx(statistics.stdev(values))
    assert frame["whitebox@2_sd"][1:].isna().all() and list(frame["whitebox@2"][1:]) == values
    alone = markdown(sweep_table(runs[:1]))
    assert "±" not in alone and "mean of" not in alone
    lost = SweepRun({"defense": "trades"}, "whitebox@2", 3, "t3", "r3", "bench run", failed="it diverged")
    assert "41.4 ± 3.6 (3 of 4)" in markdown(sweep_table([*runs, lost]))


def test_suites_of_other_numbers_of_examples_have_no_worst_case_in_common(genuine):
    from bench.report.render import markdown
    from bench.sweeps.runs import SweepRun
    from bench.sweeps.table import sweep_table

    one, other = genuine(suite="whitebox@1"), genuine(suite="blackbox@1")
    few = dataclasses.replace(other, examples=other.examples // 2)

    def told(*records):
        made = [
            SweepRun({"defense": "trades"}, record.suite, 0, "t", record.run_id, "bench run", record)
            for record in records
        ]
        return markdown(sweep_table(made))

    sentence = "suites attacked other numbers of examples; clean accuracy is that of the first"
    assert "all suites %" in told(one, other) and sentence not in told(one, other)
    assert "all suites %" not in told(one, few) and sentence in told(one, few)


def test_all_suites_are_judged_example_by_example(sweep, two, robust_count, whole):
    """The worst case over both suites is a closed form, as each suite's is."""
    document = json.loads(sweep(*two, "--json", store=whole).out)
    first = document["methods"][0]["shares"]
    assert set(first["all suites"]["values"]) == {round(robust_count(1 / 20) / 120, 6)}
    assert set(first["clean"]["values"]) == {1.0} and first["clean"]["sd"] == 0.0


def test_dry_run_computes_nothing_and_leaves_nothing(sweep, two, counted, tmp_path):
    told = sweep(*two, "--dry-run")
    assert told.code == 0 and told.out.count("to train and attack") == 8
    assert "- time: nothing like it was measured in this store yet, so there is no guess" in told.out
    assert "- to attack: " in told.out and counted == {"trained": [], "opened": []}
    assert not (tmp_path / "runs").exists()
    assert {run["state"] for run in json.loads(sweep(*two, "--dry-run", "--json").out)["runs"]} == {
        "to train and attack"
    }


def test_the_plan_guesses_by_what_was_measured_in_the_store(sweep, linear, tmp_path):
    words = ["--suite", "smoke", "--seed", 0, "--seed", 1]
    assert sweep("--defense", linear, *words).code == 0
    told = sweep("--defense", linear, *words, "--seed", 2, "--seed", 3, "--dry-run").out
    assert "- plan: 4 runs, 2 of them complete; 4 trainings, 2 to do, 0 of these for several runs" in told
    assert "- time: about " in told and "the like of which" not in told
    other = sweep("--defense", linear, "--defense", "standard", *words, "--dry-run").out
    assert "- to attack: 0 examples x columns, and 2 runs of whole test sets" in other


def test_the_guess_is_the_mean_of_what_was_measured(linear, linear_data, tmp_path):
    """Two trainings of 10 and 20 seconds, two runs of 3 and 5: a third seed takes their means."""
    from bench.cli.requests import as_options
    from bench.cli.sweep import planned_sweep
    from bench.cli.words import words_of
    from bench.records.seal import seal, sealed, unsealed
    from bench.sweeps.cost import cost_of

    store = tmp_path / "runs"
    given = {"data": linear_data, "eps": "1/20", "examples": "30", "suite": "smoke", "store": store}
    python.sweep(defense=linear, seed=[0, 1], progress=False, **given)
    for seconds, path in zip((10, 20), sorted(store.glob("models/*/training.json")), strict=True):
        path.write_text(sealed({**unsealed(json.loads(path.read_text())), "seconds": seconds}))
    for seconds, path in zip((3, 5), sorted(store.glob("*/record.json")), strict=True):
        held = json.loads(path.read_text())
        for column in held["columns"]:
            column["seconds"] = seconds / len(held["columns"])
        path.write_text(seal(json.dumps(held)))
    words = words_of(command, {**given, "defense": linear, "seed": [2], "examples": "60"})
    how = as_options(**words)
    cost = cost_of(planned_sweep(words, how), how.store)
    assert cost.training == pytest.approx(15), "the mean"
    assert cost.attacks == pytest.approx(4 * 60 / 30), "the mean, for twice the examples"
    assert (cost.queries, cost.unknown_trainings, cost.unknown_runs) == (60 * 3, 0, 0)


def test_what_was_stopped_goes_on_with_the_run_that_is_missing(sweep, two, counted, monkeypatch, tmp_path):
    import bench.runner.run as runner

    counting = runner.open_subject

    def third_is_interrupted(spec, how):
        if len(counted["opened"]) == 2:
            raise KeyboardInterrupt
        return counting(spec, how)

    with monkeypatch.context() as patch:
        patch.setattr(runner, "open_subject", third_is_interrupted)
        stopped = sweep(*two)
    assert stopped.code == 130 and stopped.out == "" and "the same command goes on" in stopped.err
    assert len(counted["opened"]) == 2 and len(counted["trained"]) == 4
    again = sweep(*two)
    assert again.code == 0 and len(counted["opened"]) == 8 and len(counted["trained"]) == 4
    assert "plan: 8 runs, 2 of them complete; 4 trainings, 0 to do" in again.err
    assert sweep(*two).out == again.out and len(counted["opened"]) == 8, "the store answers"


@pytest.mark.slow
def test_a_killed_sweep_loses_nothing(start, two, linear_data, tmp_path):
    words = ["sweep", *two, "--data", linear_data, "--eps", "1/20", "--store", tmp_path / "runs"]
    process = start(*words, "--examples", "all")
    for line in process.stderr:
        if line.startswith("job 7 of"):
            process.kill()
            break
    process.communicate()
    done = {path: path.read_bytes() for path in (tmp_path / "runs").glob("*/record.json")}
    assert done and process.returncode != 0
    out, err = (again := start(*words, "--examples", "all")).communicate()
    assert again.returncode == 0 and "sweep of 2 methods, 2 suites, 2 seeds" in out, err
    assert f"{len(done)} of them complete" in err
    assert all(path.read_bytes() == content for path, content in done.items())


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("sentence", "it was told to fail; try: fails=no"),
        ("fault", "ZeroDivisionError: it was told to break, in fragile.py, line 23"),
    ],
)
def test_a_training_that_fails_is_tried_once_and_stops_no_other(how, why, sweep, fragile, linear, counted):
    broken = f"{fragile}[fails={how}]"
    told = sweep("--defense", broken, "--defense", linear, "--suite", "smoke,adaptive", "--json")
    document = json.loads(told.out)
    assert told.code == 1 and document["failed"] == 2 and len(counted["trained"]) == 2
    assert [run["failed"] for run in document["runs"]] == [why, why, None, None]
    assert document["methods"][0]["shares"] == {
        "clean": None,
        "smoke@1": None,
        "adaptive@1": None,
        "all suites": None,
    }
    last = told.err.splitlines()[-4:]
    assert last[0] == "bench: 2 of 4 runs failed"
    assert last[1].startswith("bench: fragile.py:Fragile[") and f"{why}; alone: bench run " in last[1]
    assert last[3] == "bench: the same command tries them again, and them alone"


def test_a_device_that_is_not_there_is_told_once(sweep, two, tmp_path):
    told = sweep(*two, "--device", "cuda:99")
    assert told.code == 2 and told.out == "" and not (tmp_path / "runs").exists()
    assert told.err.splitlines()[-1].startswith("bench: the device 'cuda:99' is not available here")
    assert "job 1" not in told.err


def test_a_full_disk_stops_the_sweep(sweep, fragile, linear, counted):
    told = sweep("--defense", f"{fragile}[fails=disk]", "--defense", linear, "--suite", "smoke")
    assert told.code == 2 and told.err.splitlines()[-1].startswith("bench: the disk is full")
    assert len(counted["trained"]) == 1


def test_a_run_without_a_worst_case_is_a_failure(sweep, linear, tmp_path, monkeypatch):
    """A column that breaks leaves a record without a worst case, which is in no mean."""
    from bench.attacks.fgsm import FGSM

    def broken(*_):
        raise RuntimeError("no more")

    monkeypatch.setattr(FGSM, "__call__", broken)
    told = sweep("--defense", linear, "--suite", "smoke")
    assert told.code == 1 and "fgsm: RuntimeError: no more" in told.err.splitlines()[-2]
    assert "smoke@1, seed 0 failed, and counts in no mean: fgsm" in told.out


FILE = """
data = "{data}"
eps = ["1/20", "1/10"]
examples = "all"
seed = [0, 1]

[[sweep]]
defense = "{linear}"
suite = "smoke"

[[sweep]]
defense = "{linear}[weights_seed=16]"
suite = ["smoke", "adaptive"]
eps = 0.05
[sweep.set]
attack.pgd_10.steps = 3
suite.chunk = [50, 60]
"""


def test_a_file_holds_several_products(sweep, linear, linear_data, tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(FILE.format(data=linear_data, linear=linear).replace('["smoke", "adaptive"]', '"smoke"'))
    told = sweep(path, "--json", "--out", tmp_path / "tables")
    document = json.loads(told.out)
    assert told.code == 0 and len(document["runs"]) == 2 * 2 + 2 * 2
    assert [(m["eps"], m.get("suite.chunk")) for m in document["methods"]] == [
        ("0.05", None),
        ("0.1", None),
        ("0.05", "50"),
        ("0.05", "60"),
    ]
    assert json.loads((tmp_path / "tables" / "sweep.json").read_text()) == document
    frame = pd.read_csv(tmp_path / "tables" / "sweep.csv")
    assert len(frame) == 4 * 3 and {"eps", "suite.chunk", "smoke@1_sd"} <= {*frame.columns}
    written = (tmp_path / "tables" / "sweep.md").read_text()
    assert "custom, so not what is published under that name: smoke@1" in written
    assert sweep(path, "--format", "markdown").out == written


def test_a_setting_that_one_suite_has_not_is_told_with_its_block(sweep, linear, linear_data, tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(FILE.format(data=linear_data, linear=linear))
    told = sweep(path)
    assert told.code == 2 and told.err.startswith(
        "bench: study.toml, [[sweep]] 2: adaptive@1 has no column 'pgd_10'"
    )
    assert not (tmp_path / "runs").exists(), "all is planned before anything is computed"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('defence = "x"', "study.toml: a sweep has no key 'defence'; did you mean 'defense'?"),
        ("seed = 0", "study.toml: there is no defense, expected at least one; try: bench list defenses"),
        (
            'defense = "standard"\nseed = []',
            "study.toml: seed is an empty list, expected at least one value",
        ),
        (
            'defense = ["standard", "standard"]',
            "study.toml: defense has 'standard' twice, expected every value once",
        ),
        (
            'defense = "standard"\nseed = [true]',
            "study.toml: seed holds True, expected a list of texts and numbers",
        ),
        (
            'defense = "standard"\nexamples = [5]',
            "study.toml: examples is a list, expected one value, the same for all runs of a block",
        ),
        (
            'defense = "standard"\nset = 3',
            "study.toml: set is 3, expected a table of overrides; try: [set] with recipe.epochs = 3",
        ),
        (
            '[[sweep]]\ndefense = "standrad"',
            "study.toml, [[sweep]] 1: no defense is named 'standrad'; did you mean 'standard'?",
        ),
        (
            'defense = "standard"\nsuite = "smoke,fast"',
            "study.toml: suite holds 'smoke,fast', expected a list of suites; try: suite = "
            '["smoke", "fast"]',
        ),
        (
            'defense = "standard"\nsuite = ["smoke", "smoke@1"]',
            "study.toml: standard under smoke@1, seed 0 is there twice (suite smoke and smoke@1), expected "
            "every run once",
        ),
        (
            'seed = 0\n[[sweep]]\ndefense = "standard"\n[[sweep]]\ndefense = ["trades", "standard"]',
            "study.toml, [[sweep]] 1 and study.toml, [[sweep]] 2: standard under fast@2, seed 0 is there "
            "twice (the same words), expected every run once",
        ),
        (
            'defense = "standard"\neps = "a lot"',
            "study.toml: --eps is 'a lot', expected a radius of at least 0 in pixel units under Linf, such "
            "as 8/255; try: --eps 8/255",
        ),
        (
            'defense = "loaded"\nrandomized = 1',
            "study.toml: randomized is 1, expected true or false; try: randomized = true",
        ),
        (
            "sweep = 3",
            "study.toml: sweep holds no tables, expected blocks, each below [[sweep]]",
        ),
    ],
)
def test_mistakes_in_a_file_are_one_sentence_with_the_place(text, told, bench, tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(text)
    refused(bench("sweep", path, "--store", tmp_path / "runs"), told)
    assert not (tmp_path / "runs").exists()


def test_what_is_no_file_of_axes_is_one_sentence(bench, tmp_path):
    path = tmp_path / "study.toml"
    path.write_text("defense = [")
    told = bench("sweep", path)
    assert told.code == 2 and "study.toml' cannot be read as TOML (" in told.err
    gone = bench("sweep", tmp_path / "gone.toml")
    assert gone.code == 2 and "(No such file or directory)" in gone.err and gone.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "there is no defense, expected at least one; try: bench list defenses"),
        (
            ["--defense", "trades", "--defense", "trades"],
            "defense has 'trades' twice, expected every value once",
        ),
        (["--defense", "trades", "--seed", "x"], "invalid value for '--seed'"),
        (
            ["--defense", "trades", "--examples", 5, "--examples", 6],
            "--examples is given twice, expected it once",
        ),
        (
            ["--defense", "trades", "--set", "recipe.epochs=3", "--set", "recipe.epochs=4"],
            "--set gives recipe.epochs twice, '3' and '4', expected it once",
        ),
        (["s.toml", "--seed", 1], "--seed is typed, but 's.toml' says what runs, expected it there"),
        (
            ["--defense", "trades", "--suite", "smoke,smokey"],
            "no suite is named 'smokey'; did you mean 'smoke'?",
        ),
        (["--defense", "trades", "--rerun", "--accept-stale"], "--rerun and --accept-stale contradict"),
    ],
)
def test_words_that_are_no_product_are_refused(words, told, bench, tmp_path):
    said = bench("sweep", *words, "--store", tmp_path / "runs")
    assert said.code == 2 and said.err.startswith(f"bench: {told}") and said.err.count("\n") == 1


def test_mistakes_in_names_are_told_without_torch(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text('defense = ["standard", "trdes"]')
    code = (
        "import sys\nfrom bench.cli.main import main\ntry:\n"
        f"    main(['sweep', {str(path)!r}])\nfinally:\n    print('torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert told.returncode == 2 and told.stdout == "False\n"
    assert told.stderr == "bench: study.toml: no defense is named 'trdes'; did you mean 'trades'?\n"


def test_a_product_without_end_is_refused_before_it_is_made():
    block = {"defense": "standard", "seed": list(range(200)), "eps": [one / 1000 for one in range(51)]}
    with pytest.raises(BadValue, match="there are 10,200 runs, expected at most 10,000"):
        points_of(block)


def test_keys_before_the_blocks_hold_for_all_and_overrides_are_merged():
    text = {
        "seed": [0, 1],
        "set": {"recipe": {"epochs": 3}, "defense": {"beta": 1.0}},
        "sweep": [{"defense": "a", "seed": 5}, {"defense": "b", "set": {"recipe": {"epochs": [4, 5]}}}],
    }
    (first, one), (second, two) = blocks_of(text, "s.toml")
    assert (first, second) == ("s.toml, [[sweep]] 1", "s.toml, [[sweep]] 2")
    assert [point.words for point in points_of(one)] == [
        {"defense": "a", "seed": "5", "settings": ("recipe.epochs=3", "defense.beta=1.0")}
    ]
    assert [point.words["settings"][0] for point in points_of(two)] == [
        *["recipe.epochs=4"] * 2,
        *["recipe.epochs=5"] * 2,
    ]


def test_from_python_the_same(sweep, two, whole, asked):
    told = sweep(*two, store=whole)
    results = python.sweep(**asked, store=whole, progress=False)
    assert str(results) == told.out and len(results) == 8 and results.failures == {}
    assert {result.record.suite for result in results} == {"smoke@1", "adaptive@1"}
    assert len(results.table.frame()) == 2 * 3


def test_a_dry_run_in_python_has_the_plan_of_the_command_and_computes_nothing(
    sweep, two, whole, asked, counted, tmp_path
):
    told = sweep(*two, "--dry-run")
    dry = python.sweep(**asked, store=tmp_path / "runs", dry_run=True, progress=False)
    assert len(dry) == 0 and dry.runs == () and str(dry) == told.out
    assert {row["state"] for _, row in dry.plan.frame().iterrows()} == {"to train and attack"}
    assert counted == {"trained": [], "opened": []} and not (tmp_path / "runs").exists()
    done = python.sweep(**asked, store=whole, progress=False)
    assert len(done) == 8 and set(done.plan.frame()["state"]) == {"complete"}


def test_networks_of_others_are_rows_beside_a_defense(bench, linear, linear_data, tmp_path):
    """Two files of weights for one factory: each run is the one that its words are alone."""
    for number in (1, 2):
        weights = {"1.weight": torch.full((2, 16), float(number)), "1.bias": torch.zeros(2)}
        safetensors.torch.save_file(weights, tmp_path / f"{number}.safetensors")
    (tmp_path / "theirs.py").write_text(THEIRS)
    (tmp_path / "study.toml").write_text(OF_OTHERS.format(data=linear_data, linear=linear, place=tmp_path))
    store = ["--store", tmp_path / "runs"]
    told = bench("sweep", tmp_path / "study.toml", *store, "--json")
    assert told.code == 0, told.err
    runs = json.loads(told.out)["runs"]
    names = [run["defense"] for run in runs]
    assert names[:2] == ["mine", "mine"] and names[2] != names[4] and len({*names}) == 4
    assert [run["suite"] for run in runs] == ["smoke@1", "adaptive@1"] * 4
    assert "plan: 8 runs, 0 of them complete; 1 training, 1 to do" in told.err
    for run in runs[:6:2]:
        alone = bench(*shlex.split(run["command"])[1:], "--json")
        assert alone.code == 0 and json.loads(alone.out)["run_id"] == run["run_id"]
        assert "nothing was computed" in alone.err or "is complete" in alone.err


THEIRS = """
from torch import nn

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
"""

OF_OTHERS = """
data = "{data}"
eps = "1/20"
suite = ["smoke", "adaptive"]
examples = 40

[[sweep]]
defense = "loaded"
checkpoint = "{place}/1.safetensors"
factory = "{place}/theirs.py:make"
label = "mine"

[[sweep]]
defense = "loaded"
checkpoint = "{place}/2.safetensors"
factory = "{place}/theirs.py:make"

[[sweep]]
defense = "loaded"
checkpoint = "{place}/2.safetensors"
factory = "{place}/theirs.py:make"
normalize = "0.5/0.5"
randomized = true

[[sweep]]
defense = "{linear}"
"""


def test_failures_in_python_are_listed(fragile, linear_data, tmp_path):
    results = python.sweep(
        defense=f"{fragile}[fails=sentence]", suite="smoke", data=linear_data, store=tmp_path, progress=False
    )
    assert len(results) == 0
    assert list(results.failures.values()) == ["it was told to fail; try: fails=no"]


def test_every_option_of_the_command_is_a_word_of_python():
    signature = inspect.signature(python.sweep).parameters
    options = {option.name for option in command.params} - {"shape", "out", "as_json"}
    assert {*signature} - {"progress"} == options
    assert not any(signature[name].default for name in options), "the default is the command's"


def test_every_word_that_decides_is_one_of_run():
    """So a sweep of one point is a run, and nothing is said in two ways."""
    of_run = {option.name for option in command_of_run.params}
    assert {*DECIDING} <= of_run
    own = {option.name for option in command.params} - of_run
    assert own == {"file", "dry_run", "shape", "out"}


def test_the_sweep_of_the_first_look_at_mnist_has_each_defense_with_its_own_settings(sweep):
    told = json.loads(sweep(ROOT / "leaderboards" / "first-look-mnist.toml", "--dry-run", "--json").out)
    labels = {run["defense"] for run in told["runs"]}
    own = {"pgd_at", "trades", "alp", "aalp", "tla"}
    assert labels == {f"{name}[preset=mnist]" for name in own} | {
        *("standard", "mart", "agkd_bml", "fdml", "dbp")
    }
    assert len(told["runs"]) == 20


@pytest.mark.parametrize("board", ["mnist", "fashion_mnist", "cifar10-jpeg"])
def test_the_sweeps_of_the_boards_hold_the_six_methods_twice_and_can_be_planned(
    board, sweep, tmp_path, monkeypatch
):
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            place = tmp_path / "cifar10-jpeg" / part / name
            place.mkdir(parents=True)
            Image.new("RGB", (32, 32)).save(place / "one.png")
    monkeypatch.chdir(tmp_path)
    told = json.loads(sweep(ROOT / "leaderboards" / f"{board}.toml", "--dry-run", "--json").out)
    seeds = {}
    for run in told["runs"]:
        seeds.setdefault(run["defense"].partition("[")[0], set()).add(run["seed"])
    assert {name for name, found in seeds.items() if len(found) == 2} == {
        *("agkd_bml", "alp", "aalp", "tla", "fdml", "dbp")
    }
    assert {"standard", "pgd_at", "trades", "mart", "awp"} <= {*seeds}
    owing = {run["defense"] for run in told["runs"] if run["suite"] == "adaptive@1"}
    assert any(name.startswith("dbp") for name in owing)
