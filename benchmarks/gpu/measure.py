"""What is measured in a process of its own and printed as JSON: `python -m benchmarks.gpu.measure NAME`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import click
import torch
from torch import Generator, Tensor, nn
from torch.profiler import ProfilerActivity, profile

from bench.api import Attack, Deployed
from bench.attacks.apgd import APGD
from bench.attacks.pgd import PGD
from bench.attacks.square import Square
from bench.core.threat import WHITE_BOX
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.ledger import Ledger
from bench.evaluate.numerics import Numerics
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import Referee
from bench.runner.card import card_of
from benchmarks import attack_step, training_step
from benchmarks.formulas import defense_of
from benchmarks.kernels import FAINT, Kernels, toy
from benchmarks.timing import Row, Settings
from benchmarks.training import fit_paced, parents_of, task

CARD = torch.device("cuda")
FEW, MANY = 20, 60  # steps, whose difference leaves out what is done once
ATTACKS: dict[str, Callable[[int], Attack]] = {
    "pgd": lambda steps: PGD(steps=steps),
    "apgd": lambda steps: APGD(steps=steps),
    "square": lambda steps: Square(queries=steps),
}


@click.command()
@click.argument("name")
@click.option("--small", is_flag=True, help="Tiny batches and few steps, for the pretend device.")
def main(name: str, small: bool) -> None:
    """Print what is measured under a name."""
    if name == "card":
        found: dict[str, Any] = {"card": card_of(torch.device("cuda", 0))}
    elif name == "launches":
        found = {"rows": [launches(attack) for attack in ATTACKS]}
    elif name.startswith("hundred_"):
        found = hundred(name.removeprefix("hundred_"), small)
    else:
        measure = {"attack_step": attack_step.measure, "training_step": training_step.measure}[name]
        found = over_bare(measure, small)
    click.echo(json.dumps(found))


def over_bare(measure: Callable[[Settings], list[Row]], small: bool) -> dict[str, Any]:
    """Ratios over bare passes at three batch sizes."""
    rows = []
    architecture, rounds = ("small_cnn", 1) if small else ("resnet18", 3)
    for batch in (20,) if small else (64, 256, 1024):
        settings = Settings(CARD, batch, rounds, bf16=True, say=lambda _: None, architecture=architecture)
        rows += [{"batch": batch, **dataclasses.asdict(row)} for row in measure(settings)]
    return {"rows": rows}


def launches(name: str) -> dict[str, Any]:
    """Kernels that a step launches, waits of the host and microseconds; nothing breaks."""
    few, many = (_played(ATTACKS[name](steps)) for steps in (FEW, MANY))
    return {"attack": name, **{key: (many[key] - few[key]) / (MANY - FEW) for key in few}}


def _played(attack: Attack) -> dict[str, float]:
    network, x, y = toy()
    play = _prepared(attack, network.to(CARD), x.to(CARD), y.to(CARD))
    play()  # warm
    torch.cuda.synchronize()
    began = time.perf_counter()
    play()
    torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    with Kernels() as counted:
        play()
    found = {"operations": counted.counts.total(), "microseconds": 1e6 * seconds}
    return found if _pretended() else {**found, "launches": _launched(play), "waits": _waits(play)}


def _launched(play: Callable[[], None]) -> int:
    """Kernels that CUDA is told to launch."""
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        play()
        torch.cuda.synchronize()
    return sum(event.count for event in seen.key_averages() if "LaunchKernel" in event.key)


def _waits(play: Callable[[], None]) -> int:
    """How often the host waits for the card, of which torch warns."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            play()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return len(seen)


def _pretended() -> bool:
    return torch.cuda.get_device_name() == "Pretend"


def _prepared(attack: Attack, network: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """A whole attack through the oracle of an evaluation."""
    deployed, batches = Deployed(network), Batches(64)
    access = Access(deployed, WHITE_BOX, {}, Numerics())
    referee = Referee(deployed, FAINT, batches)

    def play() -> None:
        oracle = MeteredOracle(access, referee, Ledger(x, y, 10), batches)
        attack(oracle, x, y, FAINT, Generator(x.device).manual_seed(0))

    return play


def hundred(name: str, small: bool) -> dict[str, Any]:
    """A hundred training steps of a defense on a PreActResNet-18: seconds each, and the most memory held."""
    defense, of = defense_of(name), task("small_cnn" if small else "preact_resnet18")
    steps, batch = (2, 12) if small else (100, 128)
    marks: list[float] = []

    @contextlib.contextmanager
    def around(_: int) -> Iterator[None]:
        yield
        torch.cuda.synchronize()
        marks.append(time.perf_counter())

    torch.cuda.reset_peak_memory_stats()
    fit_paced(
        defense,
        of,
        parents=parents_of(defense, of),
        batch=batch,
        steps=steps,
        precision="fp32" if small else "bf16",
        device=CARD,
        around=around,
    )
    return {
        "steps": len(marks),
        "batch": batch,
        "seconds_a_step": (marks[-1] - marks[0]) / max(len(marks) - 1, 1),
        "memory_bytes": torch.cuda.max_memory_allocated(),
    }


if __name__ == "__main__":
    main()
