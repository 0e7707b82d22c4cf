"""Networks that libraries know by name, timm's and torchvision's, and how they want their images."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.core.downloads import https_only
from bench.core.errors_of_others import in_one_line
from bench.errors import BadCheckpoint, MissingExtra, unknown
from bench.train.hub import CUSTOMARY

SCHEMES = ("timm", "torchvision")


@dataclass(frozen=True)
class Usual:
    """What a library says of a network's images."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int | None = None  # the shorter side, before the crop
    crop: int | None = None


def make(scheme: str, name: str, classes: int | None = None, channels: int = 3) -> nn.Module:
    """A network with fresh weights; `classes` outputs, or as many as its published weights have.

    Raises:
        UnknownName: the library knows no such network.
        MissingExtra: the library is not installed.
    """
    library = _library(scheme, name)
    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if scheme == "timm":
        made: nn.Module = library.create_model(name, pretrained=False, in_chans=channels, **options)
    else:
        made = library.models.get_model(name, weights=None, **options)
    return made


def published(scheme: str, name: str, download: bool) -> nn.Module:
    """A network with the weights that its library publishes for it.

    Raises:
        BadCheckpoint: there are none, or they cannot be had.
    """
    library = _library(scheme, name)
    try:
        if not download:
            _require_cached(scheme, name, library)
        with https_only():
            if scheme == "timm":
                made: nn.Module = library.create_model(name, pretrained=True)
            else:
                made = library.models.get_model(name, weights="DEFAULT")
        return made
    except Exception as error:  # no network, no such file, a full disk
        raise BadCheckpoint(
            f"the published weights of {scheme}:{name} cannot be had ({in_one_line(error)}), expected these, "
            "or a file of weights",
            f"--defense {scheme}:{name} --checkpoint FILE",
        ) from None


def usual(scheme: str, name: str) -> Usual:
    """How the published weights of a network want their images."""
    library = _library(scheme, name)
    if scheme == "timm":
        settings = library.get_pretrained_cfg(name)
        crop = int(settings.input_size[-1])
        return Usual(tuple(settings.mean), tuple(settings.std), int(crop / settings.crop_pct), crop)
    steps = library.models.get_model_weights(name).DEFAULT.transforms()
    return Usual(tuple(steps.mean), tuple(steps.std), _only(steps.resize_size), _only(steps.crop_size))


def _only(sizes: Sequence[int]) -> int:
    return int(sizes[0])


def _library(scheme: str, name: str) -> Any:
    try:
        library = importlib.import_module(scheme)
    except ImportError as error:
        raise MissingExtra(
            f"{scheme}:{name} needs {scheme}, which cannot be imported ({in_one_line(error)})",
            f"pip install {scheme}",
        ) from None
    known = library.list_models() if scheme == "timm" else _classifiers(library)
    if name not in known and not (scheme == "timm" and library.is_model(name)):
        raise unknown("network", name, known, owner=scheme, prefix=f"{scheme}:")
    return library


def _classifiers(torchvision: Any) -> list[str]:
    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def _require_cached(scheme: str, name: str, library: Any) -> None:
    """Raise FileNotFoundError unless the published weights were downloaded before."""
    if scheme == "timm":
        repository = str(library.get_pretrained_cfg(name).hf_hub_id)
        hub: Any = importlib.import_module("huggingface_hub")
        files = [hub.try_to_load_from_cache(repository, file) for file in CUSTOMARY]
        found = any(isinstance(file, str) for file in files)
    else:
        file = library.models.get_model_weights(name).DEFAULT.url.rpartition("/")[2]
        found = Path(torch.hub.get_dir(), "checkpoints", file).is_file()
    if not found:
        raise FileNotFoundError("they were never downloaded, and --offline downloads nothing")
