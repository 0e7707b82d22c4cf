"""Weights come back exactly, and whatever does not fit is refused in one sentence."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch
from torch import nn

from bench.errors import BadCheckpoint
from bench.train.checkpoints import Checkpoints, load_weights, weights_of


def _net(seed: int = 0, width: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(width * 36, 2)
    )


def _same(net: nn.Module, other: nn.Module) -> bool:
    wanted = other.state_dict()
    return all(torch.equal(tensor, wanted[name]) for name, tensor in net.state_dict().items())


def test_safetensors_round_trip(tmp_path: Path) -> None:
    net = _net().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    Checkpoints(tmp_path).save_weights("best", weights_of(net))
    found = safetensors.torch.load_file(tmp_path / "best.safetensors")
    assert found.keys() == net.state_dict().keys()
    other = _net(1)
    load_weights(tmp_path / "best.safetensors", other)
    assert _same(other, net)


def test_shared_weights_can_be_saved(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    Checkpoints(tmp_path).save_weights("best", weights_of(net))
    other = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    load_weights(tmp_path / "best.safetensors", other)
    assert _same(other, net)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save_state({"epoch": 1})

    def fail(descriptor: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        checkpoints.save_state({"epoch": 2})
    assert checkpoints.state() == {"epoch": 1}


def test_a_damaged_state_says_what_to_remove(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.state() is None
    (tmp_path / "state.ckpt").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(BadCheckpoint, match="cannot be read to resume training"):
        checkpoints.state()


def test_the_log_has_a_column_for_whatever_was_measured(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save_log(
        [{"epoch": 1, "loss": 0.1234567, "robust_accuracy": None}, {"epoch": 2, "loss": 1e-9, "extra": 2.0}]
    )
    table = pd.read_csv(tmp_path / "log.csv")
    assert list(table.columns) == ["epoch", "loss", "robust_accuracy", "extra"]
    assert table["loss"].tolist() == [0.123457, 1e-9]
    assert table["robust_accuracy"].isna().all() and table["extra"].isna().tolist() == [True, False]


def test_a_result_vouches_for_its_weights(tmp_path: Path) -> None:
    import hashlib

    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.result() is None
    checkpoints.save_weights("best", weights_of(_net()))
    checkpoints.save_state({"epoch": 1})
    digest = hashlib.sha256((tmp_path / "best.safetensors").read_bytes()).hexdigest()
    checkpoints.save_result({"weights": "best.safetensors", "sha256": digest})
    assert checkpoints.result() == {"weights": "best.safetensors", "sha256": digest}
    assert not (tmp_path / "state.ckpt").exists(), "a complete run needs no state"
    checkpoints.save_weights("best", weights_of(_net(1)))
    with pytest.raises(BadCheckpoint, match="was changed after its training"):
        checkpoints.result()
    (tmp_path / "best.safetensors").unlink()
    with pytest.raises(BadCheckpoint, match="is missing"):
        checkpoints.result()
    (tmp_path / "training.json").write_text(json.dumps({"weights": 3})[:-1])
    with pytest.raises(BadCheckpoint, match="is damaged"):
        checkpoints.result()
