"""`bench certify`: brackets that close where the truth is known, and proofs that are wrong are found out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.nn.bounds.crown import Bounds
from bench.records.seal import seal
from bench.studies.certify import measure
from bench.studies.certify.record import ABSTAINED
from bench.studies.table import study

VOTING = f"{Path(__file__).parents[1] / 'reference' / 'voting_defense.py'}:Voting"
ROW = study("certify")


@pytest.fixture
def words(linear, linear_data, tmp_path):
    given = ["--data", linear_data, "--examples", "all", "--eps", "1/20", "--set", "suite.chunk=50"]
    return ["certify", linear, *given, "--attack", "fgsm", "--store", tmp_path / "runs"]


def read(told):
    assert told.code == 0, told.err
    (found,) = json.loads(told.out)
    return found


def examples(found, tmp_path):
    path = ROW.where(tmp_path / "runs", found["id"])
    return ROW.whole(ROW.read(path), tmp_path / "runs").of


@pytest.mark.parametrize("bounds", ["crown", "ibp"])
def test_of_a_linear_network_both_ends_are_the_closed_form(bench, words, robust_count, bounds):
    """One step of the gradient's sign is the worst case, and intervals are exact."""
    found = read(bench(*words, "--bounds", bounds, "--at", "1/40,1/10", "--json"))
    for held, radius in zip(found["brackets"], ("1/40", "1/20", "1/10"), strict=True):
        known = robust_count(float(eval(radius)))
        assert held["value"] in (radius, str(eval(radius)))
        assert (held["certified"]["count"], held["stands"]["count"]) == (known, known)
        assert (held["undecided"], held["contradicted"], held["by_luck"]) == (0, 0, 0)
    assert found["findings"] == [] and found["smoothing"] is None and found["bounds"] == bounds
    assert found["suite"] == "attacks@1" and len(found["attacks"]) == 1 and "FGSM" in found["attacks"][0]


def test_who_cannot_attack_leaves_examples_undecided(bench, words, robust_count, tmp_path):
    words = [word if word != "fgsm" else "noise" for word in words]
    found = read(bench(*words, "--at", "1/10", "--json"))
    known = robust_count(0.1)
    held = found["brackets"][-1]
    assert held["certified"]["count"] == known < held["stands"]["count"]
    assert held["undecided"] == held["stands"]["count"] - known
    kept = examples(found, tmp_path)
    assert (kept.radius[kept.certified(0.1, False)] == 0.1).all() and set(kept.radius) <= {0.0, 0.05, 0.1}
    assert (kept.stands[:, 0] >= kept.stands[:, 1]).all() and not kept.contradicted.any()
    told = bench(*words, "--at", "1/10")
    assert told.code == 0 and "nothing was computed" in told.err
    assert "undecided" in told.out and "contradicted" not in told.out


def test_where_bounds_are_empty_the_record_says_so(bench, words):
    told = bench(*words, "--at", "1")
    assert told.code == 0, told.err
    assert "bounds are empty at Linf 1: crown certifies none of 120 examples" in " ".join(told.out.split())
    assert "bounds are empty at Linf 0.05" not in " ".join(told.out.split())


def test_a_wrong_certificate_is_a_finding_that_blocks(bench, words, robust_count, monkeypatch, tmp_path):
    monkeypatch.setattr(Bounds, "margins", lambda self, y: torch.ones(len(y), dtype=torch.float64))
    told = bench(*words, "--at", "1/10", "--json")
    found = read(told)
    first, last = found["brackets"]
    assert last["certified"]["count"] == 120 and last["contradicted"] == 120 - robust_count(0.1)
    assert first["contradicted"] == 120 - robust_count(0.05) > 0
    finding = found["findings"][-1]
    assert (finding["code"], finding["severity"]) == ("certified-and-broken", "block")
    assert (
        f"{last['contradicted']} of 120 examples are certified at Linf 0.1 and were broken"
        in finding["detail"]
    )
    assert examples(found, tmp_path).contradicted.sum() == last["contradicted"], "each where it was broken"
    shown = " ".join(bench(*words, "--at", "1/10").out.split())
    assert "contradicted" in shown and "block:" in shown and "certified-and-broken" in shown


@pytest.fixture
def planes(tmp_path):
    """Two classes of 4x4 images on both sides of a plane, and the distance of each test image to it."""
    rng = np.random.default_rng(3)
    distance = rng.uniform(0.05, 0.8, 48)
    side = np.where(np.arange(48) % 2, 1.0, -1.0)
    x = (
        np.full((48, 1, 4, 4), 0.5) + (side * distance / 4)[:, None, None, None]
    )  # the mean's gradient: 1/4 each
    np.savez(
        tmp_path / "planes.npz",
        x_train=x.astype(np.float32), y_train=(side > 0).astype(np.int64),
        x_test=x.astype(np.float32), y_test=(side > 0).astype(np.int64),
    )  # fmt: skip
    return f"npz:{tmp_path / 'planes.npz'}", distance


@pytest.fixture
def smoothed(planes, tmp_path):
    given = ["--data", planes[0], "--examples", "all", "--norm", "L2", "--eps", "0.3", "--at", "0.1,0.6"]
    return ["certify", VOTING, *given, "--attack", "pgd", "--samples", "2500", "--store", tmp_path / "runs"]


def test_of_a_plane_the_radius_is_the_distance(bench, smoothed, planes, tmp_path):
    """Phi^-1 of the share of votes is the distance in sigmas, so the radius tends to it from below."""
    found = read(bench(*smoothed, "--json"))
    kept = examples(found, tmp_path)
    distance = planes[1][kept.ids]
    assert (kept.radius <= distance + 0.02).all(), "each errs with chance 0.001"
    surely = distance > 0.1
    assert (kept.answers[surely] == kept.labels[surely]).all() and (kept.radius[surely] > 0).all()
    assert (distance[surely] - kept.radius[surely]).max() < 0.12
    for held in found["brackets"]:
        known = (distance > held["at"]).sum()
        assert held["certified"]["count"] <= known <= held["stands"]["count"] + 2, "nobody breaks the plane"
        assert held["contradicted"] == 0
    assert found["method"] == "smoothing" and found["findings"] == []
    counted = found["smoothing"]
    assert (counted["sigma"], counted["samples"], counted["alpha"]) == (0.5, 2500, 0.001)
    assert counted["abstained"] == (kept.answers == ABSTAINED).sum()
    mean = np.where(kept.answers == kept.labels, kept.radius, 0).mean()
    assert counted["mean_radius"] == pytest.approx(mean, abs=1e-6)


def test_a_wrong_radius_is_a_finding_that_blocks(bench, smoothed, planes, monkeypatch):
    """Three times the radius, so that attacks break what is certified, and their images' votes are clear."""
    right = measure.certified_radius
    monkeypatch.setattr(measure, "certified_radius", lambda *given: 3 * right(*given))
    found = read(bench(*smoothed, "--json"))
    assert [finding["code"] for finding in found["findings"]] == ["certified-and-broken"] * len(
        found["findings"]
    )
    assert found["brackets"][-1]["contradicted"] > 3 and found["findings"][0]["severity"] == "block"


def test_luck_of_few_votes_is_no_contradiction(bench, smoothed, planes):
    """One vote an answer: many examples fall that are certified, and none of them beyond doubt."""
    words = [f"{word}[votes=1]" if word == VOTING else word for word in smoothed]
    found = read(bench(*words, "--json"))
    first = found["brackets"][0]
    assert first["by_luck"] > 0 and not any(held["contradicted"] for held in found["brackets"])
    proven = first["stands"]["count"] - first["undecided"] + first["by_luck"]
    assert proven == first["certified"]["count"] and found["findings"] == []
    assert any("a certificate is of infinitely many" in note for note in found["notes"])


def test_batches_do_not_change_votes(bench, smoothed, planes, tmp_path):
    found = read(bench(*smoothed, "--json"))
    other = [word if word != tmp_path / "runs" else tmp_path / "other" for word in smoothed]
    again = read(bench(*other, "--batch-size", "7", "--json"))
    one, two = (
        ROW.whole(ROW.read(ROW.where(tmp_path / name, found["id"])), tmp_path / name).of
        for name in ("runs", "other")
    )
    assert again["id"] == found["id"] and np.array_equal(one.radius, two.radius)
    assert np.array_equal(one.answers, two.answers)


def test_a_network_is_smoothed_that_does_not_vote(bench, linear, linear_data, tmp_path):
    given = ["--data", linear_data, "--examples", "20", "--norm", "L2", "--eps", "0.1", "--at", "0.2"]
    words = ["certify", linear, *given, "--attack", "fgsm", "--store", tmp_path / "runs", "--samples", "1000"]
    found = read(bench(*words, "--sigma", "0.1", "--alpha", "0.01", "--json"))
    assert (found["method"], found["smoothing"]["sigma"], found["smoothing"]["alpha"]) == (
        "smoothing",
        0.1,
        0.01,
    )
    held = found["bracket"] if "bracket" in found else found["brackets"][0]
    assert 0 < held["certified"]["count"] <= held["stands"]["count"] + held["by_luck"]


SENTENCES = {
    ("--norm", "L2", "--eps", "0.5", "--method", "smoothing"): (
        "does not vote on noisy images",
        "--sigma 0.25",
    ),
    ("--sigma", "0.25"): ("smoothing certifies under L2 alone", "--norm L2 --eps 0.5"),
    ("--sigma", "0"): ("--sigma is '0', expected a number above 0", "--sigma 0.25"),
    ("--alpha", "1"): ("--alpha is '1', expected a share between 0 and 1", "--alpha 0.001"),
    ("--samples", "99"): ("certified by bounds, expected none of them", "--method smoothing"),
    ("--eps", "0"): ("leaves nothing to prove", "--eps 0.05"),
    ("--at", "0.1,x"): ("--at is '0.1,x', expected radii above 0", "--at 0.1,0.2"),
    ("--at", "2"): ("--at is '2', expected at most 1 under Linf", ""),
    ("--suite", "blackbox"): ("whose attackers own networks of their own", "--suite fast"),
    ("--suite", "detection"): ("has a command of its own", "bench detect"),
    ("--suite", "smoke", "--attack", "pgd"): ("expected one of them", ""),
    ("--attack", "pgd", "--attack", "pgd"): ("--attack gives 'pgd' twice", ""),
    ("--sigma", "0.2", "--norm", "L2", "--eps", "1", "--bounds", "ibp"): (
        "is smoothed, expected no --bounds",
        "",
    ),
}


@pytest.mark.parametrize("typed", SENTENCES)
def test_what_cannot_be_is_one_sentence(bench, linear, linear_data, tmp_path, typed):
    told = bench("certify", linear, "--data", linear_data, "--store", tmp_path / "runs", *typed)
    assert told.code == 2 and told.out == "" and "Traceback" not in told.err
    wrong, hint = SENTENCES[typed]
    assert wrong in told.err and hint in told.err
    assert not list((tmp_path / "runs").rglob("*.npz")), "known before anything is computed"


def test_what_votes_takes_no_other_noise_and_no_bounds(bench, smoothed):
    told = bench(*smoothed, "--sigma", "0.25")
    assert told.code == 2 and "votes on noisy images of its own" in told.err and "[sigma=0.25]" in told.err
    told = bench(*smoothed[:-4], "--method", "bounds", *smoothed[-2:])
    assert told.code == 2 and "is randomized, and bounds are of networks that answer the same" in told.err


def test_a_file_of_examples_that_is_not_the_records_is_seen(bench, words, tmp_path):
    found = read(bench(*words, "--json"))
    path = ROW.where(tmp_path / "runs", found["id"])
    text = path.read_text(encoding="utf-8")
    held = json.loads(text)
    held["brackets"][0]["undecided"] += 1
    path.write_text(seal(json.dumps(held)), encoding="utf-8")
    told = bench(*words)
    assert told.code == 2 and "certifies" in told.err and "its other figures leave" in told.err
    path.write_text(text, encoding="utf-8")
    (path.parent / "examples.npz").write_bytes(b"")
    told = bench("plot", "certify", found["id"], "--store", tmp_path / "runs", "--out", tmp_path / "figures")
    assert told.code == 2 and "examples.npz cannot be read" in told.err


def test_curves_from_both_sides_are_drawn_and_compared(bench, words, smoothed, linear, tmp_path):
    one = read(bench(*words, "--json"))
    two = read(bench(words[0], f"{linear}[weights_seed=1]", *words[2:], "--json"))
    out = tmp_path / "figures"
    told = bench(
        "plot", "--kind", "certify", one["id"], two["id"], "--store", tmp_path / "runs", "--out", out
    )
    assert told.code == 0, told.err
    lines = (out / "certificate.csv").read_text().splitlines()
    assert len(lines) == 1 + len(one["brackets"]) + len(two["brackets"])
    assert "the truth lies between" in (out / "certificate.caption.txt").read_text()
    votes = read(bench(*smoothed, "--json"))
    told = bench("plot", "certify", votes["id"], "--store", tmp_path / "runs", "--out", tmp_path / "votes")
    assert told.code == 0, told.err
    told = bench("plot", "certify", one["id"], votes["id"], "--store", tmp_path / "runs", "--out", out)
    assert told.code == 2 and "certificates cannot be compared" in told.err
