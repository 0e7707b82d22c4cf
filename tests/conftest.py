"""What several tests share: records made by hand, and texts compared with files."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.core.digest import content_id
from bench.records.record import Column, Finding, Interval, Provenance, Record, Training


@dataclass(frozen=True)
class Told:
    """What a command left behind on a terminal."""

    code: object
    out: str
    err: str


Bench = Callable[..., Told]
"""(words of the command line) -> what it told."""


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str]) -> Bench:
    """Call the command in this process; `usual` holds options with their values, but those of `words`."""
    from bench.cli.main import main

    def call(*words: object, usual: Sequence[object] = ()) -> Told:
        command, *typed = (str(word) for word in words)
        named = {word.partition("=")[0] for word in typed}
        for option, value in zip(usual[::2], usual[1::2], strict=True):
            typed = typed if option in named else [str(option), str(value), *typed]
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([command, *typed])
        told = capsys.readouterr()
        return Told(left.value.code, told.out, told.err)

    return call


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite the files in tests/golden instead of comparing"
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with the file of that name in tests/golden, or write it with --update-golden."""
    folder = Path(__file__).parent / "golden"

    def compare(name: str, text: str) -> None:
        path = folder / name
        if request.config.getoption("--update-golden"):
            path.write_text(text, encoding="utf-8", newline="\n")
        assert path.read_bytes().decode() == text, f"{name} changed; if it should: pytest --update-golden"

    return compare


def share(count: int, n: int) -> Interval:
    """A share with its Wilson score interval, by the formula of Wilson (JASA 1927), z = 1.959964."""
    z, p = 1.959963984540054, count / n
    middle, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    below = 1 + z * z / n
    return Interval(p, max(0.0, (middle - spread) / below), min(1.0, (middle + spread) / below), count, n)


def trial(name: str = "pgd_20", count: int = 451, n: int = 1000, **changes: Any) -> Column:
    """A column of a record, half of whose figures are made up from the others."""
    column = Column(
        name=name,
        attack=f"{name.upper()}(steps=20)",
        level="white-box",
        knowledge="white-box",
        robust=share(count, n),
        attack_success_rate=0.4375,
        forwards=21.5,
        backwards=20.0,
        queries_mean=12.25,
        queries_median=7.0,
        seconds=3.14159,
        met=8 * n // 10,
        broke=8 * n // 10 - count,
    )
    return dataclasses.replace(column, **changes)


def record(**changes: Any) -> Record:
    """A complete record; `worst` is the number of robust examples in the worst case."""
    n, worst = changes.get("examples", 1000), changes.pop("worst", 451)
    seed, defense = changes.get("seed", 0), changes.get("defense", "pgd_at")
    made = Record(
        schema=1,
        run_id="0123456789ab",
        status="complete",
        defense="pgd_at",
        paper="Madry et al., ICLR 2018",
        reconstruction=None,
        suite="whitebox@1",
        custom=False,
        data="cifar10",
        data_digest="d0d0d0d0d0d0",
        architecture="preact_resnet18",
        norm="Linf",
        eps="8/255",
        seed=0,
        examples=n,
        clean=share(8 * n // 10, n),
        worst_case=share(worst, n),
        columns=(trial("fgsm", worst + 50, n), trial("pgd_20", worst, n)),
        findings=(),
        training=Training(
            training_id=f"training-{defense}-{seed}",
            recipe="short",
            checkpoint="best",
            epoch=28,
            epochs=30,
            seconds=1234.5,
            validation_robust_accuracy=0.47,
            sha256="0" * 64,
            parameters=11_171_146,
            parents={},
        ),
        spec={"suite": {"name": "whitebox"}},
        provenance=Provenance(
            version="0.1.0",
            commit="c" * 40,
            dirty=False,
            sources={"bench.core.seeds": "5" * 12},
            packages={"torch": "2.6.0"},
            python="3.11.7",
            device="cpu",
            started="2026-01-02T03:04:05+00:00",
            seconds=99.0,
        ),
    )
    return dataclasses.replace(made, **changes)


def as_made(told: Record) -> Record:
    """The record as a run would have made it: its id, its spec and its figures follow from each other."""
    columns = tuple(
        column
        if column.robust is None
        else dataclasses.replace(
            column,
            met=told.clean.count,
            broke=told.clean.count - column.robust.count,
            attack_success_rate=round(1 - column.robust.count / told.clean.count, 6),
        )
        for column in told.columns
    )
    seen = {"gradients": "deployed", "feedback": "logits", "max_queries": None, "means": "everything"}
    trials = [
        {"column": column.name, "attack": {}, "knowledge": {"level": column.level, **seen}}
        for column in columns
    ]
    name, _, version = told.suite.partition("@")
    training = {
        "name": told.defense.partition("[")[0],
        "label": told.defense,
        "data": told.data,
        "architecture": told.architecture,
        "seed": told.seed,
        "budget": {"norm": told.norm, "eps": told.eps},
        "defense": {},
        "recipe": {},
        "parents": {},
        **told.spec.get("training", {}),
    }
    spec = {
        "training": {**training, "id": content_id(training)},
        "suite": {"name": name, "version": int(version), "chunk": 500, "trials": trials},
        "budget": {"norm": told.norm, "eps": told.eps},
        "checkpoint": "best",
        "others": {},
    }
    trained = told.training and dataclasses.replace(told.training, training_id=spec["training"]["id"])
    worst = None if told.status == "failed" else told.worst_case
    return dataclasses.replace(
        told, run_id=content_id(spec), spec=spec, columns=columns, training=trained, worst_case=worst
    )


def made(**changes: Any) -> Record:
    """A record that can be written and read; see `record` and `as_made`."""
    return as_made(record(**changes))


@pytest.fixture(name="as_made")
def _as_made() -> Callable[[Record], Record]:
    """Make a record that can be written and read of one that says what it should; see `as_made`."""
    return as_made


@pytest.fixture
def genuine() -> Callable[..., Record]:
    """Records that can be written and read, by keyword; see `made`."""
    return made


@pytest.fixture
def alike() -> tuple[Record, Record]:
    """Two such records, in the order of their ids, which begin with the same digit and not the same eight."""
    seeds = sorted((made(seed=seed) for seed in range(17)), key=lambda record: record.run_id)
    return next((a, b) for a, b in itertools.pairwise(seeds) if a.run_id[0] == b.run_id[0])


@pytest.fixture
def make_record() -> Callable[..., Record]:
    """Records by keyword; see `record`."""
    return record


@pytest.fixture
def make_trial() -> Callable[..., Column]:
    """Columns by keyword; see `trial`."""
    return trial


@pytest.fixture
def sample() -> list[Record]:
    """Three defenses under two suites, with everything that can be odd about a record."""
    blocked = Finding("more-steps-help", "block", "50 steps leave 40.1 %, 100 steps 31.0 %")
    doubt = Finding("black-box-beats-white-box", "warn", "square leaves 38.0 %, pgd_20 41.2 %")
    unmeasured = dict.fromkeys(
        (
            *("robust", "attack_success_rate", "forwards", "backwards"),
            *("queries_mean", "queries_median", "met", "broke"),
        )
    )
    lame = trial("apgd_t", error="RuntimeError: out of memory", **unmeasured)
    shy = trial("adaptive", skipped="the defense gives no adaptive loss", **unmeasured)
    moved = trial("mi_fgsm", 420, moved=3, lost=2, invalid=1)
    guessed = "loss weights (abstract only)"
    return [
        record(run_id="aaaaaaaaaaa1", worst=451),
        record(run_id="aaaaaaaaaaa2", worst=512, suite="blackbox@1"),
        record(run_id="bbbbbbbbbbb1", defense="agkd_bml[margin=0.05]", worst=498, findings=(doubt,)),
        record(
            run_id="bbbbbbbbbbb2",
            defense="agkd_bml[margin=0.05]",
            worst=530,
            suite="blackbox@1",
            findings=(blocked,),
        ),
        record(
            run_id="ccccccccccc1",
            defense="fdml",
            reconstruction=guessed,
            worst=420,
            columns=(moved, shy, lame),
            status="failed",
        ),
    ]
