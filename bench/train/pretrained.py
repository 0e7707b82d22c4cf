"""Image classifiers of transformers: what the files beside their weights say of network and images."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import safetensors.torch
from torch import nn

from bench.core.digest import canonical
from bench.core.errors_of_others import in_one_line
from bench.core.json_file import parse_json, read_json
from bench.errors import BadCheckpoint, MissingExtra
from bench.train.checkpoints import weights_of
from bench.train.weights_file import COUNTED, table_in

CONFIG = "config.json"
PROCESSOR = "preprocessor_config.json"
FILES = (CONFIG, PROCESSOR)
"""What `save_pretrained` writes beside the weights of a network, and of its image processor."""

SQUASHED = 384
"""From so many pixels on, a processor with `crop_pct` crops nothing."""

_CLASSIFIER = re.compile(r"\w+ForImageClassification(WithTeacher)?")
_NEVER = re.compile(
    r"_.*|.*implementation.*|auto_map|quantization_config|label2id|id2label|transformers_version"
)
"""What makes no difference to a network, or brings code: quantizers, kernels, classes of a repository."""


UNKNOWN = ("do_flip_channel_order", "include_top")
"""What some processors do besides: BGR for RGB (MobileViT), a second division by std (EfficientNet)."""


@dataclass(frozen=True)
class ImageProcessor:
    """What an image processor does: pixels in [0, 1] become (x - mean) / std; sizes are in pixels."""

    mean: tuple[float, ...] = ()  # empty: as they are
    std: tuple[float, ...] = ()
    resize: int | None = None  # the shorter side, before the crop
    crop: int | None = None

    @property
    def normalize(self) -> str:
        """As --normalize takes it.

        >>> ImageProcessor((0.1, 0.2, 0.3), (0.5, 0.5, 0.5)).normalize
        '0.1,0.2,0.3/0.5'
        """
        texts = [_numbers(self.mean), _numbers(self.std)]
        return "/".join(texts) if self.mean else "none"


def config_beside(weights: Path) -> str:
    """What makes the network of these weights, as JSON; empty: no image classifier of transformers.

    Raises:
        BadCheckpoint: it is a network of transformers that classifies no images.
        MissingExtra: transformers is not installed.
    """
    held = _read(weights.parent / CONFIG)
    kinds = held.get("architectures") or [""]
    if not isinstance(held.get("model_type"), str) or not isinstance(kinds, list):
        return ""
    if not _CLASSIFIER.fullmatch(str(kinds[0])):
        raise BadCheckpoint(
            f"{weights.parent / CONFIG} is of a {kinds[0]}, expected a network that ends in "
            "ForImageClassification",
            "--factory FILE.py:CALLABLE, where the callable returns a classifier",
        )
    if importlib.util.find_spec("transformers") is None:
        raise MissingExtra(
            f"{kinds[0]} needs transformers, which is not installed", "pip install 'robust-bench-harness[hf]'"
        )
    labels = held.get("id2label")
    outputs = {"num_labels": len(labels)} if isinstance(labels, Mapping) else {}
    return canonical({**_without_code(held), **outputs, "architectures": [str(kinds[0])]})


def kind_of(config: str) -> str:
    """The class of transformers that a network is of."""
    return str(parse_json(config)["architectures"][0])


def make(config: str) -> nn.Module:
    """A network with fresh weights, of transformers' own code alone.

    Raises:
        BadCheckpoint: transformers knows no such class, or cannot make it.
    """
    kind = _kind(config)
    try:
        made: nn.Module = kind(kind.config_class.from_dict(parse_json(config)))
    except Exception as error:  # whatever a configuration of anybody's makes it raise
        raise BadCheckpoint(
            f"transformers cannot make a {kind_of(config)} ({in_one_line(error)}), expected its config.json"
        ) from None
    return made


def unpack(config: str, file: Path, folder: Path) -> Path:
    """A file of weights by the names of the installed transformers, which differ from version to version.

    Raises:
        BadCheckpoint: it does not fit, name by name and shape by shape.
    """
    kind = _kind(config)
    net, told = kind.from_pretrained(
        None,
        config=kind.config_class.from_dict(parse_json(config)),
        state_dict=table_in(file),
        ignore_mismatched_sizes=True,  # they are told below
        output_loading_info=True,
    )
    faults = {
        fault: [str(name) for name in told[f"{fault}_keys"] if not str(name).endswith(COUNTED)]
        for fault in ("missing", "unexpected", "mismatched")
    }
    listed = [f"{fault} {sorted(names)[0]} ({len(names)} in all)" for fault, names in faults.items() if names]
    if listed:
        raise BadCheckpoint(
            f"{file} does not fit the {kind_of(config)} of its config.json: {', '.join(listed)}",
            "the files of one save_pretrained",
        )
    path = folder / "network.safetensors"
    safetensors.torch.save_file(weights_of(net), path)
    return path


def _kind(config: str) -> Any:
    """The class of a network, one of transformers' own, which tells nothing while it loads."""
    library: Any = importlib.import_module("transformers")
    library.utils.logging.set_verbosity_error()
    library.utils.logging.disable_progress_bar()
    kind = getattr(library, kind_of(config), None)
    if not (isinstance(kind, type) and issubclass(kind, library.PreTrainedModel)):
        raise BadCheckpoint(
            f"transformers {library.__version__} has no {kind_of(config)}, expected one of its own classes",
            "pip install --upgrade transformers",
        )
    return kind


def processor_beside(weights: Path) -> ImageProcessor:
    """What is done to images before the network, as far as a file beside its weights says."""
    held = _read(weights.parent / PROCESSOR)
    more = [name for name in UNKNOWN if held.get(name)]
    if more:
        raise BadCheckpoint(
            f"{weights.parent / PROCESSOR} does more to images than scaling ({', '.join(more)}), expected no "
            "more than resizing, cropping, mean and std",
            "--factory FILE.py:CALLABLE, where the callable returns a network that does it",
        )
    mean, std = _scaled(held)
    return ImageProcessor(mean, std, *_sizes(held))


def _scaled(held: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std for pixels in [0, 1]; the processor's are for pixels up to 255, times its factor."""
    factor = held.get("rescale_factor", 1 / 255) if held.get("do_rescale", True) else 1.0
    offset = 1.0 if held.get("rescale_offset") else 0.0
    mean, std = held.get("image_mean"), held.get("image_std")
    if not held.get("do_normalize", bool(mean)):
        mean, std = [0.0], [1.0]
    if not (_are_numbers(mean) and _are_numbers(std) and _are_numbers([factor]) and factor > 0):
        return (), ()
    unit = round(255 * factor, 6)
    if (unit, offset, {*mean}, {*std}) == (1.0, 0.0, {0.0}, {1.0}):
        return (), ()
    return tuple((m + offset) / unit for m in mean), tuple(s / unit for s in std)


def _sizes(held: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Of how many pixels the shorter side is made, and how many are kept of each."""
    side = _side(held.get("size")) if held.get("do_resize", True) else None
    if side is None:
        return None, None
    if held.get("do_center_crop") and _side(held.get("crop_size")):
        return side, _side(held["crop_size"])
    share: Any = held.get("crop_pct")
    is_cropped = side < SQUASHED and _are_numbers([share]) and share > 0
    return int(side / share) if is_cropped else side, side


def _side(size: Any) -> int | None:
    if isinstance(size, Mapping):
        size = size.get("shortest_edge") or size.get("height")
    return size if isinstance(size, int) and size > 0 else None


def _are_numbers(values: Any) -> TypeGuard[list[float]]:
    return isinstance(values, list) and all(isinstance(v, (int, float)) and abs(v) < 1e6 for v in values)


def _numbers(values: tuple[float, ...]) -> str:
    found = [f"{value:.6g}" for value in values]
    return found[0] if len({*found}) == 1 else ",".join(found)


def _without_code(held: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_code(value) if isinstance(value, dict) else value
        for key, value in held.items()
        if not _NEVER.fullmatch(key)
    }


def _read(path: Path) -> Mapping[str, Any]:
    """The table in a JSON file; empty: there is none.

    Raises BadCheckpoint if it is none, or no JSON.
    """
    if not path.is_file():
        return {}
    try:
        held = read_json(path)
    except (OSError, ValueError) as error:
        raise BadCheckpoint(f"{path} cannot be read ({in_one_line(error)}), expected JSON") from None
    return held if isinstance(held, dict) else {}
