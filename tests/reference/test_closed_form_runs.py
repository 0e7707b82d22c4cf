"""A whole run on a linear classifier, whose robust accuracy is known: a benchmark of the benchmark."""

import dataclasses
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.core.progress import Silent
from bench.core.threat import Budget, Norm
from bench.errors import BadCheckpoint, StaleRecord
from bench.plan import Request, plan_run
from bench.records.record import Check, to_json
from bench.records.seal import seal
from bench.records.store import Store
from bench.runner.options import Options
from bench.runner.run import run

DEFENSE = f"{Path(__file__).with_name('linear_defense.py')}:Linear"
N, SHAPE = 120, (1, 4, 4)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two classes, labelled by the very classifier that is attacked, so that clean accuracy is 1."""
    weight, bias = weights()
    x = np.random.default_rng(0).random((3 * N, *SHAPE), dtype=np.float32)
    y = (x.reshape(len(x), -1) @ weight.T + bias).argmax(1)
    path = tmp_path_factory.mktemp("data") / "linear.npz"
    np.savez(path, x_train=x[N:], y_train=y[N:], x_test=x[:N], y_test=y[:N])
    return path


def weights():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2, 16, generator=generator) / 4
    bias = torch.randn(2, generator=generator) / 4
    return weight.numpy().astype(np.float64), bias.numpy().astype(np.float64)


def worst_margins_linf(x, y, eps):
    """The least margin within Linf and the box: every coordinate moves on its own, so clipping is exact."""
    weight, bias = weights()
    slope = np.stack([weight[label] - weight[1 - label] for label in y])
    offset = np.array([bias[label] - bias[1 - label] for label in y])
    moved = np.clip(x - eps * np.sign(slope), 0, 1)
    return (moved * slope).sum(1) + offset


def worst_margins_l2(x, y, eps):
    """The least margin within L2 and the box, by bisection on the multiplier of the ball's constraint."""
    weight, bias = weights()
    slope = np.stack([weight[label] - weight[1 - label] for label in y])
    offset = np.array([bias[label] - bias[1 - label] for label in y])
    low, high = np.zeros(len(x)), np.full(len(x), 1e4)
    for _ in range(100):
        scale = (low + high) / 2
        moved = np.clip(x - scale[:, None] * slope, 0, 1)
        too_far = np.linalg.norm(moved - x, axis=1) > eps
        high, low = np.where(too_far, scale, high), np.where(too_far, low, scale)
    return (np.clip(x - low[:, None] * slope, 0, 1) * slope).sum(1) + offset


def request(data, suite, budget, **more):
    return Request(
        DEFENSE,
        data=f"npz:{data}",
        suite=suite,
        recipe="short",
        architecture="small_cnn",
        budget=budget,
        **more,
    )


def test_images(data):
    with np.load(data) as held:
        return held["x_test"].reshape(N, -1).astype(np.float64), held["y_test"]


test_images.__test__ = False


@pytest.mark.parametrize("eps", ["1/50", "1/20", "1/10"])
def test_the_whitebox_suite_finds_the_closed_form_under_linf(data, eps, tmp_path):
    x, y = test_images(data)
    known = worst_margins_linf(x, y, float(Fraction(eps)))
    assert np.abs(known).min() > 1e-4, "no example sits on the boundary"
    record = run(
        plan_run(request(data, "whitebox", Budget(Norm.LINF, Fraction(eps)))), Options(Store(tmp_path))
    )
    assert record.clean.value == 1
    assert record.worst_case.count == int((known > 0).sum())
    by_name = {column.name: column for column in record.columns}
    for exact in ("fgsm", "pgd_20", "pgd_100x5", "cw_100", "apgd_ce", "apgd_t"):
        assert by_name[exact].robust.count == record.worst_case.count, (
            f"{exact} is exact on a linear function"
        )
    assert by_name["noise"].robust.count >= record.worst_case.count
    assert not [finding for finding in record.findings if finding.severity == "block"]


def test_the_whitebox_suite_finds_the_closed_form_under_l2(data, tmp_path):
    x, y = test_images(data)
    eps = Fraction("0.25")
    known = worst_margins_l2(x, y, float(eps))
    assert np.abs(known).min() > 1e-3
    record = run(plan_run(request(data, "whitebox", Budget(Norm.L2, eps))), Options(Store(tmp_path)))
    assert record.worst_case.count == int((known > 0).sum())
    assert all(column.robust.count >= record.worst_case.count for column in record.columns)


def test_square_comes_close_with_scores_alone(data, tmp_path):
    x, y = test_images(data)
    eps = Fraction("1/10")
    known = int((worst_margins_linf(x, y, float(eps)) > 0).sum())
    spec = plan_run(request(data, "blackbox", Budget(Norm.LINF, eps)))
    square = tuple(trial for trial in spec.suite.trials if trial.column == "square")
    spec = dataclasses.replace(spec, suite=dataclasses.replace(spec.suite, trials=square), others=())
    record = run(spec, Options(Store(tmp_path)))
    (column,) = record.columns
    assert known <= column.robust.count <= known + 2
    assert column.backwards == 0 and column.forwards <= 5000


def test_eps_zero_is_clean_accuracy_and_larger_eps_never_helps(data, tmp_path):
    counts = []
    for eps in ("0", "1/100", "1/20", "1/5"):
        spec = plan_run(request(data, "smoke", Budget(Norm.LINF, Fraction(eps)), examples="all"))
        counts.append(run(spec, Options(Store(tmp_path))).worst_case.count)
    assert counts[0] == N and counts == sorted(counts, reverse=True) and counts[-1] < counts[0]


def comparable(record):
    """All but when and how long."""
    held = dataclasses.replace(
        record,
        columns=tuple(dataclasses.replace(column, seconds=0) for column in record.columns),
        training=dataclasses.replace(record.training, seconds=0),
        provenance=None,
    )
    return json.loads(json.dumps(dataclasses.asdict(held)))


def small(data, **more):
    settings = {"suite": {"chunk": "50"}, **more}
    return plan_run(request(data, "smoke", Budget(Norm.LINF, Fraction("1/20")), settings=settings))


def test_the_same_run_again_resumed_and_in_other_batches_is_the_same_record(data, tmp_path, monkeypatch):
    spec = small(data)
    whole = run(spec, Options(Store(tmp_path / "whole")))
    batched = run(spec, Options(Store(tmp_path / "batched"), batch_size=7))
    assert comparable(whole) == comparable(batched)

    import bench.runner.columns as runner

    played, real = [], runner.play

    def killed(arena, trial, chunk, seed, before):
        if len(played) == 3:
            raise KeyboardInterrupt
        played.append((trial.column, chunk.number))
        return real(arena, trial, chunk, seed, before)

    monkeypatch.setattr(runner, "play", killed)
    with pytest.raises(KeyboardInterrupt):
        run(spec, Options(Store(tmp_path / "resumed")))
    assert not (tmp_path / "resumed" / spec.id / "record.json").exists()
    again = []
    monkeypatch.setattr(runner, "play", lambda *args: again.append(args[1].column) or real(*args))
    resumed = run(spec, Options(Store(tmp_path / "resumed")))
    assert len(again) == 6 - 3, "two chunks of three columns, three of which were done"
    assert comparable(resumed) == comparable(whole)
    examples = [
        (tmp_path / name / spec.id / "examples.csv").read_bytes() for name in ("whole", "resumed", "batched")
    ]
    assert examples[0] == examples[1] == examples[2]

    monkeypatch.setattr(runner, "play", None)
    assert comparable(run(spec, Options(Store(tmp_path / "whole")))) == comparable(whole), (
        "answered from the store"
    )


def test_a_half_written_cell_is_computed_again(data, tmp_path):
    spec, options = small(data), Options(Store(tmp_path), evidence=False)
    whole = run(spec, options)
    folder = tmp_path / spec.id
    (folder / "record.json").unlink()
    cell = folder / "cells" / "fgsm" / "0001.npz"
    cell.write_bytes(cell.read_bytes()[:100])
    assert comparable(run(spec, options)) == comparable(whole)


def test_a_record_of_other_code_is_refused_unless_asked_for(data, tmp_path):
    spec = small(data)
    store = Store(tmp_path)
    whole = run(spec, Options(store))
    path = tmp_path / spec.id / "record.json"
    made_by = whole.provenance.sources["bench.attacks.fgsm"]
    path.write_text(seal(path.read_text().replace(made_by, "0" * 12)))
    with pytest.raises(StaleRecord, match=r"bench\.attacks\.fgsm changed"):
        run(spec, Options(store))
    accepted = run(spec, Options(store, stale="accept"))
    assert accepted.provenance.sources["bench.attacks.fgsm"] == "0" * 12
    again = run(spec, Options(store, stale="rerun"))
    assert comparable(again) == comparable(whole)
    assert again.provenance.sources == whole.provenance.sources


def test_figures_of_other_code_are_made_anew_from_stored_cells(data, tmp_path, monkeypatch):
    from bench.attacks.fgsm import FGSM

    spec, store, told = small(data), Store(tmp_path), []
    whole = run(spec, Options(store))
    path = tmp_path / spec.id / "record.json"
    audited = dataclasses.replace(whole, audit=(Check("P1", "pass", "kept", None, None),))
    path.write_text(to_json(audited))
    monkeypatch.setattr(FGSM, "__call__", lambda *_: pytest.fail("an attack was played"))
    monkeypatch.setattr("bench.runner.summary.withheld", lambda outcomes: np.ones(7))
    assert run(spec, Options(store)) == audited, "the same code: the stored figures"
    monkeypatch.setattr("bench.runner.stale.figures_digest", lambda sources: "another")
    monkeypatch.setattr("bench.runner.run.figures_digest", lambda sources: "another")
    monkeypatch.setattr(Silent, "say", lambda self, text: told.append(text))
    again = run(spec, Options(store))
    assert [text for text in told if "its figures" in text] == [
        f"run {spec.id}: its figures are made anew from its cells by the code of now"
    ]
    assert {column.lost for column in whole.columns} == {0}
    assert {column.lost for column in again.columns} == {7}
    assert again.audit == audited.audit and again.provenance.figures == "another"
    assert again.provenance.started == whole.provenance.started, "the cells are of that day"
    assert again.provenance.sources == whole.provenance.sources
    assert run(spec, Options(store)) == again and len([t for t in told if "its figures" in t]) == 1
    monkeypatch.setattr("bench.runner.stale.figures_digest", lambda sources: "a third")
    cell = tmp_path / spec.id / "cells" / "fgsm" / "0000.npz"
    cell.unlink()
    assert run(spec, Options(store)) == again, "without its cells nothing can be made anew"


def test_a_failing_attack_is_a_failed_column_and_computed_again_next_time(data, tmp_path, monkeypatch):
    from bench.attacks.fgsm import FGSM

    spec = small(data)
    with monkeypatch.context() as patched:
        patched.setattr(FGSM, "__call__", lambda *_: (_ for _ in ()).throw(RuntimeError("no luck")))
        record = run(spec, Options(Store(tmp_path)))
    failed = {column.name: column for column in record.columns}["fgsm"]
    assert record.status == "failed" and failed.robust is None and "no luck" in failed.error
    assert record.worst_case is None, "no worst case over columns of which one is unknown"
    assert run(spec, Options(Store(tmp_path))).status == "complete"


def test_a_surrogate_is_never_the_victim_itself(data, tmp_path):
    spec = plan_run(request(data, "graybox", Budget(Norm.LINF, Fraction("1/20"))))
    with pytest.raises(BadCheckpoint, match="victim's own weights"):
        run(spec, Options(Store(tmp_path)))  # the linear defense has the same weights for every seed
