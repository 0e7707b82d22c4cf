"""Trained networks: from the store, or trained now, parents first."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from bench.core.digest import source_digests
from bench.core.files import read_text
from bench.core.progress import Progress
from bench.core.threat import Source
from bench.data.dataset import Dataset
from bench.data.extra import mixed
from bench.data.identity import identity
from bench.data.load import load
from bench.errors import BadCheckpoint, BadData, BadValue, BenchError
from bench.plan import RunSpec, TrainSpec
from bench.records.files import leftovers, sweep
from bench.records.store import Store
from bench.runner.options import Options, pick_device
from bench.runner.stale import check_data, check_training, open_training
from bench.runner.trackers.curve import Followed, LogInProgress
from bench.runner.trackers.hook import work_of
from bench.train.checkpoints import load_weights
from bench.train.fit import Trained, train, trained_in
from bench.train.foreign import Foreign


def fit(spec: TrainSpec, options: Options, data: Dataset | None = None) -> Trained:
    """The weights of a training, its parents first: from the store, or trained from where it stopped.

    Raises:
        BenchError: data, weights or store are not as they must be, the weights are of other code, or training
            failed. A training that could not begin leaves nothing behind.
    """
    data = data or load_data(spec, options)
    sources = source_digests(spec.modules)
    found = _complete(spec, options, data, sources)
    if found is not None:
        _sweep(spec, options)
        return found
    options.store.prepare()
    with options.store.lock("training", spec.id, options.progress.say) as since:
        sweep(options.store.model(spec.id), since)
        found = _complete(spec, options, data, sources)  # another process may have trained it meanwhile
        return _fitted(spec, options, data, sources) if found is None else found


def _complete(spec: TrainSpec, options: Options, data: Dataset, sources: Mapping[str, str]) -> Trained | None:
    """The weights in the store; None: there are none, or they are to be trained again.

    Raises:
        BenchError: they are of other code or data; or this is a worker, and they are not what it was told.
    """
    folder = options.store.model(spec.id)
    changed = check_data(spec, folder, data, options) | check_training(spec, folder, sources, options)
    found = None if changed and options.stale == "rerun" else trained_in(folder, spec.id)
    if options.weights is not None:
        _check_told(spec, options, found)
    return found


def _check_told(spec: TrainSpec, options: Options, found: Trained | None) -> None:
    """A worker measures what the process measures that started it, or nothing."""
    told = (options.weights or {}).get(spec.id)
    if found is not None and found.sha256 == told:
        return
    there = "are not there" if found is None else f"have SHA-256 {found.sha256[:12]} there"
    expected = f"SHA-256 {told[:12]}, as" if told else "them to be"
    raise BadCheckpoint(
        f"a worker looks for the weights {spec.id} of {spec.named.label} in {str(options.store.root)!r}, and "
        f"they {there}, expected {expected} where the run was started",
        "--store with a folder that every worker sees, or --workers 1",
    )


def _fitted(spec: TrainSpec, options: Options, data: Dataset, sources: Mapping[str, str]) -> Trained:
    """Train, parents first, from where it stopped."""
    folder = options.store.model(spec.id)
    changed = check_data(spec, folder, data, options) | check_training(spec, folder, sources, options)
    parents = {role: _network(parent, options, data) for role, parent in spec.parents}
    open_training(spec, folder, sources, data, anew=changed and options.stale == "rerun")
    try:
        with _weights_to_begin_with(spec, folder) as init, followed(spec, options) as progress:
            return train(
                spec.named.defense,
                mixed(data, spec.extra),
                data.task(spec.architecture),
                budget=spec.budget,
                recipe=spec.recipe,
                seed=spec.seed,
                identity=spec.id,
                parents=parents,
                folder=folder,
                device=options.device,
                devices=spec.devices,
                progress=progress,
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


@contextmanager
def followed(spec: TrainSpec, options: Options) -> Iterator[Progress]:
    """Where the training inside tells how far it is; a tracker learns of each epoch with what comes next."""
    if options.track is None:
        yield options.progress
        return
    work = work_of("training", spec.id, {**spec.encoded(), "name": spec.named.label})
    folder = options.store.model(spec.id)
    curve = LogInProgress(options.tracking, work, folder / "log.csv")
    options.tracking.begin(work)
    yield Followed(options.progress, curve.tell)
    curve.tell()
    options.tracking.end(work, {}, {"training.json": read_text(folder / "training.json")})


def weights_behind(runs: Iterable[RunSpec], store: Store) -> dict[str, str]:
    """Training -> SHA-256 of the stored weights behind these runs: victims, attackers' own, and parents."""
    found = {spec.id: trained_in(store.model(spec.id), spec.id) for spec in _behind(runs)}
    return {name: trained.sha256 for name, trained in found.items() if trained is not None}


def sweep_behind(runs: Iterable[RunSpec], options: Options) -> None:
    """Remove what killed processes left beside the weights behind these runs."""
    for spec in _behind(runs):
        _sweep(spec, options)


def _sweep(spec: TrainSpec, options: Options) -> None:
    """Remove what a kill left beside weights: half-written files, the state of a finished training."""
    folder = options.store.model(spec.id)
    state, done = folder / "state.ckpt", folder / "training.json"
    if (leftovers(folder) or (state.exists() and done.exists())) and options.store.is_writable():
        with options.store.lock("training", spec.id, options.progress.say) as since:
            sweep(folder, since)
            if done.exists():
                state.unlink(missing_ok=True)


def _behind(runs: Iterable[RunSpec]) -> Iterator[TrainSpec]:
    """The trainings of some runs, those of attackers' own networks, and their parents."""
    waiting = [spec for run in runs for spec in (run.training, *(other for _, other in run.others))]
    while waiting:
        spec = waiting.pop()
        yield spec
        waiting += [parent for _, parent in spec.parents]


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
    file = f"{checkpoint}.safetensors"
    load_weights(trained.folder / file, net, trained.files.get(file))
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
