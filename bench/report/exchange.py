"""RobustBench's own files: ours written in their form, theirs read as published rows."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from bench.core.exact import exact
from bench.core.json_file import json_of
from bench.core.text import one_line
from bench.errors import BadData, BadValue
from bench.records.claims import claim_of, link
from bench.records.record import Interval, Record
from bench.report.setting import Setting, setting

AUTOATTACK = "autoattack@1"
"""The suite whose worst case is the number of their boards."""

KEYS = (
    *("link", "name", "authors", "additional_data", "number_forward_passes", "dataset", "venue"),
    *("architecture", "eps", "clean_acc", "reported", "autoattack_acc", "external", "unreliable", "footnote"),
)
"""Their keys, in their order; `external` is there only where another attack went below AutoAttack."""

SUPERSET = "bench_result.json"
"""What our records know besides: seeds, intervals, findings, costs, digests."""


@dataclass(frozen=True)
class Published:
    """A row of somebody else's board: what was claimed or measured there; percent, as they write it."""

    id: str  # the file's name
    name: str
    authors: str
    venue: str
    link: str
    architecture: str
    data: str
    norm: str | None  # the folder's name, for the files do not say it
    eps: str | None
    clean: float | None
    autoattack: float | None
    external: float | None  # the lowest number that is known, where it is below AutoAttack's
    runs: tuple[str, ...] = ()  # of bench, whose export the file is; none: it is somebody else's

    @property
    def robust(self) -> float | None:
        """The number that their rank uses."""
        return self.external if self.external is not None else self.autoattack

    @property
    def source(self) -> str:
        """Authors, title and venue."""
        return ", ".join(part for part in (self.authors, self.name, self.venue) if part)

    def fits(self, place: Setting) -> bool:
        """Whether it may stand below a board: the same data, norm and eps; their n is their own."""
        if self.norm is None or self.eps is None:
            return False
        same_data = _letters(self.data) == _letters(place.data)
        return same_data and (self.norm, Fraction(self.eps)) == (place.norm, place.eps)


def export(records: Sequence[Record]) -> dict[str, str]:
    """File name -> JSON for their `model_info/<data>/<norm>/`, and our superset beside it.

    One file for each training with a complete run of autoattack@1; records of other suites on the same ground
    lower `external` and lengthen the footnote.

    Raises:
        BadValue: no record is of autoattack@1; or two trainings would have one name.
    """
    files: dict[str, str] = {}
    for group in sorted(_trainings(records), key=lambda group: -group[0].examples):
        reference = next((r for r in group if r.suite == AUTOATTACK and not r.custom and r.worst_case), None)
        if reference is None:
            continue
        folder = f"{_safe(reference.data)}/{reference.norm}"
        name = f"{folder}/{model_id(reference)}"
        if f"{name}.json" in files:  # the same weights on fewer examples
            name = f"{name}_n{reference.examples}"
        if f"{name}.json" in files:
            raise BadValue(
                f"two trainings would be exported as {name}.json, expected one", "export them apart"
            )
        files[f"{name}.json"] = _json(_model_info(reference, group))
        files[f"{name}.{SUPERSET}"] = _json([asdict(record) for record in group])
    if not files:
        given = ", ".join(sorted({record.suite for record in records})) or "none"
        raise BadValue(
            f"no record is a complete run of {AUTOATTACK}, by whose worst case RobustBench ranks (given: "
            f"{given})",
            "bench run --defense NAME --suite autoattack",
        )
    return files


def published(folder: Path) -> list[Published]:
    """The rows of a folder of their files, by name; numbers may be strings or not, as both are in use.

    Norm and, where a file does not say it, data are the names of its folders: DATA/NORM/ID.json.

    Raises:
        BadData: there is no such file, or one of them is not theirs.
    """
    paths = [path for path in sorted(folder.rglob("*.json")) if not path.name.endswith(SUPERSET)]
    if not paths:
        raise BadData(
            f"{str(folder)!r} holds no JSON file, expected RobustBench's model_info", "--published FOLDER"
        )
    return [_published(path) for path in paths]


def model_id(record: Record) -> str:
    """The name of a file as theirs are named: first author, year, first word of the title, what varies.

    >>> from types import SimpleNamespace
    >>> paper = "Wang et al., AGKD-BML, ICCV 2021"
    >>> record = {"paper": paper, "defense": "agkd_bml[margin=0.05]", "architecture": "small_cnn", "seed": 1,
    ...           "trained_at": None}
    >>> model_id(SimpleNamespace(**record))
    'Wang2021AGKD_agkd_bml_margin_0.05_small_cnn_seed1'
    """
    authors, title, venue = _paper(record.paper)
    year = re.search(r"\d{4}", venue)
    author = re.match(r"\w*", _ascii(authors))
    word = re.match(r"\w*", _ascii(title))
    first = f"{author[0] if author else ''}{year[0] if year else ''}{word[0] if word else ''}"
    parts = [first, record.defense, record.architecture, f"seed{record.seed}", record.trained_at or ""]
    return "_".join(_safe(part) for part in parts if part)


def _model_info(reference: Record, group: Sequence[Record]) -> dict[str, Any]:
    authors, title, venue = _paper(reference.paper)
    assert reference.worst_case is not None
    lowest = min((r.worst_case for r in group if r.worst_case), key=lambda found: found.value)
    findings = sorted({finding.code for record in group for finding in record.findings})
    told = [
        f"flags: {', '.join(findings) or 'none'}",
        f"n = {reference.examples:,}, 95 % Wilson interval {_interval(reference.worst_case)}",
        f"seed {reference.seed}",
        *([reference.trained_at] if reference.trained_at else []),
        f"bench runs {', '.join(record.run_id for record in group)}",
    ]
    if reference.reconstruction:
        told.append(f"a reconstruction: {reference.reconstruction}")
    claim = claim_of(reference)
    claimed = claim if claim is not None and claim.kind == "claimed" else None
    if claimed is not None:
        told.append(f"reported: {claimed.attack} on {claimed.architecture} ({claimed.source})")
    info: dict[str, Any] = {
        "link": link(reference.defense) or "",
        "name": title,
        "authors": authors,
        "additional_data": False,
        "number_forward_passes": reference.draws,
        "dataset": reference.data,
        "venue": venue,
        "architecture": reference.architecture,
        "eps": reference.eps,
        "clean_acc": _percent(reference.clean),
        "reported": f"{100 * claimed.robust:.2f}" if claimed is not None else "",
        "autoattack_acc": _percent(reference.worst_case),
        "unreliable": any(code in _UNRELIABLE for code in findings),
        "footnote": "; ".join(told),
    }
    if lowest.value < reference.worst_case.value:
        info["external"] = _percent(lowest)
    return {key: info[key] for key in KEYS if key in info}


_UNRELIABLE = (
    *("zero-gradients", "no-gradients", "probabilities-for-logits", "optimises-at-inference"),
    *("undeclared-randomness", "batch-dependent", "train-mode"),
)
"""Findings that make AutoAttack's number doubtful by RobustBench's own rules."""


def _published(path: Path) -> Published:
    held = json_of(path, "a file of RobustBench's model_info")
    if not isinstance(held, dict) or not {"name", "clean_acc"} <= set(held):
        raise BadData(f"{path} has no name and clean_acc, expected a file of RobustBench's model_info")
    folder = path.resolve().parent
    norm, data = folder.name, folder.parent.name
    told = {key: one_line(str(value or "")) for key, value in held.items()}
    return Published(
        id=one_line(path.stem),
        name=told["name"],
        authors=told.get("authors", ""),
        venue=told.get("venue", ""),
        link=told.get("link", ""),
        architecture=told.get("architecture", ""),
        data=told.get("dataset") or data,
        norm=norm if norm in _NORMS else None,
        eps=_eps(held.get("eps"), path),
        clean=_number(held, "clean_acc", path),
        autoattack=_number(held, "autoattack_acc", path),
        external=_number(held, "external", path),
        runs=tuple(_OF_OURS.findall(str(held.get("footnote") or ""))),
    )


_OF_OURS = re.compile(r"(?:(?<=bench runs )|(?<=\b[0-9a-f]{12}, ))[0-9a-f]{12}\b")
"""The ids in the footnote of an export."""

_NORMS = ("Linf", "L2", "L1", "L0")


def _eps(value: object, path: Path) -> str | None:
    if value is None or value == "":
        return None
    try:
        return str(exact(str(value)).limit_denominator(10_000))
    except ValueError:
        raise BadData(f"{path}: eps is {value!r}, expected a radius such as 8/255") from None


def _letters(name: str) -> str:
    """CIFAR-10 and cifar10 are one data set."""
    return "".join(sign for sign in name.lower() if sign.isalnum())


def _number(held: Mapping[str, Any], key: str, path: Path) -> float | None:
    value = held.get(key)
    if value is None or value == "":
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        found = -1.0
    if not 0 <= found <= 100:
        raise BadData(f"{path}: {key} is {value!r}, expected percent from 0 to 100")
    return found


def _trainings(records: Sequence[Record]) -> list[list[Record]]:
    found: dict[tuple[object, ...], list[Record]] = {}
    for record in sorted(records, key=lambda record: record.run_id):
        training = record.training.training_id if record.training else ""
        key = (setting(record), record.defense, record.architecture, record.seed, training)
        found.setdefault(key, []).append(record)
    return list(found.values())


def _paper(text: str) -> tuple[str, str, str]:
    """Authors, title, venue; where a text has fewer parts, it is the title."""
    parts = [part.strip() for part in text.split(",")]
    return (parts[0], ", ".join(parts[1:-1]), parts[-1]) if len(parts) > 2 else ("", text, "")


def _percent(found: Interval) -> str:
    return f"{100 * found.value:.2f}"


def _interval(found: Interval) -> str:
    return f"[{100 * found.low:.2f}, {100 * found.high:.2f}]"


def _ascii(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", _ascii(text)).strip("_")


def _json(data: object) -> str:
    return json.dumps(data, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
