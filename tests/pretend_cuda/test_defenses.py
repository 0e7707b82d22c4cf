"""Every defense trains, deploys and is attacked on a card that is not the current one."""

import dataclasses

import pytest
import torch
from cards.everything import attacked, defenses, trained

from bench.evaluate.numerics import Numerics

CARD = torch.device("cuda", 1)


@pytest.mark.parametrize("name", [*defenses()])
def test_a_defense_trains_and_is_attacked(name, tmp_path):
    spec, weights, data = trained(name, tmp_path, CARD)
    assert data.test.x.device == CARD
    cell = attacked(spec, weights, data)
    assert cell.error is None and len(cell.outcomes) == 8


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_a_precision_is_taken_on_a_card(precision, tmp_path):
    spec, weights, data = trained("pgd_at", tmp_path, CARD, precision=precision)
    cell = attacked(spec, weights, data, Numerics(precision=precision))
    assert cell.error is None
    assert dataclasses.asdict(spec.recipe)["precision"] == precision
