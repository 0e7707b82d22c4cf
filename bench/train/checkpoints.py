"""Weights and training state on disk: written whole or not at all, read strictly."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from bench.core.digest import file_sha256
from bench.core.files import WEIGHTS, read_bytes, regular
from bench.core.json_file import read_json
from bench.errors import BadCheckpoint, BadData
from bench.records.files import is_plain, write_atomically
from bench.records.seal import check, sealed, unsealed, with_sum, without_sum

Weights = dict[str, Tensor]
Row = dict[str, float | int | None]


def weights_of(net: nn.Module) -> Weights:
    """A copy of all parameters and buffers on the CPU, sharing no memory."""
    return {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in net.state_dict().items()
    }


def load_weights(path: Path, net: nn.Module, sha256: str | None = None) -> None:
    """Load what `save_weights` wrote into the network that it was written of, every name and shape as then.

    `sha256` is that of the file when its training was complete; None: it was not noted.

    Weights of others are read by `weights_file.load_foreign`.

    Raises:
        BadCheckpoint: the file is damaged, or of another network, or not the one of its training.
    """
    if sha256 is not None and path.is_file() and file_sha256(path) != sha256:
        raise BadCheckpoint(
            f"{path} was changed after its training, expected SHA-256 {sha256[:12]}",
            f"rm -r {path.parent} and train again",
        )
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
        content = buffer.getvalue()
        write_atomically(self.path("state.ckpt"), with_sum(content))

    def state(self) -> dict[str, Any] | None:
        """What `save_state` kept, on the CPU; None if nothing."""
        path = self.path("state.ckpt")
        if not path.exists():
            return None
        try:
            content = without_sum(read_bytes(path, WEIGHTS))
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception as error:  # whatever a damaged file makes the reader raise
            raise BadCheckpoint(
                f"{path} cannot be read to resume training ({_first_line(error)})", f"rm {path}"
            ) from None
        if not isinstance(state, dict):
            raise BadCheckpoint(f"{path} is no training state, but {_kind(state)}", f"rm {path}")
        return state

    def save_weights(self, name: str, weights: Weights) -> None:
        """Write `name`.safetensors."""
        write_atomically(self.path(f"{name}.safetensors"), safetensors.torch.save(weights))

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
        write_atomically(self.path("log.csv"), text.getvalue().encode())

    def save_result(self, result: Mapping[str, Any]) -> None:
        """Write training.json; from now on the run is complete, and its state is no longer needed."""
        write_atomically(self.path("training.json"), sealed(result).encode())
        self.path("state.ckpt").unlink(missing_ok=True)

    def result(self, identity: str | None = None) -> dict[str, Any] | None:
        """What `save_result` wrote; None if the run is not complete.

        Raises BadCheckpoint if it is of another identity, or its weights are gone or not those of the run.
        """
        path = self.path("training.json")
        if not path.exists():
            return None
        again = f"rm -r {self.folder} and train again"
        try:
            result: dict[str, Any] = read_json(path)
            weights, expected = self.path(_plain(result["weights"])), result["sha256"]
            check(result, str(path), again)
            result = unsealed(result)
        except BadData as error:
            raise BadCheckpoint(error.message, again) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise BadCheckpoint(f"{path} is damaged", again) from None
        if identity is not None and result.get("identity") != identity:
            raise BadCheckpoint(
                f"{path} is of the training {result.get('identity')}, expected {identity}", again
            )
        if not weights.is_file() or file_sha256(weights) != expected:
            what = "was changed after its training" if weights.is_file() else "is missing"
            raise BadCheckpoint(f"{weights} {what}", again)
        return result


def _plain(name: object) -> str:
    """A name of a file in this very folder; ValueError for anything else."""
    if not is_plain(name):
        raise ValueError("no plain name")
    return str(name)


def _kind(value: object) -> str:
    return "an empty table" if isinstance(value, Mapping) else f"the type {type(value).__name__}"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]


def _cell(value: float | int | None) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
