"""The commands that make a record again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from bench.core.listing import typed_as
from bench.core.text import one_line
from bench.core.threat import format_eps
from bench.records.labels import is_label
from bench.records.record import LOADED, Record

_OVERRIDDEN = re.compile(r"(?P<name>[^\[\]]+)(\[(?P<fields>.*)\])?")


def reproduce(record: Record) -> Iterator[str]:
    """One line for each command, as it is typed; what a record cannot say is a comment.

    The commit comes first: other code may come to other numbers.
    """
    return map(one_line, _lines(record))


def command_under(record: Record, suite: str) -> str:
    """What puts the training of a record under another suite, as it is typed."""
    return one_line(_run(record, suite)[0])


def _lines(record: Record) -> Iterator[str]:
    made = record.provenance
    if made.commit:
        yield f"git checkout {shlex.quote(made.commit)}"
    if made.dirty:
        yield "# the code had uncommitted changes: they are not known"
    command, comments = _run(record, record.suite)
    if record.custom:
        comments.append(f"# custom: {record.why_custom}; the whole run stands in the JSON under spec")
    yield command
    yield from comments


def _run(record: Record, suite: str) -> tuple[str, list[str]]:
    """The command of a run, and comments on the files that it needs."""
    made, trained = record.provenance, record.training
    is_loaded = trained is not None and trained.recipe == LOADED
    words, comments = _loaded(record) if is_loaded else ([record.defense], [])
    words = ["bench", "run", "--defense", *words, "--suite", typed_as(suite)]
    words += [
        "--data",
        record.data,
        *([] if is_loaded else ["--arch", record.architecture]),
        "--norm",
        record.norm,
        "--eps",
        record.eps,
    ]
    words += ["--examples", str(record.examples), "--seed", str(record.seed)]
    if (devices := record.spec.get("training", {}).get("devices", 1)) > 1:
        words += ["--devices", str(devices)]
    if trained is not None and not is_loaded:
        name, fields = _recipe(trained.recipe)
        words += ["--recipe", name]
        if record.train_budget is not None:
            words += ["--train-eps", format_eps(record.train_budget.eps)]
        for field, value in fields:
            if field == "init":
                words += ["--init", "FILE"]
                comments.append(f"# FILE: weights whose SHA-256 begins with {value}")
            elif field == "extra":
                content, _, share = value.partition("*")
                words += ["--extra", "npz:FILE", "--extra-share", share]
                comments.append(f"# FILE: images whose SHA-256 begins with {content}")
            else:
                words += ["--set", f"recipe.{field}={value}"]
        if trained.checkpoint == "last":
            words += ["--checkpoint", "last"]
    if made.threads is not None:
        words = [f"OMP_NUM_THREADS={made.threads}", *words]
    quoted = (word if "=" in word and place == 0 else shlex.quote(word) for place, word in enumerate(words))
    return " ".join(quoted), comments


def _loaded(record: Record) -> tuple[list[str], list[str]]:
    """What names a network that others trained, and what its files are; no record says where they lie."""
    held: Mapping[str, Any] = record.spec["training"]["defense"]
    source, factory = held.get("source", "file"), held.get("factory", "")
    words = [LOADED, "--checkpoint", "FILE"] if source == "file" else [record.defense]
    comments = [f"# FILE: weights whose SHA-256 begins with {held['weights']}"] if source == "file" else []
    if factory:
        module, _, attribute = str(factory).rpartition(":")
        words += ["--factory", f"{module.rpartition('.')[2]}.py:{attribute}"]
        comments.append(
            f"# {module}: code of the user's own, by digest {record.provenance.sources.get(module)}"
        )
    elif source == "file":
        words += ["--arch", record.architecture]
    return words + (["--label", record.defense] if is_label(record.defense) else []), comments


def _recipe(text: str) -> tuple[str, list[tuple[str, str]]]:
    match = _OVERRIDDEN.fullmatch(text)
    if match is None:
        return text, []
    pairs = [item.partition("=") for item in (match["fields"] or "").split(",") if item]
    return match["name"], [(key, value) for key, _, value in pairs]
