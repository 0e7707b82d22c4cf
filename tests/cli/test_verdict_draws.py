"""Every command draws the verdicts on a randomized defense alike: from the seed, clean images and all others.

The defense is a coin: whatever the image, most of nine answers are right for 90 % of examples. So whoever
draws for clean and for attacked images apart counts luck as an attack: 0.9 x 0.9 of them hold.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

REFERENCE = Path(__file__).parents[1] / "reference"
COIN = f"{REFERENCE / 'coin_defense.py'}:Tossed"


@pytest.fixture
def counts(bench, linear, linear_data, tmp_path):
    """Seed -> what each command says of the coin: how many images of 60 are right, and how many hold."""

    def of(seed):
        given = ("--data", linear_data, "--examples", "60", "--seed", seed, "--store", tmp_path / "runs")

        def told(*words):
            found = bench(*words, *given, "--json")
            assert found.code == 0, found.err
            return json.loads(found.out)

        few = ("--detector", "max_softmax", "--fit-examples", "100", "--set", "numerics.eot_samples=1")
        weak = ("--eps", "1/1000", "--attack", "noise")
        run = told("run", "--defense", COIN, *weak)
        (curve,) = told("curve", COIN, "--over", "eps", "--at", "1/1000", *weak)
        (matrix,) = told("transfer", COIN, linear, *weak)
        (shift,) = told("shift", COIN, "--only", "brightness")
        (watched,) = told("detect", COIN, *weak, *few)
        (look,) = told("diagnose", COIN, "--eps", "1/1000")
        return {
            "run": (run["clean"]["count"], run["worst_case"]["count"]),
            "curve": (curve["networks"][0]["clean"]["count"], curve["points"][1]["robust"]["count"]),
            "transfer": (matrix["networks"][0]["clean"]["count"], matrix["robust"][0][0]["count"]),
            "transferred": (matrix["networks"][0]["clean"]["count"], matrix["robust"][1][0]["count"]),
            "shift": (shift["networks"][0]["clean"]["count"],) * 2,
            "detect": (watched["networks"][0]["clean"]["count"], watched["attacks"][0]["robust"]["count"]),
            "diagnose": (look["networks"][0]["clean"]["count"], look["adversarial"]["count"]),
        }

    return of


@pytest.mark.slow
def test_every_command_draws_the_same_verdicts_from_the_seed(counts):
    told = {seed: counts(seed) for seed in (0, 1)}
    for seed, found in told.items():
        (clean, held), *others = found.values()
        assert held == clean and 46 <= clean < 60, "nine votes of such a coin: 90 %, luck aside"
        assert others == [(clean, clean)] * 6, (seed, found)
    assert told[0]["run"] != told[1]["run"], "two seeds, two draws"


def test_no_pose_of_hundreds_beats_a_coin_by_luck(bench, linear_data, tmp_path):
    """Of 775 votes each image loses one in ten; where images make no difference, none is lost."""
    given = ("--data", linear_data, "--examples", "60", "--store", tmp_path / "runs", "--json")
    (shift,) = json.loads(bench("shift", f"{COIN}[blind=true]", "--only", "poses", *given).out)
    clean, posed = shift["networks"][0]["clean"]["count"], shift["posed"]
    assert 30 < clean < 60, "most are of that class, of which one in ten is lost"
    assert posed["worst_of_draws"]["count"] == posed["worst"]["count"] == clean
    assert posed["random"]["value"] == pytest.approx(clean / 60, abs=1e-6)
