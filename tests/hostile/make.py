"""Hostile records, each made from a genuine one by making one field hostile: `python tests/hostile/make.py`.

`genuine.json` is a published record with fewer checks and sources, and with images that others made.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent

TEXT = (
    '=HYPERLINK("//evil")";touch PWNED;$(touch PWNED)`touch PWNED`\'|touch PWNED&&\n'
    "touch PWNED\r\x1b]0;evil\x07\x1b[2J\x9b2J\u202e\u2028</script><script>PWNED()</script>"
    "<img src=x onerror=PWNED()>\\input{PWNED}}\\write18{touch PWNED}%$^_#&~ "
    "](javascript:PWNED) | [x](javascript:PWNED)"
)
"""A formula, shell commands, lines, controls of terminals, scripts, TeX, cells and links of markdown."""

LEADS_AWAY = "../../PWNED"

CODE = "antigravity:x"

NAMES = (
    *(
        "run_id",
        "data_digest",
        "training_id",
        "sha256",
        "ids",
        "file",
        "name",
        "column",
        "id",
        "data",
        "suite",
    ),
    *("commit", "defense", "architecture", "rule"),
)
"""Fields that name something, so may be taken for the name of a file."""

AS_THEY_ARE = ("schema", "status", "verdict", "severity", "norm", "checkpoint")
"""Fields of a few words, of which any other is refused."""


def corpus() -> dict[str, dict[str, Any]]:
    """File name -> record."""
    genuine = json.loads((FOLDER / "genuine.json").read_text(encoding="utf-8"))
    found = {}
    for path in fields(genuine):
        payloads = {"text": TEXT}
        if path[-1] in NAMES:
            payloads["path"] = LEADS_AWAY
        if path[-1] == "is":
            payloads = {"code": CODE, "path": LEADS_AWAY}
        for kind, payload in payloads.items():
            found[f"{'.'.join(map(str, path))}.{kind}.json"] = consistent(changed(genuine, path, payload))
    for name in ("packages", "sources"):
        held = changed(genuine, ("provenance", name, TEXT), "1" * 12)
        found[f"provenance.{name}.key.json"] = consistent(held)
    return found


def fields(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a text stands; of lists the first entry alone."""
    if isinstance(value, str) and path[-1] not in AS_THEY_ARE:
        yield path
    elif isinstance(value, dict):
        for key, inside in value.items():
            yield from fields(inside, (*path, key))
    elif isinstance(value, list) and value:
        yield from fields(value[0], (*path, 0))


def changed(record: Mapping[str, Any], path: tuple[Any, ...], payload: str) -> dict[str, Any]:
    """The record with another text there."""
    made: Any = copy.deepcopy(record)
    *above, last = path
    inside = made
    for key in above:
        inside = inside[key]
    inside[last] = payload
    return made  # type: ignore[no-any-return]


def consistent(record: dict[str, Any]) -> dict[str, Any]:
    """The record with what it says of its spec said there, too, and with its id: so it can be read."""
    from bench.core.digest import content_id

    spec, genuine = record["spec"], json.loads((FOLDER / "genuine.json").read_text(encoding="utf-8"))
    for name, place in (("defense", "name"), ("data", "data"), ("architecture", "architecture")):
        if record[name] != genuine[name]:
            spec["training"][place] = record[name]
        elif spec["training"][place] != genuine[name]:
            record[name] = spec["training"][place]
    if record["columns"][0]["name"] != genuine["columns"][0]["name"]:
        spec["suite"]["trials"][0]["column"] = record["columns"][0]["name"]
    if spec["suite"]["name"] != genuine["spec"]["suite"]["name"]:
        record["suite"] = f"{spec['suite']['name']}@{spec['suite']['version']}"
    elif record["suite"] != genuine["suite"]:
        spec["suite"]["name"] = record["suite"]
        record["suite"] += f"@{spec['suite']['version']}"
    if record["run_id"] == genuine["run_id"]:
        record["run_id"] = content_id(spec)
    return record


def write() -> None:
    """Every file anew."""
    for path in FOLDER.glob("*.json"):
        if path.name != "genuine.json":
            path.unlink()
    for name, record in corpus().items():
        (FOLDER / name).write_text(json.dumps(record, separators=(",", ":"), sort_keys=True) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(FOLDER.parents[1]))
    write()
