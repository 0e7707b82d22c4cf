"""`bench run`: train or load a defense, attack it with a suite, print the table, keep the record."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli import options
from bench.core.exact import exact
from bench.core.threat import Budget, Source, format_eps
from bench.errors import BadValue, BenchError
from bench.train.recipes import LOADED

if TYPE_CHECKING:  # the contract loads torch, and help must not
    from bench.api import Trial
    from bench.plan import RunSpec
    from bench.records.asked import Answer, Question
    from bench.records.record import Record
    from bench.runner.options import Options

DECIDES = (
    *("defense", "suite", "attacks", "knowledge", "norm", "eps", "examples", "checkpoint", "factory"),
    *("surrogate", "data", "arch", "recipe", "train_eps", "seed", "settings", "normalize", "randomized"),
    *("resize", "crop", "devices"),
)
"""The words that decide a record; all others say where things lie and how it is done."""

MISSED = 3
"""The exit code of a run whose worst case is below --fail-under."""


@options.command()
@options.defense
@options.suite
@options.attack
@options.knowledge
@options.norm
@options.eps
@options.examples
@options.of_others
@options.surrogate
@options.batch_size
@options.compiled
@options.on
@options.workers
@options.track
@options.no_evidence
@options.network
@click.option(
    "--board",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Also rank all records of the store in a CSV and markdown board there.  [default: none]",
)
@click.option(
    "--fail-under",
    metavar="PERCENT",
    help="Exit with code 3 if the worst case, its point estimate, is below that.  [default: no]",
)
@click.option(
    "--junit",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write the columns as JUnit XML there, for forges.  [default: no]",
)
@options.as_json
def run(board: Path | None, fail_under: str | None, junit: Path | None, as_json: bool, **words: Any) -> int:
    """Train a defense (or load its weights), attack it with suites or named attacks, and print the table.

    A run that was killed goes on from where it stopped; one that is complete answers from its record. Each
    suite is a run of its own; of several, the table ends with the worst case over all of them.
    """
    from bench.cli.requests import as_options
    from bench.cli.suites import as_junit, shown, worst_case
    from bench.records.store import write_atomically

    least = None if fail_under is None else _percent(fail_under)
    _require_places(board, junit)
    records = answered(words, as_options(**words))
    missed = None if least is None else _missed(records, least)
    click.echo(shown(records, as_json), nl=False)
    if board is not None:
        _write_board(words["store"], board)
    if junit is not None:
        write_atomically(junit, as_junit(records, missed).encode())
        click.echo(f"junit: {junit}", err=True)
    if missed is not None:
        click.echo(f"bench: {missed}", err=True)
        return MISSED
    whole = all(record.status == "complete" for record in records)
    return 0 if whole and worst_case(records) is not None else 1


def answered(words: Mapping[str, Any], how: Options) -> list[Record]:
    """The record of each suite that all options but those of printing ask for, in their order.

    It is from the store, or computed now. What can be known to be wrong with any is told before the first is
    computed.

    Raises:
        BenchError: a word is wrong, or data, weights or store are not as they must be.
    """
    from bench.cli.suites import require_one_ground
    from bench.data.identity import one_look
    from bench.runner.trackers.guard import tracked

    asked = [_Asked.of({**words, "suite": suite}, how) for suite in words["suite"] or (None,)]
    answers = [one.answer for one in asked if one.answer is not None]
    if len(answers) == len(asked):
        require_one_ground((a.record.suite, a.record.data, a.record.examples) for a in answers)
        with tracked(how.track, how.progress.say) as tracking:
            how = dataclasses.replace(how, tracking=tracking)
            return [_told_again(answer, how) for answer in answers]
    with one_look():
        specs = [planned(one.words) for one in asked]
    require_one_ground((spec.suite.id, spec.training.data, spec.suite.examples) for spec in specs)

    from bench.runner.trainings import engaged, train_ahead

    with engaged(how) as engine:
        train_ahead((spec for one, spec in zip(asked, specs, strict=True) if not one.answer), engine)
        return _each(asked, specs, engine)


def _each(asked: Sequence[_Asked], specs: Sequence[RunSpec], how: Options) -> list[Record]:
    """The record of each suite, one after the other."""
    from bench.cli.suites import came_to

    if len(specs) == 1:
        return [asked[0].computed(specs[0], how)]
    found = []
    for place, (one, spec) in enumerate(zip(asked, specs, strict=True), 1):
        how.progress.say(f"suite {place} of {len(specs)}: {spec.suite.id}")
        found.append(_told_again(one.answer, how) if one.answer else one.computed(spec, how))
        how.progress.say(came_to(found[-1]))
    return found


@dataclass(frozen=True)
class _Asked:
    """One run, in the words of its user."""

    words: Mapping[str, Any]
    question: Question | None  # None: more than words decides the record
    answer: Answer | None  # None: nothing in the store is known to be it

    @classmethod
    def of(cls, words: Mapping[str, Any], how: Options) -> _Asked:
        question = _question(words)
        answer = None if question is None or how.stale == "rerun" else question.answer(how.store)
        return cls(words, question, answer)

    def computed(self, spec: RunSpec, how: Options) -> Record:
        return computed(self.words, spec, how, self.question)


def _question(words: Mapping[str, Any]) -> Question | None:
    """What was asked, as far as it decides the record."""
    from bench.records.asked import Question

    files = any(
        words[name] for name in ("init", "extra", "extra_share", "label", "factory", "classes", "attackable")
    )
    if files or words["checkpoint"] not in ("best", "last"):
        return None  # files of the user's own, whose content decides, or what they are called
    return Question.of({name: words[name] for name in DECIDES})


def _told_again(answer: Answer, how: Options) -> Record:
    """The record that answered the same question before, with what was said then."""
    from bench.records.store import complete
    from bench.runner.trackers.runs import tell_record

    for sentence in (*answer.said, complete(answer.record.run_id)):
        how.progress.say(sentence)
    tell_record(how.tracking, answer.record)
    return answer.record


def planned(words: Mapping[str, Any]) -> RunSpec:
    """What will be done for the words of one run."""
    from bench.cli.requests import as_request

    request = as_request(**words)  # says what is wrong with a name, before torch is loaded

    from bench.plan import plan_run

    return plan_run(request)


def computed(
    words: Mapping[str, Any], spec: RunSpec, how: Options, question: Question | None = None
) -> Record:
    """The record of the planned run, and a note of the question that it answers, if there is one."""
    said = list(_worth_saying(spec, words["surrogate"] is not None))
    for sentence in said:
        how.progress.say(sentence)

    from bench.records.begun import forget_begun, note_begun
    from bench.runner.run import run as compute

    is_new = not how.store.root.exists()
    if how.store.is_writable():
        note_begun(how.store, spec.id, ["run", *typed(words)])
    try:
        record = compute(spec, how)
    except BenchError:
        folder = how.store.run(spec.id).path
        if not folder.exists() or (folder / "record.json").exists():  # nothing is there to go on with
            forget_begun(how.store, spec.id, is_new)
        raise
    if record.status == "complete":
        forget_begun(how.store, spec.id)
    may_keep = record.status == "complete" and how.stale != "accept" and not _is_of_files(spec)
    if question is not None and may_keep and how.store.is_writable():
        question.keep(how.store, record.run_id, said)
    return record


def _is_of_files(spec: RunSpec) -> bool:
    """Whether networks of files are in it: what their names mean may be others tomorrow."""
    waiting = [spec.training, *(other for _, other in spec.others)]
    while waiting:
        training = waiting.pop()
        if training.recipe == LOADED and ":" not in training.named.label.partition("[")[0]:
            return True
        waiting += [parent for _, parent in training.parents]
    return False


def typed(words: Mapping[str, Any]) -> list[str]:
    """The options of a run as they are typed, but those that are as usual or only say how to print."""
    found = []
    for option in run.params:
        value, name = words.get(str(option.name)), max(option.opts, key=len)
        if value in (None, (), False, option.default) or option.name in _PRINTING:
            continue
        each = value if isinstance(value, tuple) else (value,)
        found += [name] if value is True else [part for one in each for part in (name, str(one))]
    return found


_PRINTING = ("board", "fail_under", "junit", "as_json", "rerun", "accept_stale")


def _worth_saying(spec: RunSpec, surrogate: bool) -> Iterator[str]:
    """What a user should know before the run begins."""
    if surrogate:
        owned = dict(spec.others)[Source.SURROGATE]
        yield f"surrogate: {owned.named.label}@{owned.architecture}, training {owned.id}"
    for trial in spec.suite.trials:
        yield from _steps_for_another_eps(trial, spec.budget)


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


def _percent(text: str) -> Fraction:
    """A share in percent."""
    try:
        share = exact(text.strip().removesuffix("%"))
    except ValueError:
        share = Fraction(-1)
    if not 0 <= share <= 100:
        raise BadValue(
            f"--fail-under is {text!r}, expected a percentage from 0 to 100 of robust examples",
            "--fail-under 40",
        )
    return share


def _require_places(board: Path | None, junit: Path | None) -> None:
    """Know now, not after hours, whether results can be written."""
    from bench.records.store import require_writable

    if board is not None:
        require_writable(board, "folder of boards", "--board FOLDER")
    if junit is not None:
        require_writable(junit.absolute().parent, "folder of the report", "--junit FILE")


def _missed(records: Sequence[Record], least: Fraction) -> str | None:
    """That the worst case over all is below what it should be, in a sentence; None: it is not, or unknown."""
    from bench.cli.suites import worst_case
    from bench.core.text import listed
    from bench.report.render import percent

    found = worst_case(records)
    if found is None or 100 * Fraction(found.count, found.n) >= least:
        return None
    ids = [record.run_id for record in records]
    return (
        f"the worst case of {'run' if len(ids) == 1 else 'runs'} {listed(ids)} is {percent(found)} %, "
        f"expected at least {float(least):g} % (--fail-under)"
    )


def _write_board(store: Path, folder: Path) -> None:
    from bench.cli.left_out import left_out
    from bench.publish import read_records, write_board

    for path in write_board(read_records(store, left_out), folder):
        click.echo(f"board: {path}", err=True)
