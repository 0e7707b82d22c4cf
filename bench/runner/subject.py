"""The subject of a measurement: a deployed network, its test images, and all that attacks on it use.

Every command that measures a network opens it here, so seed, checkpoint, batch size, layout and numerics are
those of its run, and none of them has a default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from bench.api import Deployed, Trial
from bench.core.threat import Budget, Source
from bench.data.dataset import Dataset, test_subset
from bench.errors import TrainingFailed
from bench.evaluate.adaptive import replaced_in, why_skipped
from bench.evaluate.batches import AUTO, Batches
from bench.evaluate.engine import Arena, Chunk
from bench.evaluate.prepared import deciding
from bench.plan import RunSpec
from bench.runner.options import Options, pick_device
from bench.runner.weights import attackers_network, build_trained, fit, load_data
from bench.train.fit import Trained


@dataclass(frozen=True)
class Subject:
    """What every cell of a run needs."""

    spec: RunSpec
    device: torch.device
    data: Dataset
    trained: Trained
    net: nn.Module
    deployed: Deployed
    others: Mapping[Source, nn.Module]  # networks that attackers own
    batches: Batches
    compiled: bool
    rows: tuple[Tensor, ...]  # of each chunk, where its examples are in the test split
    untrained: Mapping[Source, str] = field(
        default_factory=dict
    )  # networks of attackers, and what went wrong

    @cached_property
    def arena(self) -> Arena:
        """The network under the budget of its run."""
        return self.under(self.spec.budget)

    def under(self, budget: Budget, deployed: Deployed | None = None) -> Arena:
        """The network, or what stands in its place, under a budget."""
        return Arena(
            deployed or self.deployed,
            budget,
            self.data.num_classes,
            self.others,
            self.spec.numerics,
            self.batches,
            self.compiled,
            seed=self.spec.training.seed,
            images=deciding(self.data, self.spec.suite.examples),
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many examples each chunk has."""
        return tuple(map(len, self.rows))

    @property
    def examples(self) -> int:
        """Of all chunks."""
        return sum(self.sizes)

    def chunk(self, number: int) -> Chunk:
        """One chunk's images, on the device."""
        rows, test = self.rows[number], self.data.test
        x, y = test.batch(rows)
        return Chunk(number, x, y, test.ids[rows.to(test.ids.device)])

    def chunks(self) -> Iterator[Chunk]:
        """All test images of the run, chunk by chunk."""
        return map(self.chunk, range(len(self.rows)))

    def anew(self) -> Deployed:
        """The same defense from the same weights, which nobody has asked anything."""
        net = build_trained(self.spec.training, self.trained, self.data, self.spec.checkpoint)
        return self.spec.training.named.defense.deploy(net.to(self.device))

    def lay_out(self) -> None:
        """Prepare the networks of every column now: so no cell's arithmetic depends on those before it."""
        for trial in self.spec.suite.trials:
            if self.failed(trial) is None and self.closed(trial) is None:
                self.arena.access(trial.knowledge)

    def closed(self, trial: Trial) -> str | None:
        """Why this column says nothing about this defense; None: it can be played."""
        return why_skipped(trial, self.arena)

    def failed(self, trial: Trial) -> str | None:
        """Why this column's attacker has no network of their own; None: it is there, or not needed."""
        return self.untrained.get(trial.knowledge.gradients)

    def notes(self) -> tuple[str, ...]:
        """What was done for the network and for its attacks to fit each other."""
        trials = [trial for trial in self.spec.suite.trials if self.failed(trial) is None]
        played = [trial for trial in trials if self.closed(trial) is None]
        replaced = (replaced_in(trial, self.data.num_classes) for trial in played)
        return (*self.arena.notes(), *(f"attack: {told}" for told in replaced if told))


def open_subject(spec: RunSpec, options: Options, data: Dataset | None = None) -> Subject:
    """Load the data unless they are given, train or load every network, deploy.

    Raises:
        BenchError: data, weights or store are not as they must be.
    """
    device = pick_device(options.device)
    data = data or load_data(spec.training, options)
    trained = fit(spec.training, options, data)
    net = build_trained(spec.training, trained, data, spec.checkpoint).to(device)
    deployed = spec.training.named.defense.deploy(net)
    deployed.predict.eval()
    others: dict[Source, nn.Module] = {}
    untrained: dict[Source, str] = {}
    for who, other in spec.others:
        try:
            others[who] = attackers_network(who, other, trained, options, data)
        except TrainingFailed as error:  # a fault of the attacker's training, not of the victim
            # what mends it would change the victim's training, too, where there is one
            told = error if trained.epochs == 0 else error.message
            untrained[who] = f"the attackers' {who.value} network could not be trained: {told}"
            options.progress.say(untrained[who])
    return Subject(
        spec=spec,
        device=device,
        data=data,
        trained=trained,
        net=net,
        deployed=deployed,
        others=others,
        batches=Batches(options.batch_size or AUTO.get(device.type, 128)),
        compiled=options.compiled,
        rows=torch.split(test_subset(data, spec.suite.examples), spec.suite.chunk),
        untrained=untrained,
    )
