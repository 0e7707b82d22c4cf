"""Files of others: weights are found and fitted, no code is run, whatever does not fit is one sentence."""

from __future__ import annotations

import argparse
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bench.errors import BadCheckpoint, BadValue, UnknownName
from bench.train.weights_file import load_foreign


def _net(seed: int = 0, width: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(width * 36, 2)
    )


def _same(net: nn.Module, other: nn.Module) -> bool:
    wanted = other.state_dict()
    return all(torch.equal(tensor, wanted[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "net"])
def test_wrappings_of_others_are_undone(tmp_path: Path, prefix: str, wrapper: str | None) -> None:
    net = _net()
    table: object = {prefix + name: tensor for name, tensor in net.state_dict().items()}
    if wrapper:
        table = {wrapper: table, "epoch": 3}
    torch.save(table, tmp_path / "theirs.pt")
    other = _net(1)
    load_foreign(tmp_path / "theirs.pt", other)
    assert _same(other, net)


def test_a_child_called_module_keeps_its_name(tmp_path: Path) -> None:
    net = nn.ModuleDict({"module": nn.Linear(2, 2)})
    torch.save(net.state_dict(), tmp_path / "a.pt")
    load_foreign(tmp_path / "a.pt", nn.ModuleDict({"module": nn.Linear(2, 2)}))


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
        path.write_bytes(random.Random(0).randbytes(5000))
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
        ("missing", r"does not fit the network: it misses 0\.bias"),
        ("unexpected", r"does not fit the network: it has unexpected extra\.weight"),
        ("shape", r"does not fit the network: 0\.weight is 4x1x3x3, expected 3x1x3x3"),
        ("nan", r"not finite in 0\.bias"),
        ("tensor", "holds no table of tensors, but the type Tensor"),
        ("numbers", "holds no table of tensors, but a table of int"),
        ("absent", "cannot be read"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, what: str, sentence: str) -> None:
    path, net = tmp_path / "weights.pt", _net(1)
    before = _net(1)
    _write(path, what)
    with pytest.raises(BadCheckpoint, match=sentence) as found:
        load_foreign(path, net)
    assert str(path) in str(found.value) and "\n" not in str(found.value)
    assert _same(net, before), "a refused file must not change the network"


def test_many_keys_are_cut_short(tmp_path: Path) -> None:
    torch.save({f"layer{k}": torch.zeros(1) for k in range(40)}, tmp_path / "a.pt")
    with pytest.raises(BadCheckpoint, match=r"unexpected layer0, layer1, layer2 and 37 more"):
        load_foreign(tmp_path / "a.pt", _net())


@pytest.mark.parametrize("content", [b"{", b"", b"<html>"])
def test_a_damaged_safetensors_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(BadCheckpoint):
        load_foreign(tmp_path / "a.safetensors", _net())


class Config(dict[str, object]):
    """A table of a class of one's own."""


class Settings:
    """An object of a class of one's own."""

    def __init__(self) -> None:
        self.rate = 0.1


class Runs:
    """A pickle that would run code."""

    def __reduce__(self) -> object:
        return os.system, ("touch ran",)


class Evaluates:
    """The same by Python's own eval."""

    def __reduce__(self) -> object:
        return eval, ("1",)


def _fits(found: object, path: Path, key: str = "", old: bool = False) -> tuple[str, ...]:
    """What is said when a file of this is loaded, after the network has exactly the weights."""
    torch.save(found, path, _use_new_zipfile_serialization=not old)
    other = _net(1)
    said = load_foreign(path, other, key)
    assert _same(other, _net())
    return said


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    "beside",
    [
        {"acc": np.float64(91.2), "array": np.zeros(3), "kind": np.dtype("f4")},
        {"args": argparse.Namespace(lr=0.1, where=Path("x"))},
        {"config": Config(a=1), "settings": Settings()},
        {"optimizer": torch.optim.Adam(_net().parameters()).state_dict(), "epoch": 3},
    ],
    ids=["numpy", "namespace", "own classes", "optimizer"],
)
def test_what_stands_beside_weights_is_left_alone(
    tmp_path: Path, beside: dict[str, object], old: bool
) -> None:
    said = _fits({"model_state_dict": _net().state_dict(), **beside}, tmp_path / "a.pt", old=old)
    assert said == ("a.pt: the weights under model_state_dict are taken",)


@pytest.mark.parametrize("hostile", [Runs(), Evaluates()])
@pytest.mark.parametrize("old", [False, True])
def test_a_pickle_that_would_run_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hostile: object, old: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"net": _net().state_dict(), "x": hostile}, "a.pt", _use_new_zipfile_serialization=not old)
    with pytest.raises(BadCheckpoint, match=r"it would run (posix.system|nt.system|eval)"):
        load_foreign(Path("a.pt"), _net(1))
    assert not Path("ran").exists()


def test_a_whole_network_lends_its_weights_and_runs_nothing(tmp_path: Path) -> None:
    for found in (_net(), {"model": _net(), "epoch": 3}):
        assert _fits(found, tmp_path / "a.pt") is not None
    assert (
        "pickle of a whole network (torch.nn.modules.container.Sequential)"
        in _fits(_net(), tmp_path / "a.pt")[0]
    )


def test_counters_may_be_more_or_fewer(tmp_path: Path) -> None:
    state = _net().state_dict()
    fewer = {name: tensor for name, tensor in state.items() if "num_batches" not in name}
    assert "num_batches_tracked not in it" in _fits(fewer, tmp_path / "a.pt")[0]
    more = {
        **state,
        "total_ops": torch.zeros(1),
        "0.total_params": torch.zeros(1),
        "n_averaged": torch.tensor(3),
    }
    assert "n_averaged, total_ops, total_params left out" in _fits(more, tmp_path / "a.pt")[0]


def test_several_tables_are_never_taken_in_silence(tmp_path: Path) -> None:
    other = {name: tensor + 1 for name, tensor in _net().state_dict().items()}
    both = {"state_dict": other, "ema": {"shadow": _net().state_dict()}}
    torch.save(both, tmp_path / "a.pt")
    with pytest.raises(BadValue, match=r"2 tables that fit the network, state_dict, ema\.shadow") as raised:
        load_foreign(tmp_path / "a.pt", _net(1))
    assert raised.value.hint == "--set defense.key=state_dict"
    _fits(both, tmp_path / "a.pt", key="ema.shadow")
    with pytest.raises(UnknownName, match=r"no table of weights 'ema.shadwo'; did you mean 'ema.shadow'"):
        load_foreign(tmp_path / "a.pt", _net(1), "ema.shadwo")
    _fits({"raw": _net().state_dict(), "ema": _net().state_dict()}, tmp_path / "a.pt")


def test_a_flat_table_of_several_networks(tmp_path: Path) -> None:
    flat = {f"model.{name}": tensor for name, tensor in _net().state_dict().items()}
    said = _fits({"state_dict": {**flat, "criterion.centers": torch.zeros(2)}}, tmp_path / "a.pt")
    assert "a.pt: centers left out" in said
    scaled = {**flat, "norm.mean": torch.tensor([0.5]), "norm.std": torch.tensor([0.25])}
    torch.save(scaled, tmp_path / "b.pt")
    with pytest.raises(
        BadCheckpoint, match="mean and std of a normalisation, which nothing applies"
    ) as raised:
        load_foreign(tmp_path / "b.pt", _net(1))
    assert raised.value.hint == "--normalize 0.5/0.25 --set defense.key=model"
    _fits(scaled, tmp_path / "b.pt", key="model")


def test_a_wrapper_in_the_network_adds_a_prefix(tmp_path: Path) -> None:
    torch.save(_net().state_dict(), tmp_path / "a.pt")
    wrapped = nn.Sequential(nn.Identity(), _net(1))
    said = load_foreign(tmp_path / "a.pt", wrapped)
    assert (
        _same(wrapped[1], _net()) and "begin with nothing in the file and with 1. in the network" in said[0]
    )


def test_arrays_of_numpy(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{name: tensor.numpy() for name, tensor in _net().state_dict().items()})
    other = _net(1)
    load_foreign(tmp_path / "a.npz", other)
    assert _same(other, _net())


def test_what_is_no_table_says_what_it_is(tmp_path: Path) -> None:
    torch.jit.trace(_net().eval(), torch.zeros(1, 1, 8, 8)).save(str(tmp_path / "program.pt"))
    (tmp_path / "net.onnx").write_bytes(b"\x08\x07\x12\x07pytorch")
    for name, sentence in {
        "program.pt": r"is a TorchScript program.*--factory FILE.py:make without --checkpoint",
        "net.onnx": "is a network in ONNX",
        ".": "not a regular file",
    }.items():
        with pytest.raises(BadCheckpoint, match=sentence):
            load_foreign(tmp_path / name, _net())
