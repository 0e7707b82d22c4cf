"""Trained networks: from the store, or trained now, parents first."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from bench.api import Defense
from bench.core.digest import source_digests
from bench.core.threat import Source
from bench.data.dataset import Dataset
from bench.data.identity import identity
from bench.data.load import load
from bench.errors import BadCheckpoint, BadData, BadValue, BenchError
from bench.plan import TrainSpec
from bench.runner.options import Options, pick_device
from bench.runner.stale import check_data, check_training, open_training
from bench.train.checkpoints import load_weights
from bench.train.fit import Trained, train
from bench.train.foreign import Foreign


def fit(spec: TrainSpec, options: Options, data: Dataset | None = None) -> Trained:
    """The weights of a training, its parents first: from the store, or trained from where it stopped.

    Raises:
        BenchError: data, weights or store are not as they must be, the weights are of other code, or training
            failed. A training that could not begin leaves nothing behind.
    """
    options.store.prepare()
    data = data or load_data(spec, options)
    folder = options.store.model(spec.id)
    sources = source_digests(spec.modules)
    changed = check_data(spec, folder, data, options) | check_training(spec, folder, sources, options)
    parents = {role: _network(parent, options, data) for role, parent in spec.parents}
    open_training(spec, folder, sources, data, anew=changed and options.stale == "rerun")
    try:
        with _weights_to_begin_with(spec, folder) as init:
            return train(
                spec.named.defense,
                _shown_to(spec.named.defense, data),
                data.task(spec.architecture),
                budget=spec.budget,
                recipe=spec.recipe,
                seed=spec.seed,
                identity=spec.id,
                parents=parents,
                folder=folder,
                device=options.device,
                devices=options.devices,
                progress=options.progress,
                init=init,
            )
    except BenchError:
        _leave_no_empty_folder(folder)
        raise
    except torch.OutOfMemoryError:
        raise BadValue(
            f"training {spec.named.label} in batches of {spec.recipe.batch_size} ran out of memory on "
            f"{options.device!r}, expected smaller batches or a device with more",
            f"--set recipe.batch_size={max(2, spec.recipe.batch_size // 2)}",
        ) from None


def _shown_to(defense: Defense, data: Dataset) -> Dataset:
    """What a defense is fitted on; one that is not trained looks at test images where there are no others."""
    if len(data.train) or not isinstance(defense, Foreign):
        return data
    return replace(data, train=data.test.take(torch.tensor([0, -1])))


def load_data(spec: TrainSpec, options: Options) -> Dataset:
    """The data set of a training, on the device.

    Raises:
        BadData: it is nowhere, not in order, or no longer what was asked about.
    """
    data = load(spec.data, options.data_root, options.download, options.progress)
    if identity(spec.data) != spec.data_identity:  # looked at after it was read: what was read is what it was
        raise BadData(
            f"the files of {spec.data} changed while they were read, expected files that stay as they are",
            "the same command again, when nothing writes there any more",
        )
    return data.to(pick_device(options.device))


def build_trained(
    spec: TrainSpec, trained: Trained, data: Dataset, checkpoint: Literal["best", "last"]
) -> nn.Module:
    """The defense's modules with the weights of one of its checkpoints."""
    net = spec.named.defense.build(data.task(spec.architecture))
    load_weights(trained.folder / f"{checkpoint}.safetensors", net)
    return net


def attackers_network(
    who: Source, spec: TrainSpec, victim: Trained, options: Options, data: Dataset
) -> nn.Module:
    """A network that attackers own: its predict is attacked, and it is never the victim itself."""
    if not (options.store.model(spec.id) / "training.json").is_file():
        options.progress.say(
            f"the attackers' {who.value} network: {spec.named.label}, {spec.architecture}, seed {spec.seed}"
        )
    trained = fit(spec, options, data)
    if trained.sha256 == victim.sha256:
        raise BadCheckpoint(
            f"the {who.value} of this run has the victim's own weights ({victim.sha256[:12]}), "
            "expected another network",
            "--seed with another number, or another --surrogate",
        )
    net = build_trained(spec, trained, data, "best")
    net.to(pick_device(options.device)).eval().requires_grad_(False)
    deployed = spec.named.defense.deploy(net)
    return deployed.attackable or deployed.predict


@contextmanager
def _weights_to_begin_with(spec: TrainSpec, folder: Path) -> Iterator[Path | None]:
    """The file that a training begins with; what others trained may have to be unpacked first."""
    if spec.init is None or not isinstance(spec.named.defense, Foreign):
        yield None if spec.init is None else spec.init.path
    elif (folder / "training.json").is_file():  # complete: nothing will be read
        yield spec.init.path
    else:
        with tempfile.TemporaryDirectory() as place:
            yield spec.named.defense.unpacked(spec.data, spec.init.path, Path(place))


def _network(spec: TrainSpec, options: Options, data: Dataset) -> nn.Module:
    """A trained network, frozen and in eval mode."""
    net = build_trained(spec, fit(spec, options, data), data, "best")
    return net.to(pick_device(options.device)).eval().requires_grad_(False)


def _leave_no_empty_folder(folder: Path) -> None:
    if {file.name for file in folder.iterdir()} == {"spec.json"}:
        (folder / "spec.json").unlink()
        folder.rmdir()
