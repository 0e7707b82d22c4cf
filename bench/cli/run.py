"""`bench run`: train or load a defense, attack it with a suite, print the table, keep the record."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli import options
from bench.core.threat import Budget, Source, format_eps

if TYPE_CHECKING:  # the contract loads torch, and help must not
    from bench.api import Trial
    from bench.plan import RunSpec
    from bench.records.asked import Answer, Question
    from bench.records.record import Record
    from bench.runner.options import Options


@click.command()
@options.defense
@options.suite
@options.attack
@options.knowledge
@options.norm
@options.eps
@options.examples
@options.checkpoint
@options.factory
@options.surrogate
@options.batch_size
@options.compiled
@options.workers
@options.no_evidence
@options.network
@click.option(
    "--board",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Also rank all records of the store in a CSV and markdown board there.  [default: none]",
)
@options.as_json
def run(
    defense: str,
    suite: str | None,
    attacks: tuple[str, ...],
    knowledge: str | None,
    norm: str | None,
    eps: str | None,
    examples: str | None,
    checkpoint: str,
    factory: str | None,
    surrogate: str | None,
    batch_size: str,
    compiled: bool,
    workers: int,
    no_evidence: bool,
    board: Path | None,
    as_json: bool,
    **shared: Any,
) -> int:
    """Train a defense (or load its weights), attack it with a suite or named attacks, and print the table.

    A run that was killed goes on from where it stopped; one that is complete answers from its record.
    """
    from bench.cli.requests import as_options
    from bench.records.store import require_writable

    how = as_options(
        batch_size=batch_size, compiled=compiled, workers=workers, no_evidence=no_evidence, **shared
    )
    words = {
        "defense": defense,
        "suite": suite,
        "attacks": attacks,
        "knowledge": knowledge,
        "norm": norm,
        "eps": eps,
        "examples": examples,
        "checkpoint": checkpoint,
        "factory": factory,
        "surrogate": surrogate,
    }
    question = _question(words, shared)
    answer = None if question is None or how.stale == "rerun" else question.answer(how.store)
    if answer is None:
        record = _computed(words, shared, how, board, question)
    else:
        if board is not None:
            require_writable(board, "folder of boards", "--board FOLDER")
        record = _told_again(answer, how)
    _print(record, as_json)
    if board is not None:
        _write_board(shared["store"], board)
    return 0 if record.status == "complete" else 1


def _question(words: Mapping[str, Any], shared: Mapping[str, Any]) -> Question | None:
    """What was asked, as far as it decides the record."""
    from bench.records.asked import Question

    if shared["init"] or shared["label"] or words["factory"] or words["checkpoint"] not in ("best", "last"):
        return None  # files of the user's own, whose content decides, and what they are called
    decides = {name: shared[name] for name in ("data", "arch", "recipe", "train_eps", "seed", "settings")}
    return Question.of({**words, **decides})


def _told_again(answer: Answer, how: Options) -> Record:
    """The record that answered the same question before, with what was said then."""
    from bench.records.store import complete

    how.store.prepare()
    for sentence in (*answer.said, complete(answer.record.run_id)):
        how.progress.say(sentence)
    return answer.record


def _computed(
    words: Mapping[str, Any],
    shared: Mapping[str, Any],
    how: Options,
    board: Path | None,
    question: Question | None,
) -> Record:
    """The record of the planned run, and a note of what it answers."""
    from bench.cli.requests import as_request
    from bench.records.store import require_writable

    request = as_request(**words, **shared)  # says what is wrong with a name, before torch is loaded

    from bench.plan import plan_run

    spec = plan_run(request)
    if board is not None:  # known now, not after hours
        require_writable(board, "folder of boards", "--board FOLDER")
    said = list(_worth_saying(spec, words["surrogate"] is not None))
    for sentence in said:
        how.progress.say(sentence)

    from bench.runner.run import run as compute

    record = compute(spec, how)
    if question is not None and record.status == "complete" and how.stale != "accept":
        question.keep(how.store, record.run_id, said)
    return record


def _worth_saying(spec: RunSpec, surrogate: bool) -> Iterator[str]:
    """What a user should know before the run begins."""
    if surrogate:
        owned = dict(spec.others)[Source.SURROGATE]
        yield f"surrogate: {owned.named.label}@{owned.architecture}, training {owned.id}"
    for trial in spec.suite.trials:
        yield from _steps_for_another_eps(trial, spec.budget)


def _print(record: Record, as_json: bool) -> None:
    from bench.cli.board import width
    from bench.records.record import to_json
    from bench.report.render import terminal
    from bench.report.table import run_table

    click.echo(to_json(record) if as_json else terminal(run_table(record), width()), nl=False)


def _steps_for_another_eps(trial: Trial, budget: Budget) -> Iterator[str]:
    """What to know of steps in pixel units that are a library's default for an eps other than this."""
    from bench.core.encoding import describe

    attack: Any = trial.attack
    made_for: Mapping[str, Fraction] = attack.absolute
    usual = {item.name: item.default for item in dataclasses.fields(attack)}
    for name, eps in made_for.items():
        step = getattr(attack, name)
        if eps != budget.eps and step == usual[name]:
            scaled = (Fraction(step).limit_denominator(1000) / eps * budget.eps).limit_denominator(100_000)
            yield (
                f"{trial.column}: {name} is {describe(step)} in pixel units, the library's choice for eps "
                f"{format_eps(eps)}, and eps is {format_eps(budget.eps)}; the same share of it: --set "
                f"attack.{trial.column}.{name}={_as_typed(scaled, step)}"
            )


def _as_typed(step: Fraction, like: object) -> str:
    return str(step) if isinstance(like, Fraction) else f"{float(step):g}"


def _write_board(store: Path, folder: Path) -> None:
    from bench.publish import write_board
    from bench.records.store import Store

    for path in write_board(list(Store(store).records()), folder):
        click.echo(f"board: {path}", err=True)
