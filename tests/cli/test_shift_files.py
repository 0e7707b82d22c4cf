"""`bench shift --files` on a linear classifier: what it answers to every image is computed here, too."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench.studies.shift.measure import flipped

CORRUPTIONS = {"fog": 5, "spatter": 5, "shot_noise": 3}


def weights() -> tuple[np.ndarray, np.ndarray]:
    """The weights [2, 16] and biases [2] of the classifier with weights_seed=1."""
    generator = torch.Generator().manual_seed(1)
    return (torch.randn(2, 16, generator=generator) / 4).numpy(), (
        torch.randn(2, generator=generator) / 4
    ).numpy()


def answers(pixels: np.ndarray) -> np.ndarray:
    """Of bytes [..., 4, 4, 1]: the class of each."""
    weight, bias = weights()
    return ((pixels.reshape(*pixels.shape[:-3], 16) / 255) @ weight.T + bias).argmax(-1)


@pytest.fixture
def words(linear, linear_data, tmp_path):
    given = ["--data", linear_data, "--examples", "50", "--set", "suite.chunk=20"]
    return ["shift", f"{linear}[weights_seed=1]", *given, "--store", tmp_path / "runs"]


@pytest.fixture
def subset(linear_data):
    """The positions of the fifty examples in the test set."""
    from bench.core.seeds import seed_for
    from bench.data.catalog import source
    from bench.data.splits import permutation

    return permutation(seed_for("examples", source(linear_data).name), 120)[:50]


@pytest.fixture
def folder(tmp_path, arrays):
    """Arrays as those of CIFAR-10-C: five severities of random images, one behind the other."""
    draws, place = np.random.RandomState(0), tmp_path / "corrupted"
    place.mkdir()
    np.save(place / "labels.npy", np.tile(arrays["y_test"], 5))
    for name, severities in CORRUPTIONS.items():
        np.save(place / f"{name}.npy", draws.randint(0, 256, (severities * 120, 4, 4, 1), np.uint8))
    return place


def read(told: Any) -> Any:
    assert told.code == 0, told.err
    return json.loads(told.out)


def right(folder, arrays, subset, name, severity):
    pixels = np.load(folder / f"{name}.npy")[(severity - 1) * 120 :][:120][subset]
    return int((answers(pixels) == arrays["y_test"][subset]).sum())


def test_arrays_are_shown_as_they_are_and_the_mean_is_that_of_the_benchmark(
    bench, words, folder, arrays, subset
):
    (shift,) = read(bench(*words, "--files", folder, "--json"))
    found = {(held["name"], held["severity"]): held["accuracy"]["count"] for held in shift["corrupted"]}
    assert list(found) == [
        (name, severity)
        for name in ("shot_noise", "fog", "spatter")
        for severity in range(1, CORRUPTIONS[name] + 1)
    ]
    for (name, severity), count in found.items():
        assert count == right(folder, arrays, subset, name, severity)
    main = [count for (name, _), count in found.items() if name != "spatter"]  # one of the four extra ones
    assert shift["mean"]["value"] == pytest.approx(np.mean(main) / 50, abs=1e-6)
    assert shift["posed"] is None and "gaussian_noise" in shift["files"]["lacking"]
    corruptions, severities = shift["files"]["lacking"][:13], shift["files"]["lacking"][13:]
    assert not {"fog", "shot_noise"} & {*corruptions} and len(corruptions) == 13
    assert severities == ["shot_noise at severity 4", "shot_noise at severity 5"]


def test_the_table_says_whose_images_they_are_and_what_is_lacking(bench, words, folder, tmp_path):
    told = bench(*words, "--files", folder, "--only", "weather", "--out", tmp_path / "out").out
    assert "mean of 1" in told and "images of others" in told and "not CIFAR-10-C" not in told
    assert (
        "not in these files, so in no mean: gaussian_noise" in told
        and "shot_noise" not in told.split("mean:")[1]
    )
    rows = list(csv.DictReader((tmp_path / "out" / "shift.csv").open(newline="")))
    assert {row["name"] for row in rows} == {"clean", "fog", "spatter", "mean"}
    assert "images of others" in (tmp_path / "out" / "shift.caption.txt").read_text()


def test_other_images_are_another_shift_and_the_same_elsewhere_are_not(bench, words, folder, tmp_path):
    (first,) = read(bench(*words, "--files", folder, "--json"))
    moved = folder.rename(tmp_path / "moved")
    again = bench(*words, "--files", moved, "--json")
    assert "nothing was computed" in again.err and read(again) == [first]
    pixels = np.load(moved / "fog.npy")
    pixels[0] ^= 1
    np.save(moved / "fog.npy", pixels)
    (other,) = read(bench(*words, "--files", moved, "--json"))
    assert other["id"] != first["id"]


def test_errors_are_divided_by_those_of_the_first_network(bench, words, folder, linear, tmp_path):
    """mCE by hand: of each corruption the errors over those of the baseline, then the mean."""
    names = (words[1], f"{linear}[weights_seed=2]")
    words[1:2] = names
    told = bench(*words, "--files", folder, "--out", tmp_path / "out")
    found = read(bench(*words, "--files", folder, "--json"))
    errors = [
        {
            name: sum(50 - held["accuracy"]["count"] for held in shift["corrupted"] if held["name"] == name)
            for name in ("shot_noise", "fog")
        }
        for shift in found
    ]
    ratio = np.mean([errors[1][name] / errors[0][name] for name in errors[0]])
    row = next(line for line in told.out.splitlines() if line.startswith("mCE"))
    assert row.split() == ["mCE", "100.0", f"{100 * ratio:.1f}"]
    rows = [
        row
        for row in csv.DictReader((tmp_path / "out" / "shift.csv").open(newline=""))
        if row["name"] == "mce"
    ]
    assert [float(row["accuracy"]) for row in rows] == [1.0, pytest.approx(ratio, abs=1e-5)]


def pictures(place, x, names):
    for row, (pixels, name) in enumerate(zip(x, names, strict=True)):
        (place / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0]).save(place / name / f"ILSVRC2012_val_{row:08}.png")


def test_folders_of_a_severity_follow_the_files_of_the_test_images(bench, words, tmp_path, arrays):
    y = np.repeat([0, 1], 60)
    draws, names = np.random.RandomState(1), [f"n0000000{label}" for label in y]
    clean = (arrays["x_test"].transpose(0, 2, 3, 1) * 255).round().astype(np.uint8)
    for part in ("train", "val"):
        pictures(tmp_path / "data" / part, clean, names)
    shown = {severity: draws.randint(0, 256, clean.shape).astype(np.uint8) for severity in (1, 2, 4)}
    for severity, x in shown.items():
        pictures(tmp_path / "c" / "fog" / str(severity), x, names)
    words[words.index("--data") + 1] = f"folder:{tmp_path / 'data'}[channels=1]"
    words[words.index("--examples") + 1] = "all"
    (shift,) = read(bench(*words, "--files", tmp_path / "c", "--json"))
    found = {held["severity"]: held["accuracy"]["count"] for held in shift["corrupted"]}
    assert found == {number: int((answers(x) == y).sum()) for number, x in shown.items()}
    (tmp_path / "c" / "fog" / "2" / names[0] / "ILSVRC2012_val_00000000.png").unlink()
    told = bench(*words, "--files", tmp_path / "c")
    assert told.code == 2 and "has 119 labels and folder:data[channels=1] 120 test images" in told.err


def test_sequences_count_flips(bench, words, tmp_path, arrays, subset):
    place = tmp_path / "sequences"
    place.mkdir()
    draws = np.random.RandomState(2)
    held = {name: draws.randint(0, 256, (120, 6, 4, 4, 1), np.uint8) for name in ("tilt", "shot_noise_2")}
    for name, x in held.items():
        np.save(place / f"{name}.npy", x)
    (shift,) = read(bench(*words, "--files", place, "--json"))
    assert [one["name"] for one in shift["perturbed"]] == ["tilt", "shot_noise_2"] and not shift["corrupted"]
    tilt, noise = (answers(held[name][subset]) for name in ("tilt", "shot_noise_2"))
    rates = [one["flips"]["value"] for one in shift["perturbed"]]
    assert rates[0] == pytest.approx((tilt[:, 1:] != tilt[:, :-1]).mean(), abs=1e-6)
    assert rates[1] == pytest.approx((noise[:, 1:] != noise[:, :1]).mean(), abs=1e-6)
    assert shift["mean_flips"]["value"] == rates[0], "shot_noise_2 is a harder one, in no mean"
    accuracy = (tilt == arrays["y_test"][subset][:, None]).mean()
    assert shift["perturbed"][0]["accuracy"]["value"] == pytest.approx(accuracy, abs=1e-6)
    told = bench(*words, "--files", place, "--out", tmp_path / "out").out
    assert "mean of 1" in told and f"{100 * rates[0]:.1f} [" in told
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["shift.csv", "shift.md"]


def test_flips_by_hand():
    sequence = np.array([[0, 0, 1, 1, 0], [2, 2, 2, 2, 2]])
    assert flipped(sequence, "tilt").sum(1).tolist() == [2, 0]
    assert flipped(sequence, "gaussian_noise_3").sum(1).tolist() == [2, 0]
    assert flipped(np.array([[0, 1, 1, 1]]), "tilt").tolist() == [[True, False, False]]
    assert flipped(np.array([[0, 1, 1, 1]]), "shot_noise").tolist() == [[True, True, True]]


def _other_labels(place: Path) -> None:
    np.save(place / "labels.npy", 1 - np.load(place / "labels.npy"))


def _larger(place: Path) -> None:
    for file in place.glob("[!l]*.npy"):
        np.save(file, np.load(file).repeat(2, 1).repeat(2, 2))


WRONG = {
    "no labels": (lambda place: (place / "labels.npy").unlink(), "labels.npy is not there"),
    "labels of other images": (_other_labels, "expected the same: labels of the same images"),
    "other sizes": (_larger, "has images [1, 8, 8] and npz:linear [1, 4, 4]"),
    "floats": (lambda place: np.save(place / "fog.npy", np.zeros((600, 4, 4, 1))), "float64, expected uint8"),
    "too few": (lambda place: np.save(place / "fog.npy", np.zeros((601, 4, 4, 1), "u1")), "has 601 images"),
    "flat": (lambda place: np.save(place / "fog.npy", np.zeros((600, 16), "u1")), "2 and 4 dimensions"),
    "damaged": (lambda place: (place / "fog.npy").write_bytes(b"no array"), "fog.npy is not a readable npy"),
    "code": (
        lambda place: np.save(place / "fog.npy", np.array([{}], dtype=object), allow_pickle=True),
        "fog.npy is not a readable npy",
    ),
    "empty": (lambda place: [file.unlink() for file in place.iterdir()], "has no corrupted images"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_such_folder_is_one_sentence(bench, words, folder, kind):
    change, told = WRONG[kind]
    change(folder)
    refused = bench(*words, "--files", folder)
    assert refused.code == 2 and "Traceback" not in refused.err and refused.out == ""
    assert told in refused.err.splitlines()[-1], refused.err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--only", "rain"], "expected one of shot_noise, fog, spatter"),
        (["--only", "poses"], "--only poses asks for what no file holds"),
    ],
)
def test_only_what_is_there(bench, words, folder, more, told):
    refused = bench(*words, "--files", folder, *more)
    assert refused.code == 2 and told in refused.err


def test_no_folder(bench, words, tmp_path):
    refused = bench(*words, "--files", tmp_path / "nothing")
    assert refused.code == 2 and "which is no folder" in refused.err
