"""A run's network and all that its attackers use, ready to be attacked: in this process or in a worker's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.api import Deployed, Trial
from bench.data.dataset import Dataset, test_subset
from bench.evaluate.adaptive import why_skipped
from bench.evaluate.batches import AUTO, Batches
from bench.evaluate.engine import Arena, Chunk
from bench.plan import RunSpec
from bench.runner.options import Options, pick_device
from bench.runner.weights import attackers_network, build_trained, fit, load_data
from bench.train.fit import Trained


@dataclass(frozen=True)
class Opened:
    """What every cell of a run needs."""

    spec: RunSpec
    device: torch.device
    data: Dataset
    trained: Trained
    net: nn.Module
    deployed: Deployed
    arena: Arena
    rows: tuple[Tensor, ...]  # of each chunk, where its examples are in the test split

    @property
    def examples(self) -> int:
        """Of all chunks."""
        return sum(map(len, self.rows))

    def chunk(self, number: int) -> Chunk:
        """One chunk's images, on the device."""
        rows = self.rows[number]
        x, y = self.data.test.batch(rows)
        return Chunk(number, x, y, self.data.test.ids[rows])

    def anew(self) -> Deployed:
        """The same defense from the same weights, which nobody has asked anything."""
        net = build_trained(self.spec.training, self.trained, self.data, self.spec.checkpoint)
        return self.spec.training.named.defense.deploy(net.to(self.device))

    def lay_out(self) -> None:
        """Prepare the networks of every column now: so no cell's arithmetic depends on those before it."""
        for trial in self.spec.suite.trials:
            if self.closed(trial) is None:
                self.arena.access(trial.knowledge)

    def closed(self, trial: Trial) -> str | None:
        """Why this column says nothing about this defense; None: it can be played."""
        return why_skipped(trial, self.arena)


def open_run(spec: RunSpec, options: Options) -> Opened:
    """Load the data, train or load every network, deploy.

    Raises:
        BenchError: data, weights or store are not as they must be.
    """
    data, device = load_data(spec.training, options), pick_device(options.device)
    trained = fit(spec.training, options, data)
    net = build_trained(spec.training, trained, data, spec.checkpoint)
    deployed = spec.training.named.defense.deploy(net.to(device))
    others = {who: attackers_network(who, other, trained, options, data) for who, other in spec.others}
    batches = Batches(options.batch_size or AUTO.get(device.type, 128))
    arena = Arena(
        deployed,
        spec.budget,
        data.num_classes,
        others,
        spec.numerics,
        batches,
        options.compiled,
        seed=spec.training.seed,
    )
    rows = torch.split(test_subset(data, spec.suite.examples), spec.suite.chunk)
    return Opened(spec, device, data, trained, net, deployed, arena, rows)
