"""A deployed network and the test images it is shown: what measurements beyond a suite begin with."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from bench.api import Deployed, Suite
from bench.core.threat import Budget
from bench.data.dataset import Dataset, test_subset
from bench.errors import BadValue
from bench.evaluate.batches import AUTO, Batches
from bench.evaluate.engine import Arena, Chunk
from bench.plan import Request, RunSpec, parse_network, plan_white_box
from bench.records.record import Interval, Provenance
from bench.records.transfer import Network
from bench.runner.options import Options, pick_device
from bench.runner.stale import sources_behind
from bench.runner.summary import provenance, recipe_of
from bench.runner.weights import build_trained, fit, load_data
from bench.train.fit import Trained
from bench.train.foreign import Foreign


def plan_each(names: Sequence[str], request: Request, suite: Suite) -> list[RunSpec]:
    """A run for each NAME or NAME@ARCH; the rest of the request is common to all.

    Raises:
        UnknownName, BadValue: a name leads nowhere, or a value cannot be.
    """
    if len(names) > 1 and "defense" in request.settings:
        field_name, value = next(iter(request.settings["defense"].items()))
        raise BadValue(
            f"--set defense.{field_name}=… does not say of which network, expected it in the network's name",
            f"{names[0]}[{field_name}={value}]",
        )
    specs = []
    for name in dict.fromkeys(names):  # who is named twice is measured once
        defense, architecture = parse_network(name)
        wanted = replace(request, defense=defense, architecture=architecture or request.architecture)
        specs.append(plan_white_box(wanted, suite))
    return specs


@dataclass(frozen=True)
class Measured:
    """A trained, deployed network with what it takes to attack it and to say where numbers come from."""

    run: RunSpec
    data: Dataset
    deployed: Deployed
    device: torch.device
    batches: Batches
    trained: Trained
    recipe: str  # its name, with what was overridden
    compiled: bool
    started: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.UTC))
    clock: float = field(default_factory=time.perf_counter)

    @property
    def examples(self) -> int:
        """How many test images are shown."""
        return sum(map(len, self._rows))

    def arena(self, budget: Budget) -> Arena:
        """The network under a budget; it owns no other networks."""
        return Arena(
            self.deployed,
            budget,
            self.data.num_classes,
            {},
            self.run.numerics,
            self.batches,
            self.compiled,
            seed=self.run.training.seed,
        )

    def chunks(self) -> Iterator[Chunk]:
        """The test images of the run, in its chunks."""
        for number, rows in enumerate(self._rows):
            x, y = self.data.test.batch(rows)
            yield Chunk(number, x, y, self.data.test.ids[rows.to(self.data.test.ids.device)])

    def network(self, clean: Interval) -> Network:
        """How records name it."""
        return named(self.run, self.recipe, self.trained, clean)

    def provenance(self, sources: Mapping[str, str], options: Options) -> Provenance:
        """Where a number measured until now comes from."""
        made = sources_behind(self.run, options.store, sources)
        return provenance(made, self.device, self.started, time.perf_counter() - self.clock)

    @property
    def _rows(self) -> tuple[torch.Tensor, ...]:
        return torch.split(test_subset(self.data, self.run.suite.examples), self.run.suite.chunk)


def measured(run: RunSpec, options: Options) -> Measured:
    """The network of a run, trained or loaded now.

    Raises:
        BenchError: data, weights or store are not as they must be.
    """
    device = pick_device(options.device)
    data = load_data(run.training, options)
    trained = fit(run.training, options, data)
    net = build_trained(run.training, trained, data, run.checkpoint)
    recipe = recipe_of(run, trained, net)
    return Measured(
        run=run,
        data=data,
        deployed=run.training.named.defense.deploy(net.to(device)),
        device=device,
        batches=Batches(options.batch_size or AUTO.get(device.type, 128)),
        trained=trained,
        recipe=recipe,
        compiled=options.compiled,
    )


def named(run: RunSpec, recipe: str, trained: Trained, clean: Interval) -> Network:
    """How records name a network whose clean accuracy is known."""
    training = run.training
    defense = training.named.defense
    made_by = defense.made_by if isinstance(defense, Foreign) else None
    return Network(
        defense=training.named.label,
        architecture=made_by or training.architecture,
        recipe=recipe,
        training_id=training.id,
        sha256=trained.sha256,
        clean=clean,
    )
