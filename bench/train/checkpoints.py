"""Weights and training state on disk: written whole or not at all, read strictly."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from bench.core.digest import file_sha256
from bench.core.files import regular
from bench.core.json_file import read_json
from bench.errors import BadCheckpoint

Weights = dict[str, Tensor]
Row = dict[str, float | int | None]


def weights_of(net: nn.Module) -> Weights:
    """A copy of all parameters and buffers on the CPU, sharing no memory."""
    return {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in net.state_dict().items()
    }


def load_weights(path: Path, net: nn.Module) -> None:
    """Load what `save_weights` wrote into the network that it was written of, every name and shape as then.

    Weights of others are read by `weights_file.load_foreign`.

    Raises:
        BadCheckpoint: the file is damaged, or of another network.
    """
    try:
        found = safetensors.torch.load_file(regular(path))
        _require_finite(found)
        net.load_state_dict(found)
    except Exception as error:  # whatever a damaged file makes the readers raise
        raise BadCheckpoint(
            f"{path} is damaged, or of another network than its training's ({_first_line(error)})",
            f"rm -r {path.parent} and train again",
        ) from None


def _require_finite(weights: Weights) -> None:
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"numbers that are not finite in {name}")


@dataclass(frozen=True)
class Checkpoints:
    """The folder of one training run; `training.json` exists exactly if the run is complete."""

    folder: Path

    def path(self, name: str) -> Path:
        """Where the file of that name is."""
        return self.folder / name

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Keep all that is needed to go on from here: tensors and plain data only."""
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        _write(self.path("state.ckpt"), buffer.getbuffer())

    def state(self) -> dict[str, Any] | None:
        """What `save_state` kept, on the CPU; None if nothing."""
        path = self.path("state.ckpt")
        if not path.exists():
            return None
        try:
            state = torch.load(regular(path), map_location="cpu", weights_only=True)
        except Exception as error:  # whatever a damaged file makes the reader raise
            raise BadCheckpoint(
                f"{path} cannot be read to resume training ({_first_line(error)})", f"rm {path}"
            ) from None
        if not isinstance(state, dict):
            raise BadCheckpoint(f"{path} is no training state, but {_kind(state)}", f"rm {path}")
        return state

    def save_weights(self, name: str, weights: Weights) -> None:
        """Write `name`.safetensors."""
        _write(self.path(f"{name}.safetensors"), safetensors.torch.save(weights))

    def save_log(self, rows: Sequence[Row]) -> None:
        """Write log.csv anew: a line for each completed epoch, a column for whatever any of them measured."""
        names: dict[str, None] = {}
        for row in rows:
            names.update(dict.fromkeys(row))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(names)
        for row in rows:
            writer.writerow([_cell(row.get(name)) for name in names])
        _write(self.path("log.csv"), text.getvalue().encode())

    def save_result(self, result: Mapping[str, Any]) -> None:
        """Write training.json; from now on the run is complete, and its state is no longer needed."""
        _write(self.path("training.json"), (json.dumps(result, indent=2, allow_nan=False) + "\n").encode())
        self.path("state.ckpt").unlink(missing_ok=True)

    def result(self) -> dict[str, Any] | None:
        """What `save_result` wrote; None if the run is not complete.

        Raises BadCheckpoint if its weights are gone or not those of the run.
        """
        path = self.path("training.json")
        if not path.exists():
            return None
        try:
            result: dict[str, Any] = read_json(path)
            weights, expected = self.path(str(result["weights"])), result["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            raise BadCheckpoint(f"{path} is damaged", f"rm -r {self.folder} and train again") from None
        if not weights.exists() or file_sha256(weights) != expected:
            what = "was changed after its training" if weights.exists() else "is missing"
            raise BadCheckpoint(f"{weights} {what}", f"rm -r {self.folder} and train again")
        return result


def _kind(value: object) -> str:
    return "an empty table" if isinstance(value, Mapping) else f"the type {type(value).__name__}"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]


def _cell(value: float | int | None) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _write(path: Path, content: bytes | memoryview) -> None:
    """All of the content or the file as it was, even if power fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
