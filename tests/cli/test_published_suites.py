"""`bench publish` takes records of every registered suite as it is, and of none that was changed."""

from __future__ import annotations

import json

import pytest

from bench.attacks.fgsm import FGSM
from bench.cli.publish import _require_published_suite
from bench.core.encoding import encode
from bench.errors import BadValue
from bench.registry import SUITES


@pytest.fixture
def record_of(make_record):
    """A record whose spec holds a suite as a file does, with other numbers of examples, too."""

    def call(suite, examples=300, change=lambda held: None):
        held = json.loads(json.dumps(encode(suite)))
        held["examples"] = examples
        change(held)
        return make_record(suite=suite.id, spec={"suite": held})

    return call


@pytest.mark.parametrize("name", SUITES.names())
def test_a_suite_as_it_is_registered_may_be_published(name, record_of):
    for examples in (300, 1000, None):
        _require_published_suite(record_of(SUITES.get(name), examples))


CHANGES = {
    "a column less": lambda held: held["trials"].pop(),
    "another order": lambda held: held["trials"].reverse(),
    "other chunks": lambda held: held.update(chunk=held["chunk"] + 1),
    "an attacker who sees less": lambda held: held["trials"][0]["knowledge"].update(
        feedback="nothing", level="x"
    ),
    "a weaker attack": lambda held: held["trials"][-1].update(attack=encode(FGSM())),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", SUITES.names())
def test_a_suite_that_was_changed_may_not(name, change, record_of):
    suite = SUITES.get(name)
    with pytest.raises(
        BadValue, match=f"said to be of {suite.id}, and its attacks are not those of that suite"
    ):
        _require_published_suite(record_of(suite, change=CHANGES[change]))
