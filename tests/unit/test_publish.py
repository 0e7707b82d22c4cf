from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pandas as pd
import pytest

from bench.core.digest import source_digests
from bench.errors import BadValue, BenchError, StaleRecord
from bench.publish import differing, publish, read_records, rebuild, write_board
from bench.records.record import Column, Finding, Provenance, Record, to_json

Maker = Callable[..., Record]


def unchanged(modules: Iterable[str]) -> Mapping[str, str]:
    """The sources of the records made by hand, as they were."""
    return dict.fromkeys(modules, "5" * 12)


def published(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_writes_boards_and_records(make_record: Maker, tmp_path: Path) -> None:
    first = make_record(run_id="a1")
    written = publish([first], tmp_path, unchanged)
    expected = {"cifar10-linf-8_255.md", "cifar10-linf-8_255.csv", "records/a1.json"}
    assert {str(path.relative_to(tmp_path)) for path in written} == expected == published(tmp_path)
    assert (tmp_path / "records" / "a1.json").read_text() == to_json(first)
    assert read_records(tmp_path) == [first]


def test_adds_to_what_is_published(make_record: Maker, tmp_path: Path) -> None:
    publish([make_record(run_id="a1", worst=400)], tmp_path, unchanged)
    publish([make_record(run_id="b1", defense="trades", worst=500)], tmp_path, unchanged)
    frame = pd.read_csv(tmp_path / "cifar10-linf-8_255.csv")
    assert list(frame["defense"]) == ["trades", "pgd_at"]


def test_published_boards_are_not_judged_again(make_record: Maker, tmp_path: Path) -> None:
    publish([make_record(run_id="a1", worst=400)], tmp_path, unchanged)
    later = make_record(
        run_id="b1", defense="trades", provenance=provenance(make_record(), sources={"bench.new": "7" * 12})
    )
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


def test_boards_follow_from_their_records_byte_by_byte(sample: list[Record], tmp_path: Path) -> None:
    sound = [record for record in sample if record.run_id.startswith("aaaa")]
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


def test_a_second_record_for_one_place_is_refused(make_record: Maker, tmp_path: Path) -> None:
    publish([make_record(run_id="a1")], tmp_path, unchanged)
    with pytest.raises(BadValue, match="records a1 and a2 are both pgd_at"):
        publish([make_record(run_id="a2")], tmp_path, unchanged)
    assert [record.run_id for record in read_records(tmp_path)] == ["a1"]
