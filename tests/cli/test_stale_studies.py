"""A stored study answers only as long as its code is what it was: attacks, judges, counts and tables."""

from __future__ import annotations

import json

import pytest

from bench.core.succession import SUCCESSIONS, changed_modules
from bench.records.seal import seal
from bench.runner.stale import NAMING, study_changes

JUDGES = ("bench.evaluate.engine", "bench.evaluate.referee", "bench.core.metrics", "bench.runner.summary")
STUDIES = {
    "curve": ("bench.studies.curve.measure", "bench.core.survival", "bench.core.paired"),
    "shift": ("bench.studies.shift.measure", "bench.runner.subject", "bench.studies.shift.spatial"),
    "transfer": ("bench.studies.transfer.measure", "bench.runner.subject", "bench.evaluate.unstopped"),
    "diagnose": ("bench.studies.diagnose.measure", "bench.studies.diagnose.portraits", "bench.core.fidelity"),
    "certify": ("bench.studies.certify.proofs", "bench.nn.bounds.crown", "bench.core.smoothing"),
    "detect": ("bench.studies.detect.measure", "bench.studies.detect.fields", "bench.core.detection"),
}


@pytest.mark.parametrize("name", STUDIES)
def test_another_judge_makes_a_study_stale(bench, linear, linear_data, tmp_path, name):
    given = ["--data", linear_data, "--examples", "20", "--store", tmp_path / "runs", "--json"]
    words = {
        "curve": [linear, "--over", "eps", "--at", "1/20", "--attack", "noise"],
        "shift": [linear, "--only", "contrast"],
        "transfer": [linear, f"{linear}[weights_seed=1]", "--attack", "noise"],
        "certify": [linear, "--at", "1/40", "--attack", "fgsm"],
        "diagnose": [linear],
        "detect": [linear, "--detector", "max_softmax", "--attack", "noise"],
    }[name]
    told = bench(name, *words, *given)
    assert told.code == 0, told.err
    found = json.loads(told.out)
    ident = (found[0] if isinstance(found, list) else found)["id"]
    (path,) = [p for p in (tmp_path / "runs").rglob("*.json") if _id(p) == ident]
    text = path.read_text()
    sources = json.loads(text)["provenance"]["sources"]
    assert not {*NAMING} & {*sources}, "another defense, attack or recipe leaves it fresh"
    for module in (*JUDGES, *STUDIES[name]):
        path.write_text(seal(text.replace(f'"{module}": "', f'"{module}": "0')))
        refused = bench(name, *words, *given)
        assert refused.code == 2 and f"{module} changed since" in refused.err, (module, refused.err)
    path.write_text(text)
    again = bench(name, *words, *given)
    assert (again.code, again.out) == (0, told.out) and "nothing was computed" in again.err


def test_a_change_of_randomized_results_counts_for_every_study():
    step = next(step for step in SUCCESSIONS if not step.of_randomized)
    then = {module: before for module, (before, _) in step.digests.items() if before is not None}
    now = {module: after for module, (_, after) in step.digests.items() if module in then}
    assert changed_modules(then, now) == [] and study_changes(then, now) == sorted(then)


def _id(path):
    held = json.loads(path.read_text())
    return held.get("id") if isinstance(held, dict) and "provenance" in held else None
