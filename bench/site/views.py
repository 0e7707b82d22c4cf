"""What the page of a record shows, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.records.claims import claim_of, link
from bench.records.origin import for_others
from bench.records.record import Check, Column, Finding, Interval, Provenance, Record
from bench.records.rules import RULES
from bench.report.bibliography import bibtex_of
from bench.report.table import note, untrained
from bench.site.board_view import Located
from bench.site.commands import reproduce
from bench.site.shares import Share, share


@dataclass(frozen=True)
class Card:
    """What one kind of attacker may see, and what it did."""

    label: str
    means: str
    gradients: str
    answers: str
    trials: tuple[tuple[Column, Share | None, str | None], ...]  # with what happened besides


@dataclass(frozen=True)
class RecordView:
    """One record."""

    record: Record
    located: Located | None
    clean: Share
    worst: Share | None
    cards: tuple[Card, ...]
    findings: tuple[Finding, ...]
    checks: tuple[tuple[str, Check], ...]  # the rule's title, and what came of it; worst first
    commands: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    link: str | None  # to the paper
    made: tuple[tuple[str, str], ...]
    bibtex: str


def record_view(record: Record, located: Located | None) -> RecordView:
    """Everything about one record."""
    record = for_others(record)
    order = ("block", "warn", "open", "info", "pass")
    checks = sorted(record.audit, key=lambda check: (order.index(check.verdict), check.rule))
    return RecordView(
        record=record,
        located=located,
        clean=share(record.clean),
        worst=share(record.worst_case) if record.worst_case else None,
        cards=_cards(record),
        findings=record.findings,
        checks=tuple((RULES[check.rule].title if check.rule in RULES else "", check) for check in checks),
        commands=tuple(reproduce(record)),
        facts=_facts(record),
        link=link(record.defense),
        made=_made(record),
        bibtex=bibtex_of([record]),
    )


def _cards(record: Record) -> tuple[Card, ...]:
    """The attackers of a record, from those who see most to those who see least."""
    told = {trial["column"]: trial["knowledge"] for trial in record.spec.get("suite", {}).get("trials", ())}
    cards: dict[str, list[Column]] = {}
    for column in record.columns:
        cards.setdefault(column.knowledge, []).append(column)
    found = []
    for label, columns in cards.items():
        knowledge: Mapping[str, Any] = told.get(columns[0].name, {})
        limit = knowledge.get("max_queries")
        answers = str(knowledge.get("feedback", "not recorded"))
        trials = tuple(
            (column, share(column.robust) if column.robust else None, note(column)) for column in columns
        )
        found.append(
            Card(
                label=label,
                means=str(knowledge.get("means", "")),
                gradients=str(knowledge.get("gradients", "not recorded")),
                answers=answers if limit is None else f"{answers}, at most {limit:,} queries for each image",
                trials=trials,
            )
        )
    return tuple(found)


def _facts(record: Record) -> tuple[tuple[str, str], ...]:
    facts = [
        ("paper", record.paper),
        ("suite", f"{record.suite}{f' (custom: {record.why_custom})' if record.custom else ''}"),
        ("data", f"{record.data}, {record.examples:,} test images (digest {record.data_digest})"),
        ("budget", record.budget),
        ("architecture", record.architecture),
        ("seed", str(record.seed)),
    ]
    if record.traits:
        facts.append(("made of", ", ".join(record.traits)))
    if record.draws > 1:
        facts.append(("verdicts", f"the most frequent of {record.draws} answers to each image"))
    trained = record.training
    if trained:
        facts += [("parameters", f"{trained.parameters:,}"), ("recipe", record.recipe)]
        if without := untrained(trained):
            facts.append(("weights", without))
        else:
            facts += [
                ("checkpoint", f"{trained.checkpoint}, epoch {trained.epoch} of {trained.epochs}"),
                ("trained in", f"{trained.seconds:,.0f} s"),
            ]
    claim = claim_of(record)
    if claim:
        who = "by its authors" if claim.kind == "claimed" else "by others"
        said = f"{100 * claim.robust:.1f} % under {claim.attack} on {claim.architecture}, {claim.kind} {who}"
        facts.append(("published", f"{said} ({claim.source}): other weights, often another network"))
    return tuple((name, value) for name, value in facts if value)


def _made(record: Record) -> tuple[tuple[str, str], ...]:
    made, trained, kept = record.provenance, record.training, record.evidence
    dirty = {True: ", with uncommitted changes", False: "", None: ""}[made.dirty]
    found = [
        ("run", record.run_id),
        ("bench", made.version),
        ("commit", f"{made.commit or 'unknown'}{dirty}"),
        ("started", made.started),
        ("took", f"{made.seconds:,.0f} s"),
        ("device", made.device),
        ("threads", "not recorded" if made.threads is None else str(made.threads)),
        ("packages", _locked(made)),
        ("Python", made.python),
        *((name, version) for name, version in sorted(made.packages.items())),
    ]
    if trained:
        found += [("training", trained.training_id), ("weights' SHA-256", trained.sha256)]
        found += [(f"parent, {role}", training) for role, training in sorted(trained.parents.items())]
    if kept:
        found += [
            (kept.file, f"{kept.images:,} adversarial images"),
            ("their SHA-256", kept.sha256),
            ("scored again from the file", _read(kept.again)),
            ("rounded to 8 bits", _read(kept.rounded)),
        ]
    return tuple(found)


def _locked(made: Provenance) -> str:
    if made.lock is None:
        return "made before there was a lock"
    return f"lock {made.lock}{', but ' if made.unlocked else ''}{', '.join(made.unlocked)}"


def _read(found: Interval) -> str:
    held = share(found)
    return f"{held.value} [{held.ends}] %"
