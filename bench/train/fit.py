"""From a defense and a data set to weights on disk: once, resumably, on one device or several."""

from __future__ import annotations

import copy
import importlib.util
import logging
import platform
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.multiprocessing import get_context

from bench import __version__
from bench.api import Defense, Task
from bench.core.digest import file_sha256
from bench.core.downloads import noted
from bench.core.encoding import encode
from bench.core.progress import Progress, Silent
from bench.core.seeds import seed_for
from bench.core.threat import Budget
from bench.data.dataset import Dataset
from bench.errors import BadCheckpoint, BadValue, BenchError
from bench.nn.tf32 import switches, tf32
from bench.train.checkpoints import Checkpoints, Row
from bench.train.context import TrainContext
from bench.train.foreign import Foreign
from bench.train.recipe import Recipe
from bench.train.weights_file import load_foreign

if TYPE_CHECKING:  # it loads torch's compiler, and most runs train nothing
    from lightning_fabric import Fabric

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces what recipes say already

_KEPT = ("spec.json", "best.safetensors", "last.safetensors", "log.csv")
"""The files that a complete training states the digests of."""

_PRECISIONS = {"fp32": "32-true", "tf32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True)
class Trained:
    """A complete training run."""

    folder: Path
    epoch: int  # whose weights are kept, of the last stage; 0: nothing was trained by the loop
    epochs: int  # of all stages together
    seconds: float
    validation_clean_accuracy: float | None  # of that epoch; None: not measured
    validation_robust_accuracy: float | None
    weights: Path  # safetensors of all modules of the defense
    sha256: str  # of that file
    files: Mapping[str, str] = field(default_factory=dict)  # SHA-256 by name; empty: made before it was noted
    said: tuple[str, ...] = ()  # of the weights that it began with


def train(
    defense: Defense,
    data: Dataset,
    task: Task,
    *,
    budget: Budget,
    recipe: Recipe,
    seed: int,
    identity: str,
    parents: Mapping[str, nn.Module],
    folder: Path,
    device: str = "auto",
    devices: int = 1,
    progress: Progress | None = None,
    init: Path | None = None,
) -> Trained:
    """Train a defense, or go on where an interrupted run in this folder stopped.

    A complete folder is returned at once. `identity` and `seed` name all random streams; on a CPU, a run that
    was interrupted ends with the same bits as one that was not. `device` is auto, cpu, cuda or cuda:N; with
    several `devices` each takes a share of every batch, in processes of their own that import the defense by
    name. `init` is a file of weights to begin with. The folder then holds best.safetensors, what fit left,
    and last.safetensors, of the last epoch.
    """
    complete = trained_in(folder, identity)
    if complete is not None:
        return complete
    job = _Job(defense, data, task, budget, recipe, seed, identity, dict(parents), folder, init)
    fabric = _fabric(device, devices, recipe)
    if fabric.device.type == "cpu" and recipe.precision == "bf16" and not _has_bf16():
        (progress or Silent()).say(
            "bf16 is slow on a CPU without bfloat16 arithmetic; try --set recipe.precision=fp32"
        )
    if devices == 1:
        _run(fabric, job, progress or Silent())
    else:
        _run_on_several(fabric, job, progress or Silent())
    trained = trained_in(folder, identity)
    if trained is None:
        raise RuntimeError(f"training ended without a result in {folder}")
    return trained


def trained_in(folder: Path, identity: str) -> Trained | None:
    """The complete training in a folder; None: there is none.

    Raises:
        BadCheckpoint: it is damaged, or the training of something else.
    """
    result = Checkpoints(folder).result(identity)
    try:
        return None if result is None else _trained(folder, result)
    except (KeyError, TypeError, ValueError):
        raise BadCheckpoint(
            f"{folder / 'training.json'} is damaged", f"rm -r {folder} and train again"
        ) from None


@dataclass(frozen=True)
class _Job:
    defense: Defense
    data: Dataset
    task: Task
    budget: Budget
    recipe: Recipe
    seed: int
    identity: str
    parents: dict[str, nn.Module]
    folder: Path
    init: Path | None


def _has_bf16() -> bool:
    """Whether the processor multiplies in bfloat16; where that cannot be known, it is assumed."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return True
    return re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", flags) is not None


def _run(fabric: Fabric, job: _Job, progress: Progress) -> None:
    """Train with the arithmetic of the recipe, whatever this process has chosen before."""
    with tf32(job.recipe.precision == "tf32"):
        _fit(fabric, job, progress)


def _fit(fabric: Fabric, job: _Job, progress: Progress) -> None:
    checkpoints = Checkpoints(job.folder)
    cuda = [fabric.device] if fabric.device.type == "cuda" else []
    with torch.random.fork_rng(cuda):  # the caller's random streams are not ours to move
        torch.manual_seed(seed_for("train", job.identity, job.seed, "build"))
        net = job.defense.build(job.task).to(fabric.device)
        taken = () if job.init is None else load_foreign(job.init, net, _key(job.defense))
        came = None if job.init is None else noted(job.init)
        said = [f"weights: {sentence}" for sentence in (*([f"from {came}"] if came else []), *taken)]
        for sentence in said:
            progress.say(sentence)
        context = TrainContext(
            fabric=fabric,
            data=job.data,
            task=job.task,
            budget=job.budget,
            recipe=job.recipe,
            seed=job.seed,
            identity=job.identity,
            parents={role: _parent(net, fabric.device) for role, net in job.parents.items()},
            checkpoints=checkpoints,
            progress=progress,
            whole=net,
            title=f"training {type(job.defense).__name__} on {job.task.data}",
        )
        job.defense.fit(net, context)
    context.save_weights("best")  # as fit left them: what is deployed
    if job.recipe.select == "last" or not context.finished:
        context.save_weights("last")
    if fabric.is_global_zero:
        result = _result(job, context)
        checkpoints.save_result({**result, "said": said} if said else result)


def _key(defense: Defense) -> str:
    """Which table of a file of weights is meant, where the defense says it."""
    return defense.key if isinstance(defense, Foreign) else ""


def _parent(net: nn.Module, device: torch.device) -> nn.Module:
    return copy.deepcopy(net).to(device).eval().requires_grad_(False)


def _result(job: _Job, context: TrainContext) -> dict[str, Any]:
    weights = job.folder / "best.safetensors"
    epoch = context.finished[-1]["epoch"] if context.finished else 0
    stage = len(context.finished)
    kept: Row = next((row for row in context.history if row["stage"] == stage and row["epoch"] == epoch), {})
    return {
        "version": __version__,
        "identity": job.identity,
        "seed": job.seed,
        "recipe": encode(job.recipe),
        "epoch": epoch,
        "epochs": len(context.history),
        "seconds": sum(float(row["seconds"] or 0) for row in context.history),
        "validation_clean_accuracy": kept.get("clean_accuracy"),
        "validation_robust_accuracy": kept.get("robust_accuracy"),
        "weights": weights.name,
        "sha256": file_sha256(weights),
        "files": {path.name: file_sha256(path) for path in map(job.folder.joinpath, _KEPT) if path.is_file()},
        "made_with": _made_with(context.fabric),
    }


def _made_with(fabric: Fabric) -> dict[str, Any]:
    """What else the last digits of weights depend on."""
    cuda = fabric.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(fabric.device) if cuda else fabric.device.type,
        "devices": fabric.world_size,
        "precision": fabric.strategy.precision.precision,
        "tf32": switches(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "bench": __version__,
    }


def _trained(folder: Path, result: Mapping[str, Any]) -> Trained:
    return Trained(
        folder=folder,
        epoch=result["epoch"],
        epochs=result["epochs"],
        seconds=result["seconds"],
        validation_clean_accuracy=result["validation_clean_accuracy"],
        validation_robust_accuracy=result["validation_robust_accuracy"],
        weights=folder / str(result["weights"]),
        sha256=result["sha256"],
        files=dict(result.get("files", {})),
        said=tuple(result.get("said", ())),
    )


def _fabric(device: str, devices: int, recipe: Recipe) -> Fabric:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment

    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and not (kind == "cuda" and index.isdecimal())):
        raise BadValue(f"the device is {device!r}, expected auto, cpu, cuda or cuda:N", "--device auto")
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    available = torch.cuda.device_count()
    if kind == "cuda" and max(int(index or 0) + 1, devices) > available:
        raise BadValue(
            f"device {device!r} with {devices} devices was asked for, but CUDA has {available}",
            "--device cpu",
        )
    if devices < 1 or (devices > 1 and index):
        raise BadValue(f"devices is {devices} with device {device!r}, expected 1, or a device without number")
    if recipe.precision in ("tf32", "fp16") and kind == "cpu":
        raise BadValue(
            f"recipe.precision is {recipe.precision!r} on a CPU, expected fp32 or bf16",
            "--set recipe.precision=bf16",
        )
    return Fabric(
        accelerator=kind,
        devices=[int(index)] if index else devices,
        strategy="ddp_spawn" if devices > 1 else "auto",
        precision=_PRECISIONS[recipe.precision],  # type: ignore[arg-type]
        plugins=[LightningEnvironment()],  # a queue's own variables say nothing about how this process trains
    )


def _run_on_several(fabric: Fabric, job: _Job, progress: Progress) -> None:
    module = type(job.defense).__module__
    if module != "__main__" and importlib.util.find_spec(module) is None:
        raise BadValue(
            f"{type(job.defense).__name__} comes from a file that other processes cannot import by name, "
            "expected a defense from an installed package, or one device",
            "--devices 1",
        )
    job = _on_cpu(job)
    messages = get_context("spawn").SimpleQueue()
    relay = threading.Thread(target=_relay, args=(messages, progress), daemon=True)
    relay.start()
    others = active_children()
    try:
        error = fabric.launch(partial(_run_rank, job=job, messages=messages))
    except BaseException:  # they would go on without this process, which holds the lock
        _end([child for child in active_children() if child not in others])
        raise
    messages.put(None)
    relay.join()
    if error is not None:
        raise error


def _on_cpu(job: _Job) -> _Job:
    """What other processes are sent: each takes it to its own card, and none reads memory of another's."""
    parents = {role: copy.deepcopy(net).cpu() for role, net in job.parents.items()}
    return replace(job, data=job.data.to(torch.device("cpu")), parents=parents)


def _end(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(5)
        if process.is_alive():
            process.kill()
            process.join()


def _run_rank(fabric: Fabric, job: _Job, messages: Any) -> BenchError | None:
    """What every process does; a user's mistake is the same in all of them and is returned, not raised.

    They part together: a process that leaves while another still listens to it makes Gloo's threads abort.
    """
    try:
        _run(fabric, job, _Sent(messages) if fabric.is_global_zero else Silent())
        error = None
    except BenchError as mistake:
        error = mistake
    fabric.barrier()
    torch.distributed.destroy_process_group()
    return error


def _relay(messages: Any, progress: Progress) -> None:
    while (message := messages.get()) is not None:
        name, arguments, figures = message
        getattr(progress, name)(*arguments, **figures)


@dataclass(frozen=True)
class _Sent:
    """Progress of a process without a terminal, told to the one that has it."""

    messages: Any

    def start(self, title: str, total: int, unit: str, done: int = 0) -> None:
        self.messages.put(("start", (title, total, unit, done), {}))

    def advance(self, amount: int = 1, **figures: float) -> None:
        self.messages.put(("advance", (amount,), figures))

    def say(self, message: str) -> None:
        self.messages.put(("say", (message,), {}))

    def finish(self) -> None:
        self.messages.put(("finish", (), {}))


_: type[Progress] = _Sent
