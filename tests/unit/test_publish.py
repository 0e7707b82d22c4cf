from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.core.digest import content_id, source_digests
from bench.core.metrics import queries_to_success
from bench.core.outcomes import NEVER, Outcomes, worst_case
from bench.errors import BadData, BadValue, BenchError, StaleRecord
from bench.publish import differing, publish, read_records, rebuild, write_board
from bench.records.record import Check, Column, Finding, Provenance, Record, to_json
from bench.records.store import RunFolder
from bench.records.verdicts import verdicts_of

Maker = Callable[..., Record]


def unchanged(modules: Iterable[str]) -> Mapping[str, str]:
    """The sources of the records made by hand, as they were."""
    return dict.fromkeys(modules, "5" * 12)


def published(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_writes_boards_and_records(genuine: Maker, tmp_path: Path) -> None:
    first = genuine()
    written = publish([first], tmp_path, unchanged)
    expected = {"cifar10-linf-8_255.md", "cifar10-linf-8_255.csv", f"records/{first.run_id}.json"}
    assert {str(path.relative_to(tmp_path)) for path in written} == expected == published(tmp_path)
    assert (tmp_path / "records" / f"{first.run_id}.json").read_text() == to_json(first)
    assert read_records(tmp_path) == [first]


def test_adds_to_what_is_published(genuine: Maker, tmp_path: Path) -> None:
    publish([genuine(worst=400)], tmp_path, unchanged)
    publish([genuine(defense="trades", worst=500)], tmp_path, unchanged)
    frame = pd.read_csv(tmp_path / "cifar10-linf-8_255.csv")
    assert list(frame["defense"]) == ["trades", "pgd_at"]


def test_published_boards_are_not_judged_again(genuine: Maker, tmp_path: Path) -> None:
    publish([genuine(worst=400)], tmp_path, unchanged)
    later = genuine(defense="trades", provenance=provenance(genuine(), sources={"bench.new": "7" * 12}))
    publish([later], tmp_path, lambda modules: dict.fromkeys(modules, "7" * 12))
    assert len(read_records(tmp_path)) == 2


def provenance(record: Record, **changes: object) -> Provenance:
    values = {**vars(record.provenance), **changes}
    return Provenance(**values)


def spoilt(make_record: Maker, make_trial: Callable[..., Column]) -> dict[str, Record]:
    made = make_record()
    lame = make_trial("apgd_t", robust=None, error="RuntimeError: x")
    return {
        "is stale": make_record(provenance=provenance(made, sources={"bench.core.seeds": "6" * 12})),
        "uncommitted code": make_record(provenance=provenance(made, dirty=True)),
        "outside a git checkout": make_record(provenance=provenance(made, dirty=None, commit=None)),
        "is custom": make_record(custom=True),
        "failed in apgd_t": make_record(columns=(make_trial(), lame), status="failed"),
        "blocked by gradient-masking": make_record(findings=(Finding("gradient-masking", "block", "d"),)),
    }


@pytest.mark.parametrize(
    "why",
    [
        "is stale",
        "uncommitted code",
        "outside a git checkout",
        "is custom",
        "failed in apgd_t",
        "blocked by gradient-masking",
    ],
)
def test_refuses_and_writes_nothing(
    make_record: Maker, make_trial: Callable[..., Column], tmp_path: Path, why: str
) -> None:
    bad = spoilt(make_record, make_trial)[why]
    with pytest.raises(BenchError, match=f"0123456789ab .*{why}"):
        publish([make_record(run_id="good", defense="good"), bad], tmp_path / "boards", unchanged)
    assert published(tmp_path) == set()


def test_a_warning_is_no_obstacle(make_record: Maker, tmp_path: Path) -> None:
    publish([make_record(findings=(Finding("doubt", "warn", "d"),))], tmp_path, unchanged)
    assert "doubt" in (tmp_path / "cifar10-linf-8_255.md").read_text()


def test_staleness_is_judged_by_the_sources_that_exist(make_record: Maker, tmp_path: Path) -> None:
    now = source_digests(["bench.core.seeds"])
    fresh = make_record(provenance=provenance(make_record(), sources=now))
    publish([fresh], tmp_path)
    changed = {**now, "bench.core.seeds": "0" * 12}
    stale = make_record(provenance=provenance(make_record(), sources=changed))
    with pytest.raises(StaleRecord, match=r"bench\.core\.seeds has changed since"):
        publish([stale], tmp_path)
    gone = make_record(provenance=provenance(make_record(), sources={**now, "bench.core.gone": "0" * 12}))
    with pytest.raises(StaleRecord, match=r"bench\.core\.gone has changed since"):
        publish([gone], tmp_path)


def test_boards_follow_from_their_records_byte_by_byte(genuine: Maker, tmp_path: Path) -> None:
    sound = [genuine(worst=451), genuine(worst=512, suite="blackbox@1")]
    publish(sound, tmp_path, unchanged)
    assert differing(tmp_path) == []
    board = tmp_path / "cifar10-linf-8_255.csv"
    before = board.read_bytes()
    board.write_bytes(before + b"9,forged\n")
    (tmp_path / "old.md").write_text("left over")
    assert differing(tmp_path) == [board, tmp_path / "old.md"]
    rebuild(tmp_path)
    assert board.read_bytes() == before


def test_a_local_board_takes_everything_and_says_so(sample: list[Record], tmp_path: Path) -> None:
    paths = write_board(sample, tmp_path / "boards")
    assert {path.name for path in paths} == {"cifar10-linf-8_255.md", "cifar10-linf-8_255.csv"}
    text = (tmp_path / "boards" / "cifar10-linf-8_255.md").read_text()
    assert "local" in text.splitlines()[0]
    frame = pd.read_csv(io.StringIO((tmp_path / "boards" / "cifar10-linf-8_255.csv").read_text()))
    assert len(frame) == 3


def test_nothing_to_publish_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no record"):
        publish([], tmp_path)


def test_a_second_record_for_one_place_is_refused(genuine: Maker, tmp_path: Path) -> None:
    one = genuine()
    publish([one], tmp_path, unchanged)
    other = as_other_run(one)
    with pytest.raises(BadValue, match=rf"records .*{one.run_id}.* are both pgd_at"):
        publish([other], tmp_path, unchanged)
    assert [record.run_id for record in read_records(tmp_path)] == [one.run_id]


def as_other_run(record: Record) -> Record:
    """The same weights on the same images, under an id of its own."""
    spec = {**record.spec, "numerics": {"fold": False}}
    return dataclasses.replace(record, spec=spec, run_id=content_id(spec))


def test_what_is_too_weak_is_refused(genuine: Maker, tmp_path: Path) -> None:
    for weak, why in (
        (genuine(suite="smoke@1"), "is of smoke@1, which shows that everything works"),
        (genuine(examples=100, worst=40), "is of 100 examples, fewer than 200"),
    ):
        with pytest.raises(BenchError, match=f"{weak.run_id} {why}"):
            publish([weak], tmp_path, unchanged)
    assert published(tmp_path) == set()


def test_a_victim_is_no_surrogate_of_its_own(genuine: Maker, tmp_path: Path) -> None:
    honest = genuine()
    spec = {**honest.spec, "others": {"surrogate": honest.spec["training"]["id"]}}
    with pytest.raises(BenchError, match="gradients of the victim under another name"):
        publish([dataclasses.replace(honest, spec=spec, run_id=content_id(spec))], tmp_path, unchanged)


def test_a_published_run_is_never_replaced_silently(genuine: Maker, tmp_path: Path) -> None:
    publish([genuine(worst=300)], tmp_path, unchanged)
    higher = genuine(worst=400)
    with pytest.raises(BadValue, match=r"another content \(30.0 % there, 40.0 % here.*columns"):
        publish([higher], tmp_path, unchanged)
    assert read_records(tmp_path)[0].worst_case.count == 300
    publish([higher], tmp_path, unchanged, replace=True)
    assert read_records(tmp_path)[0].worst_case.count == 400


def test_an_audit_may_be_added_and_none_taken_away(genuine: Maker, tmp_path: Path) -> None:
    plain = genuine()
    audited = dataclasses.replace(plain, audit=(Check("P1", "pass", "said"),))
    publish([plain], tmp_path, unchanged)
    publish([audited], tmp_path, unchanged)
    assert read_records(tmp_path) == [audited]
    with pytest.raises(BenchError, match="other fields: audit"):
        publish([plain], tmp_path, unchanged)
    blocked = dataclasses.replace(plain, audit=(Check("P1", "block", "not said"),))
    with pytest.raises(BenchError, match="blocked by rule P1"):
        publish([blocked], tmp_path, unchanged)


def test_a_record_must_follow_from_the_examples_of_its_run(genuine: Maker, tmp_path: Path) -> None:
    """1000 examples of which 800 are right when clean and 451 hold: by examples.csv, and then one fewer."""
    record, (folder, left) = genuine(), outcomes_of(genuine(), tmp_path / "runs")
    honest = dataclasses.replace(
        record, robust_examples=verdicts_of(left["fgsm"], worst_case([*left.values()]))
    )
    honest = dataclasses.replace(
        honest, columns=tuple(figures(column, left[column.name]) for column in record.columns)
    )
    folder.finish(honest, left)
    publish([honest], tmp_path / "boards", unchanged, {record.run_id: folder})
    last = left["pgd_20"]
    left["pgd_20"] = dataclasses.replace(
        last, attacked=np.where(last.ids == 0, 1 - last.labels, last.attacked)
    )
    folder.finish(honest, left)
    with pytest.raises(BenchError, match=r"pgd_20 has robust 450 and not 451 by its examples\.csv"):
        publish([honest], tmp_path / "others", unchanged, {record.run_id: folder})


def outcomes_of(record: Record, store: Path) -> tuple[RunFolder, dict[str, Outcomes]]:
    """What each column did: the first examples hold, the next fall, the last are wrong when clean."""
    n, found = record.examples, {}
    for column in record.columns:
        at = np.arange(n)
        held, right = at < column.robust.count, at < record.clean.count
        nothing, never = np.zeros(n, dtype=bool), np.full(n, NEVER)
        found[column.name] = Outcomes(
            ids=at,
            labels=np.zeros(n, dtype=int),
            clean=np.where(right, 0, 1),
            attacked=np.where(held, 0, 1),
            distance=np.zeros(n),
            forwards=np.full(n, 20),
            backwards=np.full(n, 20),
            first_success=np.where(right & ~held, 7, never),
            moved=nothing,
            lost=nothing,
            invalid=nothing,
        )
    return RunFolder(store / record.run_id), found


def figures(column: Column, held: Outcomes) -> Column:
    mean, median = queries_to_success(held)
    return dataclasses.replace(
        column, forwards=20.0, backwards=20.0, queries_mean=round(mean, 3), queries_median=median
    )


def test_a_record_lies_under_its_own_name(genuine: Maker, tmp_path: Path) -> None:
    publish([genuine()], tmp_path, unchanged)
    path = tmp_path / "records" / f"{genuine().run_id}.json"
    path.rename(path.with_name("0123456789ab.json"))
    with pytest.raises(BadData, match=f"holds the record of run {genuine().run_id}, expected that of"):
        differing(tmp_path)


def test_what_cannot_be_read_is_skipped_and_told(genuine: Maker, tmp_path: Path) -> None:
    publish([genuine(), genuine(seed=1)], tmp_path, unchanged)
    gone = tmp_path / "records" / f"{genuine().run_id}.json"
    gone.write_text(gone.read_text()[:-90])
    told: list[BadData] = []
    assert [record.seed for record in read_records(tmp_path, told.append)] == [1]
    assert [str(gone) in error.message for error in told] == [True]
    with pytest.raises(BadData, match="cannot be read"):
        read_records(gone, told.append)
