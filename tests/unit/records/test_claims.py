"""Published numbers: each of a defense that there is, in range, and never of a reconstruction."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_args

import pytest

from bench.plan import parse_defense
from bench.publish import read_records
from bench.records.claims import ClaimKind, claim_of, claims, link
from bench.records.record import Record
from bench.registry import DEFENSES

BOARDS = Path(__file__).parents[3] / "leaderboards"


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return read_records(BOARDS)


def test_every_claim_is_of_a_defense_that_there_is_and_names_its_source():
    for claim in claims():
        assert claim.defense.partition("[")[0] in DEFENSES.names()
        assert parse_defense(claim.defense, {}).label == claim.defense, "as records name it"
        assert 0 <= claim.robust <= (claim.clean if claim.clean is not None else 1) <= 1
        assert claim.source and claim.attack and claim.architecture
        assert claim.kind in get_args(ClaimKind)


def test_no_claim_is_of_a_reconstruction():
    for name in {claim.defense.partition("[")[0] for claim in claims()}:
        source = DEFENSES.get(name)
        if name not in ("clp", "lsq", "alp_plain"):  # settings of others, chosen again: told on boards
            assert source.reconstruction is None, name


def test_the_authors_number_comes_before_what_others_measured(records):
    record = next(r for r in records if r.defense == "trades" and r.data == "mnist")
    found = claim_of(record)
    assert found is not None and (found.kind, found.robust) == ("claimed", pytest.approx(0.956))


def test_what_others_trained_themselves_comes_last(make_record):
    record = make_record(data="cifar10", norm="Linf", eps="8/255", reconstruction=None)

    def found(defense):
        claim = claim_of(dataclasses.replace(record, defense=defense))
        return claim and (claim.kind, round(100 * claim.robust, 2))

    assert found("at_awp") == ("claimed", 53.97), "its authors'"
    assert found("pgd_at") == ("measured", 44.04), "others, on its authors' weights"
    assert found("mart") == ("retrained", 47.29), "nobody else: the last epoch of others' own training"
    assert found("bilateral") == ("claimed", 52.5), "and not the network that was trained at 4/255"


def test_other_budgets_variants_and_reconstructions_have_none(records):
    record = next(r for r in records if r.defense == "trades" and r.data == "mnist")
    for changed in (
        {"eps": "0.1"},
        {"data": "fashion_mnist"},
        {"norm": "L2"},
        {"defense": "trades[beta=1]"},
        {"reconstruction": "all of it"},
    ):
        assert claim_of(dataclasses.replace(record, **changed)) is None


def test_every_paper_that_can_be_found_is_linked():
    without = {name for name in DEFENSES.names() if link(name) is None}
    assert without == {"standard", "ensemble", "loaded", "dbp_none", "fdml"}
