"""`--track`: a tracker is told what the store holds, and nothing that it does changes or stops the work."""

from __future__ import annotations

import csv
import json
import sys

import pytest

TRACKER = """
import json, pathlib, time

class Listener:
    def __init__(self, place):
        self.at, _, self.bad = place.partition("!")

    def _note(self, call, work=None, *held):
        if call == self.bad:
            raise OSError("the disk is full")
        if call + "?" == self.bad:
            time.sleep(60)
        told = {"call": call, "kind": work and work.kind, "id": work and work.id, "held": held}
        told |= {"facts": dict(work.facts), "spec": json.loads(work.spec)} if call == "begin" else {}
        with open(self.at, "a") as file:
            file.write(json.dumps(told) + "\\n")

    def begin(self, work):
        self._note("begin", work)

    def figures(self, work, step, values):
        self._note("figures", work, step, dict(values))

    def end(self, work, values, texts):
        self._note("end", work, dict(values), dict(texts))

    def close(self):
        self._note("close")
"""


@pytest.fixture
def listener(tmp_path, monkeypatch):
    """A tracker of another package's, named `listener`, that notes in a file what it is told."""
    place = tmp_path / "site"
    info = place / "listener-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: listener\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[bench.trackers]\nlistener = listener_of_others:Listener\n")
    (place / "listener_of_others.py").write_text(TRACKER)
    monkeypatch.syspath_prepend(str(place))
    return tmp_path / "told.jsonl"


@pytest.fixture
def words(linear, linear_data):
    """A run of six chunks, of a network that is drawn in a moment."""
    words = ["run", "--defense", linear, "--data", linear_data, "--examples", "all", "--suite", "smoke"]
    return [*words, "--set", "suite.chunk=20", "--json"]


@pytest.fixture
def training(tmp_path):
    words = ["train", "--defense", "standard", "--data", "digits", "--set", "recipe.epochs=2"]
    return [*words, "--store", tmp_path / "runs"]


def calls_in(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def without_times(record):
    """A record as far as it is not about when and how long."""
    columns = [{k: held for k, held in column.items() if k != "seconds"} for column in record["columns"]]
    kept = {k: held for k, held in record.items() if k not in ("provenance", "digest", "columns")}
    kept["training"] = record["training"]["sha256"]
    return {**kept, "columns": columns}


def rows_of(log):
    with log.open() as file:
        return [{k: float(held) for k, held in row.items() if held} for row in csv.DictReader(file)]


def test_a_run_is_told_cell_by_cell_and_its_record_is_as_without(bench, words, listener, tmp_path):
    plain = json.loads(bench(*words, "--store", tmp_path / "plain").out)
    told = bench(*words, "--store", tmp_path / "runs", "--track", f"listener:{listener}")
    assert told.code == 0 and "tracker" not in told.err
    record = json.loads(told.out)
    assert without_times(record) == without_times(plain)
    calls = [call for call in calls_in(listener) if call["kind"] == "run"]
    assert calls[0]["call"] == "begin" and calls[0]["facts"]["run_id"] == record["run_id"]
    assert calls[0]["spec"]["suite"] == record["spec"]["suite"]
    cells = [call["held"] for call in calls if call["call"] == "figures" and "cell/fgsm" in call["held"][1]]
    (fgsm,) = [column for column in record["columns"] if column["name"] == "fgsm"]
    assert sorted(step for step, _ in cells) == list(range(6))
    assert sum(20 * values["cell/fgsm"] for _, values in cells) == pytest.approx(fgsm["robust"]["count"])
    last = calls[-1]
    assert last["call"] == "end" and last["held"][0]["worst_case"] == record["worst_case"]["value"]
    assert last["held"][0]["column/fgsm"] == fgsm["robust"]["value"]
    assert json.loads(last["held"][1]["record.json"]) == record and "fgsm" in last["held"][1]["table.md"]
    assert calls_in(listener)[-1]["call"] == "close"


def test_a_run_that_answers_from_its_record_is_told_too(bench, words, listener, tmp_path):
    assert bench(*words, "--store", tmp_path / "runs").code == 0
    told = bench(*words, "--store", tmp_path / "runs", "--track", f"listener:{listener}")
    assert "nothing was computed" in told.err
    assert [call["call"] for call in calls_in(listener)] == ["begin", "end", "close"]


@pytest.mark.parametrize("bad", ["begin", "figures", "end", "close"])
def test_a_tracker_that_fails_is_told_once_and_stops_nothing(bench, words, listener, tmp_path, bad):
    told = bench(*words, "--store", tmp_path / "runs", "--track", f"listener:{listener}!{bad}")
    assert told.code == 0 and json.loads(told.out)["status"] == "complete"
    assert told.err.count("the tracker listener failed (OSError: the disk is full)") == 1


def test_a_tracker_that_hangs_is_waited_for_once(bench, words, listener, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.runner.trackers.guard.PATIENCE", 0.2)
    told = bench(*words, "--store", tmp_path / "runs", "--track", f"listener:{listener}!begin?")
    assert told.code == 0 and told.err.count("it did not take everything within 0.2 s") == 1


@pytest.mark.parametrize("engine", ["here", "local:1"])
def test_a_training_is_told_epoch_by_epoch(bench, training, listener, tmp_path, engine):
    if engine == "here":
        assert bench(*training, "--track", f"listener:{listener}").code == 0
    else:
        words = ["run", *training[1:], "--suite", "smoke", "--examples", "20", "--on", engine]
        assert bench(*words, "--track", f"listener:{listener}").code == 0
    calls = [call for call in calls_in(listener) if call["kind"] == "training"]
    assert [call["call"] for call in calls] == ["begin", "figures", "figures", "end"]
    (log,) = (tmp_path / "runs").glob("models/*/log.csv")
    assert [call["held"] for call in calls[1:3]] == [[n, row] for n, row in enumerate(rows_of(log), 1)]
    assert json.loads(calls[3]["held"][1]["training.json"]) == json.loads(
        (log.parent / "training.json").read_text()
    )


def test_an_unknown_tracker_is_one_sentence_before_anything_is_computed(bench, words, tmp_path):
    told = bench(*words, "--store", tmp_path / "runs", "--track", "mlflo")
    assert (told.code, told.out, told.err.count("\n")) == (2, "", 1)
    assert "no tracker is named 'mlflo'; did you mean 'mlflow'?" in told.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("name", "package"), [("mlflow", "mlflow"), ("tensorboard", "tensorboard")])
def test_a_missing_extra_says_what_to_type(bench, words, tmp_path, monkeypatch, name, package):
    for module in [one for one in sys.modules if one.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    told = bench(*words, "--track", name, "--store", tmp_path / "runs")
    assert told.code == 2 and f"--track {name} needs the package {package}" in told.err
    assert f'pip install "robust-bench-harness[{name}]"' in told.err


def test_tensorboard_reads_the_curve_of_the_log(bench, training, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert bench(*training, "--track", f"tensorboard:{tmp_path / 'events'}").code == 0
    (log,) = (tmp_path / "runs").glob("models/*/log.csv")
    (folder,) = (tmp_path / "events").iterdir()
    events = EventAccumulator(str(folder)).Reload()
    found = [(event.step, event.value) for event in events.Scalars("training/loss")]
    assert found == [(n, pytest.approx(row["loss"])) for n, row in enumerate(rows_of(log), 1)]
    assert log.parent.name in folder.name


def test_mlflow_keeps_one_run_for_each_of_ours(bench, words, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.chdir(tmp_path)  # artifacts lie in ./mlruns
    place = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for _ in range(2):
        record = json.loads(bench(*words, "--store", tmp_path / "runs", "--track", f"mlflow:{place}").out)
    client = mlflow.MlflowClient(tracking_uri=place)
    experiment = client.get_experiment_by_name("bench").experiment_id
    (run,) = client.search_runs([experiment], f"tags.`bench.id` = '{record['run_id']}'")
    assert run.info.status == "FINISHED"
    assert run.data.metrics["worst_case"] == record["worst_case"]["value"]
    assert run.data.params["suite"] == record["suite"]
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {
        *("record.json", "spec.json", "table.md")
    }
