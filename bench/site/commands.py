"""The commands that make a record again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from bench.core.threat import format_eps
from bench.records.record import Record

_OVERRIDDEN = re.compile(r"(?P<name>[^\[\]]+)(\[(?P<fields>.*)\])?")


def reproduce(record: Record) -> Iterator[str]:
    """One line for each command, as it is typed; what a record cannot say is a comment.

    The commit comes first: other code may come to other numbers.
    """
    made, trained = record.provenance, record.training
    if made.commit:
        yield f"git checkout {made.commit}"
    if made.dirty:
        yield "# the code had uncommitted changes: they are not known"
    words = ["bench", "run", "--defense", record.defense, "--suite", record.suite.partition("@")[0]]
    words += [
        "--data",
        record.data,
        "--arch",
        record.architecture,
        "--norm",
        record.norm,
        "--eps",
        record.eps,
    ]
    words += ["--examples", str(record.examples), "--seed", str(record.seed)]
    comments = []
    if trained is not None:
        name, fields = _recipe(trained.recipe)
        words += ["--recipe", name]
        if record.train_budget is not None:
            words += ["--train-eps", format_eps(record.train_budget.eps)]
        for field, value in fields:
            if field == "init":
                words += ["--init", "FILE"]
                comments.append(f"# FILE: weights whose SHA-256 begins with {value}")
            else:
                words += ["--set", f"recipe.{field}={value}"]
        if trained.checkpoint == "last":
            words += ["--checkpoint", "last"]
    if record.custom:
        comments.append(f"# custom: {record.why_custom}; the whole run stands in the JSON under spec")
    if made.threads is not None:
        words = [f"OMP_NUM_THREADS={made.threads}", *words]
    yield " ".join(
        word if "=" in word and place == 0 else shlex.quote(word) for place, word in enumerate(words)
    )
    yield from comments


def _recipe(text: str) -> tuple[str, list[tuple[str, str]]]:
    match = _OVERRIDDEN.fullmatch(text)
    if match is None:
        return text, []
    pairs = [item.partition("=") for item in (match["fields"] or "").split(",") if item]
    return match["name"], [(key, value) for key, _, value in pairs]
