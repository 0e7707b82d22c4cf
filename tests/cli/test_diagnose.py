"""`bench diagnose` and `bench plot`: what is kept agrees with numpy, and is drawn without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.core.fidelity import psnr
from bench.studies.diagnose.record import KINDS, Diagnosed
from bench.studies.table import study

HALVING = f"{Path(__file__).parents[1] / 'reference' / 'halving_defense.py'}:Halving"


def weights() -> tuple[np.ndarray, np.ndarray]:
    """The weights [2, 16] and biases [2] that the classifier draws."""
    generator = torch.Generator().manual_seed(6)
    weight = torch.randn(2, 16, generator=generator) / 4
    bias = torch.randn(2, generator=generator) / 4
    return weight.double().numpy(), bias.double().numpy()


def says(images: np.ndarray) -> np.ndarray:
    """What the classifier makes of images."""
    weight, bias = weights()
    return (images.reshape(len(images), -1) @ weight.T + bias).argmax(1)


def whole(store: Path, ident: str) -> Diagnosed:
    """A diagnosis of a store with its arrays."""
    row = study("diagnose")
    return row.whole(row.read(row.where(store, ident)), store)


@pytest.fixture(scope="module")
def images() -> dict[str, np.ndarray]:
    """Two classes of 4x4 images, labelled by the classifier behind the purifier."""
    x = np.random.default_rng(0).random((360, 1, 4, 4), dtype=np.float32)
    y = says(x.astype(np.float64))
    return {"x_train": x[120:], "y_train": y[120:], "x_test": x[:120], "y_test": y[:120]}


@pytest.fixture
def look(bench, images, tmp_path):
    """`bench diagnose` of a defense whose weights are known, in a store of this test."""
    path = tmp_path / "halving.npz"
    np.savez(path, **images)

    def call(*words, defense=HALVING):
        given = ["--data", f"npz:{path}", "--eps", "1/20", "--examples", "60", "--store", tmp_path / "runs"]
        return bench("diagnose", defense, *words, usual=given)

    return call


@pytest.fixture
def kept(look, tmp_path) -> Diagnosed:
    """Its diagnostics."""
    told = look("--json")
    assert told.code == 0, told.err
    (found,) = json.loads(told.out)
    path = tmp_path / "runs" / "diagnostics" / found["id"] / "diagnosis.json"
    assert found == json.loads(path.read_text())
    return whole(tmp_path / "runs", found["id"])


def test_pictures_and_verdicts_are_those_of_numpy(kept, images):
    weight, _ = weights()
    ids = kept.array("ids")
    x, y = images["x_test"][ids].astype(np.float64), images["y_test"][ids]
    shown = kept.array("shown")
    assert len(set(ids)) == 60 and len(shown) == 6 and set(y[shown]) == {0, 1}
    assert np.allclose(kept.array("image_clean"), x[shown])
    assert (kept.array("labels") == y).all()

    halved = x / 2 + 0.25
    assert (kept.array("class_clean") == says(halved)).all()
    slope = (weight[1 - y] - weight[y]).reshape(x.shape)
    attacked = np.clip(x + np.sign(slope) / 20, 0, 1)  # all 20 steps of PGD end in this corner
    assert np.allclose(kept.array("image_adversarial"), attacked[shown], atol=1e-6)
    attacked_halved = attacked / 2 + 0.25
    assert (kept.array("class_adversarial") == says(attacked_halved)).all()
    right, held = says(halved) == y, says(attacked_halved) == y
    assert 0 < held.sum() < right.sum() < 60, "every kind of example is there"
    assert (kept.record.network.clean.count, kept.record.adversarial.count) == (
        right.sum(),
        (right & held).sum(),
    )

    part = kept.record.purification.pictures
    assert set(part) == {
        f"{name}{after}"
        for name in ("clean", "adversarial_white", "adversarial_gray")
        for after in ("", "_purified")
    }
    assert part["clean"].psnr is None and part["clean"].accuracy.count == 60
    assert part["clean_purified"].psnr == pytest.approx(psnr(halved, x).mean(), abs=1e-4)
    assert np.allclose(kept.array("picture_clean_purified"), halved[shown])
    for name in ("adversarial_white", "adversarial_gray"):  # the classifier alone has the same corner
        assert part[name].accuracy.count == (says(attacked) == y).sum()
        assert part[f"{name}_purified"].accuracy.count == held.sum()
        assert part[f"{name}_purified"].psnr == pytest.approx(psnr(attacked_halved, x).mean(), abs=1e-4)


def test_features_are_those_behind_the_purifier(kept, images):
    (weight, _), ids = weights(), kept.array("ids")
    x, y = images["x_test"][ids].astype(np.float64), images["y_test"][ids]
    features = (x / 2 + 0.25).reshape(len(x), -1)
    assert np.allclose(kept.array("features_clean"), features, atol=1e-6)
    counts = []
    for row, label in zip(features, y, strict=True):  # by its definition, example by example
        positive = sorted((value for value in row * weight[label] if value > 0), reverse=True)
        counts.append(next(k for k in range(1, 17) if sum(positive[:k]) >= 0.9 * sum(positive)))
    assert kept.array("n90_clean").tolist() == counts
    assert kept.record.contributions.clean.median == np.median(counts)
    low, high = (side(x.reshape(len(x), -1), axis=1)[:, None, None] for side in (np.min, np.max))
    maps = (x[:, 0] - low) / (high - low)  # the contrast does not matter
    assert np.allclose(kept.array("attention_student_clean"), maps[kept.array("shown")], atol=1e-5)
    assert kept.record.attention.without_teacher == "the defense has no teacher"
    assert kept.record.left_out == {"training": "its training wrote no log"}


def test_the_gallery_says_how_sure_and_the_landscape_what_numpy_computes(kept, images):
    (weight, bias), ids = weights(), kept.array("ids")
    x, y = images["x_test"][ids].astype(np.float64), images["y_test"][ids]

    def logits(shown):
        return (shown / 2 + 0.25).reshape(len(shown), -1) @ weight.T + bias

    shares = np.exp(logits(x)) / np.exp(logits(x)).sum(axis=1, keepdims=True)
    assert np.allclose(kept.array("confidence_clean"), shares.max(axis=1), atol=1e-5)
    shown = kept.array("shown")
    halved = kept.array("image_adversarial").astype(np.float64) / 2 + 0.25
    assert kept.record.gallery.is_purified and np.allclose(kept.array("gallery_purified"), halved)
    assert kept.record.gallery.largest_change == pytest.approx(1 / 20, abs=1e-6)

    rows, at = kept.array("landscape_examples"), kept.array("landscape_at")
    right = [e for e in shown if says(x[e : e + 1] / 2 + 0.25)[0] == y[e]]
    assert rows.tolist() == right[:3] and at[0] == -1.5 and at[-1] == 1.5
    zero, one = (int(np.flatnonzero(np.isclose(at, value))[0]) for value in (0, 1))
    for place, e in enumerate(rows):
        attacked = kept.array("image_adversarial")[np.flatnonzero(shown == e)[0]].astype(np.float64)
        for across, a in enumerate(at):  # the line through image and adversarial image
            around = np.clip(x[e] + a * (attacked - x[e]), 0, 1)[None]
            loss = np.log(np.exp(logits(around)).sum()) - logits(around)[0, y[e]]
            assert kept.array("landscape_loss")[place, zero, across] == pytest.approx(loss, abs=1e-4)
            margin = logits(around)[0, y[e]] - logits(around)[0, 1 - y[e]]
            assert kept.array("landscape_margin")[place, zero, across] == pytest.approx(margin, abs=1e-4)
        assert kept.array("landscape_class")[place, zero, zero] == y[e]
        told = kept.array("class_adversarial")[e]
        assert kept.array("landscape_class")[place, zero, one] == told


def test_what_is_kept_is_answered_at_once_and_the_embedding_changes_no_image(look, kept, tmp_path):
    again = look()
    assert "is complete: nothing was computed" in again.err
    assert "data: npz:halving, 60 test examples" in again.out and "budget: Linf 0.05" in again.out
    assert f"bench plot {kept.record.id}" in again.out
    (told,) = json.loads(look("--embedding", "tsne", "--json").out)
    other = whole(tmp_path / "runs", told["id"])
    assert other.record.embedding.method == "tsne" and told["id"] != kept.record.id
    assert (other.array("image_adversarial") == kept.array("image_adversarial")).all()
    assert (other.array("class_adversarial") == kept.array("class_adversarial")).all()


def test_rerun_computes_the_same_again(look, kept, tmp_path):
    path = tmp_path / "runs" / "diagnostics" / kept.record.id / "arrays.npz"
    before = path.read_bytes()
    path.write_bytes(b"")
    assert look("--out", tmp_path / "figures").code == 2
    assert look("--rerun").code == 0 and path.read_bytes() == before


def test_a_worker_sees_the_same_and_out_holds_the_table_and_every_figure(look, kept, tmp_path):
    told = look("--store", tmp_path / "two", "--workers", "2", "--out", tmp_path / "out")
    assert told.code == 0, told.err
    two = whole(tmp_path / "two", kept.record.id)
    assert two.record.arrays_sha256 == kept.record.arrays_sha256
    assert all(getattr(two.record, kind) == getattr(kept.record, kind) for kind in KINDS)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    drawn = {f"{kind}-{kept.record.id}" for kind in kept.record.kinds}
    ends = ("png", "pdf", "csv", "caption.txt")
    assert names == {"diagnostics.md", *(f"{name}.{end}" for name in drawn for end in ends)}


def test_what_a_defense_lacks_is_left_out_with_the_reason(look, linear):
    told = look(defense=linear)
    assert told.code == 0
    assert "attention      none: the network lends no feature maps" in told.out
    assert "purification   none: the defense has no purifier" in told.out
    (told,) = json.loads(look("--json", defense=linear).out)
    lacks = {"attention", "purification", "training"}
    assert set(told["left_out"]) == lacks and not told["gallery"]["is_purified"]
    assert all(told[kind] is None for kind in lacks)


def test_what_the_last_linear_layer_is_given_are_the_features(look, linear, images, tmp_path):
    """Of a linear network these are the pixels, and what each adds to the logit of its class is known."""
    (told,) = json.loads(look("--json", defense=linear).out)
    one = whole(tmp_path / "runs", told["id"])
    x = images["x_test"][one.array("ids")].reshape(60, -1)
    assert np.allclose(one.array("features_clean"), x)
    assert told["embedding"]["features"] == told["contributions"]["features"] == 16
    generator = torch.Generator().manual_seed(0)
    weight = (torch.randn(2, 16, generator=generator) / 4).numpy()
    added = np.maximum(x * weight[one.array("labels")], 0)
    for e, row in enumerate(-np.sort(-added)):
        assert one.array("n90_clean")[e] == np.searchsorted(row.cumsum(), 0.9 * row.sum()) + 1


def test_teacher_and_student_are_both_looked_at(bench, tmp_path):
    """On a trained network with its log; then every kind that it has is drawn, without torch."""
    store = tmp_path / "runs"
    given = ["--data", "synthetic", "--set", "recipe.epochs=1", "--examples", "24", "--store", store]
    told = bench("diagnose", "agkd_bml[steps=1]", *given, "--json")
    assert told.code == 0, told.err
    (figures,) = json.loads(told.out)
    assert set(figures["left_out"]) == {"purification"}
    assert figures["attention"]["teacher"] == figures["weights"]["parents"]["teacher"]
    assert figures["training"]["terms"] == [
        "smoothed",
        "mart_margin",
        "mart_robust",
        "attention_forward",
        "attention_backward",
        "triplet",
        "norm",
    ]
    assert len(figures["training"]["rows"]) == 1
    one = whole(store, figures["id"])
    distance = np.abs(one.array("attention_student_adversarial") - one.array("attention_teacher_clean")).mean(
        axis=(1, 2)
    )
    kept = one.array("attention_distance_student_teacher")
    assert np.allclose(kept[one.array("shown")], distance, atol=1e-6)
    assert figures["attention"]["apart_adversarial"] == pytest.approx(kept.mean(), abs=1e-6)

    refused = bench("diagnose", "agkd_bml[steps=1]", *given, "--stage", "2")
    assert refused.code == 2 and "--stage is 2, but the network has 2 stages, expected 0 to 1" in refused.err

    code = "import sys; sys.modules['torch'] = None; from bench.cli.main import main; main(sys.argv[1:])"
    words = ["plot", figures["id"][:6], "--store", str(store), "--out", str(tmp_path / "figures")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    written = sorted(path.name for path in (tmp_path / "figures").iterdir())
    kinds = ("attention", "embedding", "contributions", "training", "gallery", "landscape")
    ends = ("pdf", "csv", "caption.txt")
    assert written == sorted(f"{kind}-{figures['id']}.{end}" for kind in kinds for end in ends)
    assert done.stdout.split() == [
        str(tmp_path / "figures" / f"{kind}-{figures['id']}.{end}") for kind in kinds for end in ends
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--set attack.pgd_20.steps=5", ["attack.pgd_20", "PGD(steps=20", "defense.NAME or recipe.NAME"]),
        ("--set suite.chunk=5", ["suite", "no part of a diagnosis"]),
        ("--embedding umap", ["'umap'", "pca"]),
        ("--stage last", ["--stage", "'last'"]),
        ("--examples 0", ["--examples is '0'"]),
        ("--eps 8", ["--eps is '8'"]),
        ("--suite smoke", ["--suite"]),
    ],
)
def test_a_bad_word_is_one_sentence(look, tmp_path, words, told):
    refused = look(*words.split(" "))
    assert refused.code == 2 and refused.out == "" and len(refused.err.splitlines()) == 1, refused.err
    for word in told:
        assert word in refused.err
    assert not (tmp_path / "runs").exists()


def test_what_cannot_be_drawn_is_one_sentence(bench, kept, look, linear, tmp_path):
    bare = json.loads(look("--json", defense=linear).out)[0]["id"]
    here = ["--store", tmp_path / "runs", "--out", tmp_path / "figures"]
    known, held = f"expected a defense, a folder or one of {min(bare, kept.record.id)}", kept.record.id
    for words, told in (
        (["zzz"], "'zzz' leads to no run, expected a defense, a folder or an id"),
        (["gallery", "zzz"], f"'zzz' leads to no diagnosis, {known}"),
        (["gallery", tmp_path], "leads to no diagnosis"),
        ([held, "--kind", "training"], "hold no training (its training wrote no log), expected attention"),
        ([bare, "--kind", "attention"], "hold no attention (the network lends no feature maps"),
        (["training"], "training is a kind of figure and nothing is named to draw"),
        (["trainig", held], "no kind of figure is named 'trainig'"),
        (["queries", held], f"'{held}' leads to a diagnosis, expected a run"),
        ([held, "--kind", "features"], "'features'"),
        ([held, "--format", "jpg"], "'jpg'"),
        ([], "missing argument"),
    ):
        refused = bench("plot", *words, *here)
        assert refused.code == 2 and refused.out == "", refused.err
        assert told in refused.err and len(refused.err.splitlines()) == 1
    assert not (tmp_path / "figures").exists()
    assert bench("plot", kept.record.id, "--store", tmp_path / "runs").code == 2, "--out is needed"
