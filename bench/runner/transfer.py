"""The transfer matrix: images made on each network, white-box and to the last step, judged on every one."""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.api import Suite, Trial
from bench.attacks.geometry import project
from bench.attacks.pgd import PGD
from bench.core.digest import content_id, source_digests
from bench.core.encoding import describe
from bench.core.outcomes import REFUSED
from bench.core.seeds import seed_for
from bench.core.threat import WHITE_BOX, format_eps
from bench.data.dataset import test_subset
from bench.errors import AccessDenied, BadValue, StaleRecord
from bench.evaluate.batches import AUTO, Batches
from bench.evaluate.engine import Arena, Chunk
from bench.evaluate.prepared import deciding
from bench.evaluate.unstopped import adversarial_images
from bench.plan import Request, RunSpec, parse_network, plan_white_box
from bench.records import transfer as records
from bench.records.record import Interval
from bench.records.transfer import Images, Network, Transfer
from bench.registry import ATTACKS
from bench.runner.deployed import named
from bench.runner.options import Options, pick_device
from bench.runner.stale import listed, sources_behind, study_changes, study_sources
from bench.runner.summary import interval_of, provenance, recipe_of
from bench.runner.weights import build_trained, fit, load_data
from bench.train.fit import Trained

USUAL = "pgd_100"
"""The attack of whoever names none: the one that gray-box attackers use."""

_USUAL = PGD(steps=100, step_size=Fraction(1, 10))

_OWN = ("bench.runner.transfer",)

_MAKE_IMAGES = ("bench.evaluate.unstopped", "bench.evaluate.referee")
"""The code behind images, besides that of their network and of the attack: judging them is another matter."""


@dataclass(frozen=True)
class TransferSpec:
    """All that decides one matrix: each run attacks one network, white-box; they differ in nothing else."""

    runs: tuple[RunSpec, ...]

    def encoded(self) -> dict[str, Any]:
        """As JSON."""
        return {"runs": [run.encoded() for run in self.runs]}

    @property
    def id(self) -> str:
        """The name of the matrix."""
        return content_id(self.encoded())

    @property
    def trial(self) -> Trial:
        """The attack that makes the images."""
        return self.runs[0].suite.trials[0]

    @property
    def modules(self) -> list[str]:
        """The modules whose code, with all that they import, made the matrix."""
        return [*(module for run in self.runs for module in run.modules), *_OWN]


def plan_transfer(names: Sequence[str], request: Request, attack: str = USUAL) -> TransferSpec:
    """What `bench transfer` will do: names are NAME or NAME@ARCH, the rest of the request is common to all.

    Raises:
        UnknownName, BadValue: a name leads nowhere, or a value cannot be.
    """
    if len(names) < 2:
        raise BadValue(
            f"{' '.join(names)!r} is one network, expected at least two, so that images can go from one to "
            "another",
            f"bench transfer {' '.join(names)} standard",
        )
    if "defense" in request.settings:
        name = next(iter(request.settings["defense"]))
        raise BadValue(
            f"--set defense.{name}=… does not say of which network, expected it in the network's name",
            f"{names[0]}[{name}={request.settings['defense'][name]}]",
        )
    chosen = _USUAL if attack == USUAL else ATTACKS.get(attack)
    held: object = chosen  # a file of the user's own may hold anything
    if not dataclasses.is_dataclass(held) or not callable(held):
        raise BadValue(
            f"the attack {attack!r} cannot be called or is no dataclass, expected a frozen dataclass with "
            "__call__",
            f"bench check {attack}",
        )
    column = attack.rpartition(":")[2]  # of a file of one's own, the class
    suite = Suite("transfer", 1, (Trial(column, chosen, WHITE_BOX),))
    runs = []
    for name in names:
        defense, architecture = parse_network(name)
        architecture = architecture or request.architecture
        wanted = dataclasses.replace(request, defense=defense, architecture=architecture)
        runs.append(plan_white_box(wanted, suite))
    return TransferSpec(tuple(runs))


def transfer(spec: TransferSpec, options: Options) -> Transfer:
    """The matrix of a spec: from the store where it is complete, else computed from where it stopped.

    Raises:
        BenchError: data, weights or store are not as they must be, the attack fails on a network, or the
            code of what is stored has changed.
    """
    options.store.prepare()
    folder = options.store.root / records.FOLDER / spec.id
    sources = study_sources(spec.modules)
    found = _stored(folder, sources, options)
    if found is not None:
        options.progress.say(f"the matrix {spec.id} is complete: nothing was computed")
        return found
    found = _Matrix(spec, options, sources).computed()
    records.write(folder, found)
    return found


def _stored(folder: Path, sources: Mapping[str, str], options: Options) -> Transfer | None:
    found = None if options.stale == "rerun" else records.read(folder)
    changed = study_changes(found.provenance.sources, sources) if found is not None else []
    if found is not None and changed and options.stale == "refuse":
        raise StaleRecord(
            f"the matrix {found.id} was made by other code ({listed(changed)} changed since)",
            "--rerun to compute it again, or --accept-stale to see it as it is",
        )
    return found


@dataclass(frozen=True)
class _Player:
    """A network, ready to be attacked and to judge."""

    run: RunSpec
    trained: Trained
    recipe: str  # its name, with what was overridden
    arena: Arena

    @property
    def label(self) -> str:
        return f"{self.run.training.named.label}@{self.run.training.architecture}"


class _Matrix:
    """The state of one matrix while it is computed."""

    def __init__(self, spec: TransferSpec, options: Options, sources: Mapping[str, str]) -> None:
        self.spec, self.options, self.sources = spec, options, sources
        self.started, self.clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
        self.device = pick_device(options.device)
        self.data = load_data(spec.runs[0].training, options)
        self.batches = Batches(options.batch_size or AUTO.get(self.device.type, 128))
        self.rows = torch.split(test_subset(self.data, spec.runs[0].suite.examples), spec.runs[0].suite.chunk)

    def computed(self) -> Transfer:
        """Train or load all, make the images of each, show them to all."""
        runs = {run.id: run for run in self.spec.runs}  # who is named twice plays once
        players = {name: self._player(run) for name, run in runs.items()}
        clean = {name: self._clean(player) for name, player in players.items()}
        robust = self._robust(players, clean)
        made = dict(self.sources)
        for run in runs.values():
            made = sources_behind(run, self.options.store, made)
        first = self.spec.runs[0]
        return Transfer(
            schema=records.SCHEMA,
            id=self.spec.id,
            data=self.data.name,
            data_digest=self.data.digest,
            norm=first.budget.norm.value,
            eps=format_eps(first.budget.eps),
            seed=first.training.seed,
            examples=sum(map(len, self.rows)),
            attack=describe(self.spec.trial.attack),
            knowledge=self.spec.trial.knowledge.label,
            networks=tuple(_network(players[run.id], clean[run.id]) for run in self.spec.runs),
            robust=tuple(tuple(robust[a.id, b.id] for b in self.spec.runs) for a in self.spec.runs),
            spec=self.spec.encoded(),
            provenance=provenance(made, self.device, self.started, time.perf_counter() - self.clock),
        )

    def _player(self, run: RunSpec) -> _Player:
        trained = fit(run.training, self.options, self.data)
        net = build_trained(run.training, trained, self.data, run.checkpoint)
        recipe = recipe_of(run, trained, net)
        deployed = run.training.named.defense.deploy(net.to(self.device))
        seed, images = run.training.seed, deciding(self.data, run.suite.examples)
        arena = Arena(
            *(deployed, run.budget, self.data.num_classes, {}, run.numerics, self.batches),
            seed=seed,
            images=images,
        )
        arena.access(self.spec.trial.knowledge)  # lays the weights out now: verdicts do not depend on when
        return _Player(run, trained, recipe, arena)

    def _clean(self, player: _Player) -> NDArray[np.bool_]:
        """Which examples [n] a network gets right before any attack."""
        right = [player.arena.verdicts(chunk, chunk.x) == chunk.y for chunk in self._chunks()]
        return torch.cat(right).cpu().numpy()

    def _robust(
        self, players: Mapping[str, _Player], clean: Mapping[str, NDArray[np.bool_]]
    ) -> dict[tuple[str, str], Interval]:
        """(source, target) -> the share of all examples that holds."""
        progress, n = self.options.progress, sum(map(len, self.rows))
        stored = {name: self._images(player.run) for name, player in players.items()}
        done = sum(len(c) for images in stored.values() for k, c in enumerate(self.rows) if images.holds(k))
        held: dict[tuple[str, str], list[NDArray[np.bool_]]] = {}
        progress.start(f"transfer of {self.spec.trial.column} images", n * len(players), "examples", done)
        for name, player in players.items():
            for chunk in self._chunks():
                ids = chunk.ids.cpu().numpy()
                found = stored[name].read(chunk.number, ids)
                if found is None:
                    found = self._attacked(player, chunk).cpu().numpy()
                    stored[name].keep(chunk.number, ids, found)
                    progress.advance(len(ids))
                x_adv = torch.from_numpy(found).to(chunk.x.device)
                for other, target in players.items():
                    held.setdefault((name, other), []).append(_holds(target.arena, chunk, x_adv))
        progress.finish()
        return {pair: interval_of(clean[pair[1]] & np.concatenate(parts)) for pair, parts in held.items()}

    def _images(self, run: RunSpec) -> Images:
        images = Images(self.options.store.root, run.id)
        if self.options.stale == "rerun":
            images.forget()
        thrown = images.begin(run.encoded(), source_digests([*run.modules, *_MAKE_IMAGES]))
        if thrown:
            self.options.progress.say(
                f"{thrown} chunks of images of {run.training.named.label} were made by other code: making "
                "them again"
            )
        return images

    def _attacked(self, player: _Player, chunk: Chunk) -> Tensor:
        """What the attack makes of a chunk on its source."""
        trial = self.spec.trial
        seed = seed_for(player.run.id, trial.column, chunk.number)
        try:
            return adversarial_images(player.arena, trial.attack, trial.knowledge, chunk.x, chunk.y, seed).x
        except (AccessDenied, RuntimeError, ValueError, TypeError, ArithmeticError, LookupError) as error:
            raise BadValue(
                f"the attack {trial.column} failed on {player.label} ({type(error).__name__}: {error})",
                "--attack with another name",
            ) from error

    def _chunks(self) -> Iterator[Chunk]:
        """The test images, chunk by chunk."""
        test = self.data.test
        for number, rows in enumerate(self.rows):
            yield Chunk(number, *test.batch(rows), test.ids[rows.to(test.ids.device)])


def _holds(arena: Arena, chunk: Chunk, x_adv: Tensor) -> NDArray[np.bool_]:
    """Which images [m] a network classifies right or refuses, once they are within the budget."""
    classes = arena.verdicts(chunk, project(x_adv, chunk.x, arena.budget))
    held: NDArray[np.bool_] = ((classes == chunk.y) | (classes == REFUSED)).cpu().numpy()
    return held


def _network(player: _Player, clean: NDArray[np.bool_]) -> Network:
    return named(player.run, player.recipe, player.trained, interval_of(clean))
