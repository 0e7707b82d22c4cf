"""Detectors fitted to one deployed defense, from the store where they were fitted before on the very same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.core.digest import content_id, source_digests
from bench.core.encoding import encode
from bench.core.files import read_bytes
from bench.core.seeds import seed_for
from bench.data.splits import permutation
from bench.evaluate.detectors import Detector, Fitted, Sample
from bench.evaluate.look import Lacking, Look, look_behind
from bench.records.arrays import LIMIT, Unreadable, packed, unpacked
from bench.records.files import write_atomically
from bench.runner.options import Options
from bench.runner.subject import Subject
from bench.studies.detect.guarded import Watch, lent
from bench.suites.detection import Protocol

OWN = "own"
"""The row of a detector that the defense brings itself."""

_OF = "fitting"
"""The array of such a file that says whose it is."""

FOLDER = "detectors"
"""Where fitted detectors lie below a store."""

Suspicion = Callable[[Tensor], Tensor]
"""Images [n, C, H, W] -> suspicion [n]."""


@dataclass
class Fitting:
    """All detectors of a protocol on one network."""

    subject: Subject
    protocol: Protocol
    options: Options
    left_out: dict[str, str] = field(default_factory=dict)  # detector -> why there is none of it

    def watches(self) -> dict[str, Suspicion]:
        """Every detector that this network has room for, and its own, if it says how suspicious it is."""
        given, found = lent(self.look, self.subject.deployed.predict), dict[str, Suspicion]()
        for name, detector in self.protocol.detectors.items():
            if name not in self.left_out:
                found[name] = Watch(detector, self._fitted(detector), given)
        if self.subject.deployed.suspicion is not None:
            found[OWN] = self.subject.deployed.suspicion
        return found

    @cached_property
    def look(self) -> Look | None:
        """Where features can be seen; None: nowhere, and why is noted."""
        probe = self.subject.data.validation.batch(torch.arange(min(4, len(self.subject.data.validation))))[0]
        try:
            return look_behind(self.subject.net, self.subject.deployed, probe)
        except Lacking as reason:
            detectors = self.protocol.detectors.items()
            self.left_out |= {name: str(reason) for name, held in detectors if held.needs_features}
            return None

    @cached_property
    def _sample(self) -> Sample:
        """What the network makes of the clean training images that detectors are fitted on."""
        train = self.subject.data.train
        order = permutation(seed_for("detectors", self.subject.data.name), len(train))
        rows = torch.from_numpy(order[: self.protocol.fit_examples])
        self.options.progress.say(f"fitting detectors on {len(rows):,} clean training images")
        given, parts = lent(self.look, self.subject.deployed.predict), []
        with torch.no_grad():
            for some in torch.split(rows, 2048):
                x, y = train.batch(some)
                parts.append((*self.subject.batches.map_many(given, x), y))
        logits, features, labels = (torch.cat(column) for column in zip(*parts, strict=True))
        return Sample(logits, features, labels)

    def _fitted(self, detector: Detector) -> Fitted:
        run = self.subject.spec
        identity = {
            "detector": encode(detector),
            "weights": self.subject.trained.sha256,
            "training": run.training.id,
            "checkpoint": run.checkpoint,
            "data": self.subject.data.digest,
            "examples": self.protocol.fit_examples,
            "sources": source_digests(
                [type(detector).__module__, "bench.studies.detect.guarded", *run.training.modules]
            ),
        }
        name = content_id(identity)
        path = self.options.store.root / FOLDER / f"{name}.npz"
        held = _arrays(path)
        if held is not None:
            return {
                key: torch.from_numpy(value).to(self.subject.data.test.x.device)
                for key, value in held.items()
            }
        fitted = detector.fit(self._sample)
        arrays = {key: value.cpu().numpy() for key, value in fitted.items()}
        write_atomically(path, packed({_OF: np.asarray(name), **arrays}))
        return fitted


def _arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    """What was fitted; a damaged file, and one of another fitting, counts as none."""
    if not path.is_file():
        return None
    try:
        arrays = unpacked(read_bytes(path, LIMIT))
        return arrays if str(arrays.pop(_OF, None)) == path.stem else None
    except (OSError, Unreadable):
        return None
