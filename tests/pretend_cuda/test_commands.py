"""Whole commands on the pretend cards: workers, an audit, detectors, a run that goes on."""

import pytest
from cards.command import bench

from bench.records.store import read_record

RUN = ("--defense", "pgd_at", "--data", "synthetic", "--suite", "smoke", "--examples", "24")
SHORT = ("--set", "recipe.epochs=1", "--set", "recipe.validation_examples=8", "--set", "suite.chunk=12")


def record(folder):
    (path,) = folder.rglob("record.json")
    return read_record(path)


@pytest.mark.slow
def test_two_workers_on_two_cards_find_what_one_process_finds(tmp_path):
    for folder, workers in (("one", "1"), ("two", "2")):
        bench(tmp_path / folder, "run", *RUN, *SHORT, "--device", "cuda", "--workers", workers)
    one, two = (record(tmp_path / folder) for folder in ("one", "two"))
    assert one.provenance.device == "cuda (Pretend)" and one.provenance.card["tf32 in convolutions"] == "no"
    assert [column.robust for column in one.columns] == [column.robust for column in two.columns]
    assert one.robust_examples == two.robust_examples


@pytest.mark.slow
def test_detectors_are_fitted_and_attacked_on_a_card(tmp_path):
    words = ("--data", "synthetic", "--examples", "16", "--fit-examples", "40", "--detector", "max_softmax")
    words += ("--detector", "mahalanobis", "--attack", "fgsm", "--fpr", "0.1")
    told = bench(tmp_path, "detect", "pgd_at", *words, *SHORT[:4], "--device", "cuda:1")
    assert "mahalanobis" in told and "AUROC" in told


@pytest.mark.slow
def test_an_audit_runs_on_a_card(tmp_path):
    bench(tmp_path, "run", *RUN, *SHORT, "--device", "cuda:1")
    assert "A1" in bench(tmp_path, "audit", record(tmp_path).run_id, "--device", "cuda:1")
