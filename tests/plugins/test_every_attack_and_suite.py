"""Every registered attack keeps the contract, every published suite stays as it was published."""

import pytest

from bench.check import check_attack
from bench.core.digest import content_id
from bench.core.encoding import decode, encode, override
from bench.core.listing import OTHER_VERSIONS, typed_as
from bench.errors import UnknownName
from bench.registry import ATTACKS, SUITES, suite_named
from bench.suites.detection import DETECTION, Protocol

QUICK = {
    "apgd": {"steps": "10"},
    "apgd_targeted": {"steps": "10"},
    "detector_aware": {"steps": "10"},
    "fab": {"steps": "10"},
    "feature_matching": {"steps": "10"},
    "hop_skip_jump": {"queries": "60"},
    "nes": {"queries": "60"},
    "probe": {"queries": "20"},
    "rays": {"queries": "60"},
    "search_scout": {"queries": "60"},
    "siege": {"queries": "60", "steps": "5", "rounds": "1"},
    "simba": {"queries": "60"},
    "simba_dct": {"queries": "60"},
    "spsa": {"queries": "60"},
    "square": {"queries": "60"},
}
"""Fewer steps where the default takes seconds: the contract is the same."""


@pytest.mark.parametrize("name", ATTACKS.names())
def test_attack_keeps_the_contract(name):
    broken = [c for c in check_attack(override(ATTACKS.get(name), QUICK.get(name, {}))) if not c.kept]
    assert not broken


PUBLISHED = {
    "adaptive@1": "7d72368aa90c",
    "autoattack@1": "169694b86447",
    "autoattack_plus@1": "668f5575bfc0",
    "autoattack_rand@1": "6363db79eca0",
    "blackbox@1": "9b597fa5581d",
    "detection@1": "0b8f1d252be1",
    "fast@1": "9ba7f6f40b27",
    "fast@2": "81857da6c8dc",
    "graybox@1": "371215115375",
    "smoke@1": "5fa23062c6fb",
    "whitebox@1": "3170cefeae7f",
    "whitebox@2": "bcc016060c7e",
}
"""A published suite never changes: whatever differs needs another version."""


@pytest.mark.parametrize("name", SUITES.names())
def test_suite_is_as_published(name):
    suite = SUITES.get(name)
    assert content_id(encode(suite)) == PUBLISHED[suite.id]


@pytest.mark.parametrize("name", SUITES.names())
def test_a_suite_is_typed_as_what_leads_to_it(name):
    suite = SUITES.get(name)
    assert suite_named(typed_as(suite.id)) == suite_named(suite.id) == suite


def test_every_other_version_is_named_where_no_suite_is_loaded():
    assert list(OTHER_VERSIONS) == [name for name in SUITES.names() if "@" in name]


def test_an_id_without_a_number_leads_to_no_suite():
    with pytest.raises(UnknownName, match="no suite 'fast@', this version of bench has fast@1, fast@2"):
        suite_named("fast@")


@pytest.mark.parametrize("name", SUITES.names())
def test_suite_survives_json_and_names_its_columns_once(name):
    suite = SUITES.get(name)
    assert decode(encode(suite)) == suite
    columns = [trial.column for trial in suite.trials]
    assert len(set(columns)) == len(columns)


def test_detection_is_as_published():
    assert DETECTION.id == "detection@1"
    assert content_id([encode(DETECTION), encode(Protocol())]) == "5ae0367d2e0e"
