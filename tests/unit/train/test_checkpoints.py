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


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "net"])
def test_wrappings_of_others_are_undone(tmp_path: Path, prefix: str, wrapper: str | None) -> None:
    net = _net()
    table: object = {prefix + name: tensor for name, tensor in net.state_dict().items()}
    if wrapper:
        table = {wrapper: table, "epoch": 3}
    torch.save(table, tmp_path / "theirs.pt")
    other = _net(1)
    load_weights(tmp_path / "theirs.pt", other)
    assert _same(other, net)


def test_a_child_called_module_keeps_its_name(tmp_path: Path) -> None:
    net = nn.ModuleDict({"module": nn.Linear(2, 2)})
    torch.save(net.state_dict(), tmp_path / "a.pt")
    load_weights(tmp_path / "a.pt", nn.ModuleDict({"module": nn.Linear(2, 2)}))


class Foreign:
    pass


def _write(path: Path, what: str) -> None:
    state = dict(_net().state_dict())
    if what == "html":
        path.write_text("\n<!DOCTYPE html><html>404</html>")
    elif what == "lfs":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    elif what == "truncated":
        torch.save(state, path)
        path.write_bytes(path.read_bytes()[:-500])
    elif what == "empty":
        path.write_bytes(b"")
    elif what == "noise":
        path.write_bytes(os.urandom(5000))
    elif what == "foreign":
        torch.save({"state_dict": state, "who": Foreign()}, path)
    elif what == "missing":
        del state["0.bias"]
        torch.save(state, path)
    elif what == "unexpected":
        torch.save({**state, "extra.weight": torch.zeros(1)}, path)
    elif what == "shape":
        torch.save(_net(width=4).state_dict(), path)
    elif what == "nan":
        state["0.bias"] = torch.tensor([0.0, float("nan"), 0.0])
        torch.save(state, path)
    elif what == "tensor":
        torch.save(torch.zeros(3), path)
    elif what == "numbers":
        torch.save({"a": 3}, path)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("html", "is a web page, not weights"),
        ("lfs", "is a pointer to a large file, not weights"),
        ("truncated", "is not a safetensors file or a pickle of plain tensors"),
        ("empty", "is not a safetensors file or a pickle of plain tensors"),
        ("noise", "is not a safetensors file or a pickle of plain tensors"),
        ("foreign", "is not a safetensors file or a pickle of plain tensors"),
        ("missing", r"does not fit the network: it misses 0\.bias"),
        ("unexpected", r"does not fit the network: it has unexpected extra\.weight"),
        ("shape", r"does not fit the network: 0\.weight is 4x1x3x3, expected 3x1x3x3"),
        ("nan", r"not finite in 0\.bias"),
        ("tensor", "holds no table of tensors, but the type Tensor"),
        ("numbers", "holds the type int under 'a', expected tensors only"),
        ("absent", "cannot be read"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, what: str, sentence: str) -> None:
    path, net = tmp_path / "weights.pt", _net(1)
    before = _net(1)
    _write(path, what)
    with pytest.raises(BadCheckpoint, match=sentence) as found:
        load_weights(path, net)
    assert str(path) in str(found.value) and "\n" not in str(found.value)
    assert _same(net, before), "a refused file must not change the network"


def test_many_keys_are_cut_short(tmp_path: Path) -> None:
    torch.save({f"layer{k}": torch.zeros(1) for k in range(40)}, tmp_path / "a.pt")
    with pytest.raises(BadCheckpoint, match=r"unexpected layer0, layer1, layer2 and 37 more"):
        load_weights(tmp_path / "a.pt", _net())


@pytest.mark.parametrize("content", [b"{", b"", b"<html>"])
def test_a_damaged_safetensors_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(BadCheckpoint):
        load_weights(tmp_path / "a.safetensors", _net())


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
