"""The steps, in order of worth: each gives what its JSON file holds."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from bench.core.bitmap import unpacked
from bench.core.json_file import parse_json, read_json
from bench.records.store import read_record
from benchmarks.gpu.place import Place, end

Found = dict[str, Any]
Step = Callable[[Place], Found]

AGREE = 0.995
"""The share of images about which card and CPU must come to the same verdict."""

DEFENSES = ("agkd_bml", "tla", "dbp", "fdml", "aalp")
SUITES = ("whitebox", "fast", "autoattack")


def steps() -> Mapping[str, Step]:
    """Name -> what is done, in this order."""
    return {
        "doctor": doctor,
        "tests": partial(tests, files="test_gpu.py test_life.py", few="memory or travel or plain"),
        "every_defense": partial(
            tests, files="test_everything.py", only="a_defense", few="attacked and (fdml or pgd_at)"
        ),
        "every_attack": partial(
            tests, files="test_everything.py", only="an_attack", few="budget and (fgsm or square)"
        ),
        "attack_step": partial(measured, name="attack_step"),
        "training_step": partial(measured, name="training_step"),
        "launches": partial(measured, name="launches"),
        "long_training": long_training,
        **{f"hundred_{name}": partial(measured, name=f"hundred_{name}") for name in DEFENSES},
        **{suite: partial(attacked, suite=suite) for suite in SUITES},
        "cpu": beside_the_cpu,
    }


def doctor(place: Place) -> Found:
    """Versions, the card, its driver, and the switches of its arithmetic."""
    told = parse_json(place.python("bench", "doctor", "--json"))
    return {"doctor": told, **_measured(place, "card")}


def tests(place: Place, *, files: str, few: str, only: str = "") -> Found:
    """`pytest -m gpu` of these files: how many passed, and which did not; in small `few` of them."""
    report = place.out / "junit.xml"
    report.unlink(missing_ok=True)
    words = ["-q", "-m", "gpu", "-p", "no:cacheprovider", f"--junitxml={report}"]
    chosen = few if place.pretended else only
    words += ["-k", chosen] if chosen else []
    place.heard(place.started("pytest", *words, *(f"tests/gpu/{name}" for name in files.split())))
    return _of_tests(report)


def _of_tests(report: Path) -> Found:
    cases = list(ElementTree.parse(report).iter("testcase"))  # our own file
    failed = {
        case.get("name", ""): (error.get("message") or "")[:300]
        for case in cases
        for error in case
        if error.tag in ("failure", "error")
    }
    skipped = sum(error.tag == "skipped" for case in cases for error in case)
    seconds = {case.get("name", ""): float(case.get("time", 0)) for case in cases}
    slowest = dict(sorted(seconds.items(), key=lambda item: -item[1])[:5])
    return {
        "ok": bool(cases) and not failed and skipped < len(cases),
        "tests": len(cases),
        "skipped": skipped,
        "failed": failed,
        "slowest": slowest,
    }


def measured(place: Place, *, name: str) -> Found:
    """What `benchmarks.gpu.measure` finds."""
    return _measured(place, name)


def _measured(place: Place, name: str) -> Found:
    small = ["--small"] if place.pretended else []
    found: Found = parse_json(place.python("benchmarks.gpu.measure", name, *small))
    return found


def _training(place: Place) -> list[object]:
    """Words of the training that long steps share: six epochs of PGD training in bfloat16."""
    recipe: dict[str, object]
    if place.pretended:
        recipe = {"epochs": 3, "batch_size": 192, "validation_examples": 8, "validation_steps": 1}
        usual: list[object] = ["--data", "synthetic", "--arch", "small_cnn"]
    else:
        recipe = {"epochs": 6, "precision": "bf16"}
        usual = ["--data", place.pictures, "--arch", "preact_resnet18"]
    sets = [word for key, value in recipe.items() for word in ("--set", f"recipe.{key}={value}")]
    return ["--defense", "pgd_at", *usual, *sets]


def long_training(place: Place) -> Found:
    """The training, killed after its first epoch and gone on with by the same command."""
    states = place.store / "models"
    killed = None
    if not any(states.glob("*/training.json")) and not any(states.glob("*/state.ckpt")):
        process = place.started("bench", *place.words("train", *_training(place)))
        try:
            place.wait_for(lambda: any(states.glob("*/state.ckpt")), process)
            killed = process.poll() is None
        finally:
            end(process)
    began = time.monotonic()
    place.bench("train", *_training(place))
    (told,) = states.glob("*/training.json")
    return {
        "ok": True,
        "killed": killed,
        "seconds_after": time.monotonic() - began,
        "training": read_json(told),
    }


def attacked(place: Place, *, suite: str) -> Found:
    """That network under a suite, 1,000 images."""
    chosen = "smoke" if place.pretended else suite
    record = _run(place, chosen)
    return {
        "ok": record["status"] == "complete",
        "suite": record["suite"],
        "worst_case": record["worst_case"],
        "columns": record["columns"],
        "findings": record["findings"],
        "card": record["provenance"].get("card"),
    }


def _run(place: Place, suite: str, store: Path | None = None, device: str = "cuda") -> Found:
    words = ["run", *_training(place), "--suite", suite, "--examples", 16 if place.pretended else 1000]
    found: Found = parse_json(place.bench(*words, "--json", store=store, device=device))
    return found


def beside_the_cpu(place: Place) -> Found:
    """The suite `smoke` on the same weights, on the card and on the CPU: how many verdicts agree."""
    other = place.out / "store_of_cpu"
    on_card = _run(place, "smoke")
    if not (other / "models").exists():
        shutil.copytree(place.store / "models", other / "models")
    on_cpu = _run(place, "smoke", store=other, device="cpu")
    verdicts = [_worst_case(store, record) for store, record in ((place.store, on_card), (other, on_cpu))]
    share = float(np.mean(verdicts[0] == verdicts[1]))
    return {
        "ok": share >= AGREE,
        "agree": share,
        "least": AGREE,
        "card": on_card["worst_case"],
        "cpu": on_cpu["worst_case"],
    }


def _worst_case(store: Path, told: Found) -> np.ndarray[Any, Any]:
    record = read_record(store / told["run_id"] / "record.json")
    if record.robust_examples is None:
        raise ValueError("the run has no worst case")
    return unpacked(record.robust_examples.worst_case, record.examples)
