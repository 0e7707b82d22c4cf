"""Attack a network that a program holds, and runs by name: the road of `bench run`."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from bench.cli.console import tidy
from bench.cli.requests import as_options, as_request
from bench.cli.run import answered
from bench.cli.run import run as command
from bench.cli.suites import require_one_ground
from bench.cli.words import words_of
from bench.data import memory as arrays
from bench.data.identity import one_look
from bench.data.load import load
from bench.data.memory import HeldArrays
from bench.errors import BadData, BadValue
from bench.interface.given import arrays_of, first_images, name_of, network_of
from bench.interface.result import Result, SuiteResults
from bench.interface.words import progress_of, radius, settings_of
from bench.plan import RunSpec, plan_run
from bench.runner.options import pick_device
from bench.runner.run import run as compute
from bench.train import memory as networks
from bench.train.memory import HeldNetwork

LOOKED_AT = 32
"""How many images a network in memory is named by its answers to."""

WEIGHTS = "network.safetensors"
"""The file that hands its weights over, until they are in the store."""


def run(
    defense: str,
    *,
    settings: Mapping[str, object] | None,
    epochs: int | None,
    progress: bool,
    **given: Any,
) -> Result | SuiteResults:
    """See bench.run."""
    overridden = settings_of({**(settings or {}), "recipe.epochs": epochs})
    given["eps"], given["train_eps"] = radius(given["eps"]), radius(given["train_eps"])
    words = words_of(command, {"defense": defense, "settings": overridden, **given})
    how = as_options(**words, progress=progress_of(progress))
    with tidy(how.progress):
        results = [Result(record, how) for record in answered(words, how)]
    return _as_asked(results, given["suite"])


def evaluate(
    model: object,
    x: object,
    y: object,
    *,
    name: str | None,
    settings: Mapping[str, object] | None,
    store: str | Path | None,
    progress: bool,
    preset: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    **given: Any,
) -> Result | SuiteResults:
    """See bench.evaluate; `preset` holds settings that are values already: part -> field -> value."""
    given["eps"] = radius(given["eps"])
    if not isinstance(x, str):
        _require_budget(given["norm"], given["eps"])
        given["examples"] = "all" if given["examples"] is None else given["examples"]
    network, data = _held(model, x, y, given)
    place = Place()
    given |= {"settings": settings_of(settings), "store": store or place.path / "runs"}
    words = words_of(command, {**given, **_found_by(network, data, place)})
    how = as_options(**words, progress=progress_of(progress))
    with one_look():
        specs = [_planned({**words, "suite": suite}, preset) for suite in words["suite"] or (None,)]
    require_one_ground((spec.suite.id, spec.training.data, spec.suite.examples) for spec in specs)
    if not isinstance(data, str):
        for spec in specs:
            _require_nothing_trained(spec)
    title = name or f"{name_of(model)}-{network.digest[:6]}"
    held = network, data, *([] if store else [place])
    with tidy(how.progress):
        results = [Result(compute(_titled(spec, title), how), how, held) for spec in specs]
    return _as_asked(results, given["suite"])


def _as_asked(results: list[Result], suite: object) -> Result | SuiteResults:
    """One result, unless several suites were named or a list of them was given."""
    alone = len(results) == 1 and not isinstance(suite, (list, tuple))
    return results[0] if alone else SuiteResults(tuple(results))


def _planned(words: Mapping[str, Any], preset: Mapping[str, Mapping[str, Any]]) -> RunSpec:
    """The run of one suite, with settings that are values already."""
    request = as_request(**words)
    return plan_run(dataclasses.replace(request, settings=_merged(preset, request.settings)))


class Place:
    """A temporary folder that is there for as long as somebody refers to this."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="bench-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def _held(
    model: object, x: object, y: object, given: Mapping[str, object]
) -> tuple[HeldNetwork, HeldArrays | str]:
    """The network, and the images or the name of their data set, in memory until they are dropped."""
    net, device = network_of(model), pick_device(str(given["device"] or "auto"))
    if isinstance(x, str):
        if y is not None:
            raise BadValue(f"there are labels y, but {x!r} brings its own, expected x alone")
        root = given["data_root"]
        found = load(x, None if root is None else Path(str(root)))
        few = found.test.batch(torch.arange(min(LOOKED_AT, len(found.test))))[0]
        return networks.hold(net, few.to(device), found.num_classes), x
    images, labels = arrays_of(x, y)
    classes = max(2, 1 + int(labels.max(initial=0)))
    network = networks.hold(net, first_images(images, LOOKED_AT).to(device), classes)
    return network, arrays.hold(images, labels, network.num_classes)


def _found_by(network: HeldNetwork, data: HeldArrays | str, place: Place) -> dict[str, object]:
    """The words by which the command finds them, its weights in a file in that place."""
    file = place.path / WEIGHTS
    file.write_bytes(network.weights)
    return {
        "defense": "loaded",
        "checkpoint": file,
        "factory": network.factory,
        "data": data if isinstance(data, str) else data.name,
    }


def _merged(
    first: Mapping[str, Mapping[str, Any]], then: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Settings by part, the later ones over the first."""
    return {part: {**first.get(part, {}), **then.get(part, {})} for part in (*first, *then)}


def _titled(spec: RunSpec, title: str) -> RunSpec:
    named = dataclasses.replace(spec.training.named, title=title)
    return dataclasses.replace(spec, training=dataclasses.replace(spec.training, named=named))


def _require_budget(norm: object, eps: object) -> None:
    lacking = [word for word, value in (("norm", norm), ("eps", eps)) if value is None]
    if lacking:
        raise BadValue(
            f"{' and '.join(lacking)} {'are' if len(lacking) > 1 else 'is'} lacking, expected both, because "
            "images in memory have no customary budget",
            'norm="Linf", eps="8/255"',
        )


def _require_nothing_trained(spec: RunSpec) -> None:
    """Attackers may own networks that are trained, for which test images alone are not enough."""
    if spec.others:
        who = " and ".join(source.value for source, _ in spec.others)
        raise BadData(
            f"attackers of {spec.suite.id} own a network of their own ({who}), which is trained, but there "
            "are test images alone, expected a suite without such, or a data set with training images",
            'suite="whitebox", or bench.evaluate(network, "npz:PATH", ...)',
        )
