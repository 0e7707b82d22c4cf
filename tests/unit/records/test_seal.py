"""A record whose content was changed says so; older ones, which have no digest, are read."""

import hashlib
import json
import random

import pytest

from bench.errors import BadData
from bench.records.reading import from_json
from bench.records.record import to_json
from bench.records.seal import seal, sealed


def test_the_digest_is_that_of_all_other_entries():
    data = {"b": [1.5, None], "a": "ü"}
    plain = '{"a":"\\u00fc","b":[1.5,null]}'
    assert json.loads(sealed(data)) == {**data, "digest": hashlib.sha256(plain.encode()).hexdigest()}
    assert seal(json.dumps(data)) == seal(sealed(data)) == sealed(data)


def test_no_flipped_bit_is_another_record(make_record):
    record = make_record()
    content = to_json(record).encode()
    chance = random.Random(0)
    for _ in range(400):
        place, bit = chance.randrange(len(content)), 1 << chance.randrange(8)
        flipped = content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]
        try:
            found = from_json(flipped.decode("utf-8"))
        except (BadData, UnicodeDecodeError):
            continue
        assert found == record, "white space, or the same number in other digits"


def test_a_changed_number_is_told(genuine):
    data = json.loads(to_json(genuine()))
    data["provenance"]["seconds"] += 1
    with pytest.raises(BadData, match="was changed after it was made"):
        from_json(json.dumps(data))
    del data["digest"]
    assert from_json(json.dumps(data)).provenance.seconds == data["provenance"]["seconds"], (
        "of an older making"
    )
