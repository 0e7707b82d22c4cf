"""One run as a table: a row for each trial, between the clean accuracy and the worst case."""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.traits import owed, told
from bench.records.record import Column, Doubt, Finding, Record, Training
from bench.report.render import Cell, ColumnKind, Table, TableColumn, percent

COLUMNS = (
    TableColumn("run", "run", only_csv=True),
    TableColumn("defense", "defense", only_csv=True),
    TableColumn("suite", "suite", only_csv=True),
    TableColumn("data", "data", only_csv=True),
    TableColumn("norm", "norm", only_csv=True),
    TableColumn("eps", "eps", only_csv=True),
    TableColumn("n", "n", ColumnKind.COUNT, only_csv=True),
    TableColumn("seed", "seed", ColumnKind.COUNT, only_csv=True),
    TableColumn("column", "column"),
    TableColumn("knowledge", "knowledge"),
    TableColumn("robust accuracy %", "robust_accuracy", ColumnKind.INTERVAL),
    TableColumn("goes on from", "after", only_csv=True),
    TableColumn("met", "met", ColumnKind.COUNT, only_csv=True),
    TableColumn("broke", "broke", ColumnKind.COUNT, only_csv=True),
    TableColumn("attack success %", "attack_success_rate", ColumnKind.SHARE),
    TableColumn("forwards", "forwards", ColumnKind.NUMBER, dispensable=2),
    TableColumn("backwards", "backwards", ColumnKind.NUMBER, dispensable=3),
    TableColumn("queries median", "queries_median", ColumnKind.NUMBER, dispensable=1),
    TableColumn("seconds", "seconds", ColumnKind.NUMBER, dispensable=4),
    TableColumn("note", "note"),
)

CLEAN, WORST, BEST_KNOWN = "clean", "worst case", "best known"


def run_table(record: Record) -> Table:
    """The table that a run prints; read from its record alone."""
    return Table(title(record), COLUMNS, tuple(rows(record)), facts(record), tuple(notes(record)))


def title(record: Record) -> str:
    """Whose table it is."""
    return f"{record.defense} under {record.suite}{' (custom)' if record.custom else ''}"


def rows(record: Record, whole: str = "all of them") -> list[tuple[Cell, ...]]:
    """A row for each trial, between clean accuracy and the worst case over `whole`.

    Robust accuracy is over all n examples, attack success and queries over those that a column met: right
    when clean, and left by the columns that it goes on from. Forwards and backwards are means over all n.
    """
    name: tuple[Cell, ...] = (
        record.run_id,
        record.defense,
        record.suite,
        record.data,
        record.norm,
        record.eps,
        record.examples,
        record.seed,
    )
    blank: tuple[Cell, ...] = (None,) * 8
    found: list[tuple[Cell, ...]] = [(*name, CLEAN, "none", record.clean, *blank, None)]
    for trial in record.columns:
        found.append(
            (
                *name,
                trial.name,
                trial.knowledge,
                trial.robust,
                trial.after,
                trial.met,
                trial.broke,
                trial.attack_success_rate,
                trial.forwards,
                trial.backwards,
                trial.queries_median,
                trial.seconds,
                note(trial),
            )
        )
    left_out = [trial.name for trial in record.columns if trial.robust is None]
    found.append(
        (
            *name,
            WORST,
            whole,
            record.worst_case,
            *blank,
            f"without {', '.join(left_out)}" if left_out else None,
        )
    )
    if record.imported:
        known = f"with {', '.join(found.file for found in record.imported)}"
        found.append((*name, BEST_KNOWN, known, record.best_known, *blank, None))
    return found


def note(trial: Column) -> str | None:
    """What happened to a trial besides its numbers.

    >>> nothing = [None] * 6
    >>> note(Column("a", "FGSM()", "white-box", "white-box", *nothing, 0.0, moved=2))
    '2 moved'
    """
    said = [f"met {trial.met}, broke {trial.broke}"] if trial.after is not None else []
    if trial.error is not None:
        said.append(f"failed: {trial.error}")
    if trial.skipped is not None:
        said.append(f"skipped: {trial.skipped}")
    for count, what in ((trial.moved, "moved"), (trial.lost, "lost"), (trial.invalid, "invalid")):
        if count:
            said.append(f"{count} {what}")
    return "; ".join(said) or None


def untrained(trained: Training | None) -> str | None:
    """That nothing was trained, or nothing but the networks that the defense is made of; None: it was."""
    if trained is not None and trained.epochs:
        return None
    parts = ", ".join(sorted(trained.parents)) if trained is not None else ""
    return f"nothing was trained beyond its parts ({parts})" if parts else "nothing was trained"


def adaptive_notes(record: Record, others: Sequence[Column] = ()) -> list[str]:
    """What a randomized defense was asked, and which attacks it is owed, by these others' columns, too."""
    found = []
    if record.draws > 1:
        found.append(
            f"randomized: a verdict is the class that most of {record.draws} answers name, "
            f"a gradient the mean of {record.eot_samples} passes"
        )
    lacking = owed(
        record.traits, {trait for column in (*record.columns, *others) for trait in column.answers}
    )
    if lacking:
        found.append(f"owes an adaptive attack: no column here answers {told(lacking)} (--suite adaptive)")
    return found


def doubt_note(doubt: Doubt) -> str:
    """By how much the worst case may be too kind, and why.

    >>> doubt_note(Doubt(attackers=3, met=500, broke=4, alone=2, at_most=0.0021))[:49]
    'may be up to 0.2 points too kind: of 500 examples'
    """
    return (
        f"may be up to {100 * doubt.at_most:.1f} points too kind: of {doubt.met} examples {doubt.broke} fell "
        f"to the last {doubt.attackers} attackers, {doubt.alone} to only one of them, so the same attackers "
        "again would break no more than that, with 95 % confidence"
    )


def facts(record: Record) -> tuple[tuple[str, str], ...]:
    """What a reader must know before the table; the last is the run."""
    trained = record.training
    weights = untrained(trained) or record.recipe
    if trained:
        epoch = f"{trained.checkpoint} epoch {trained.epoch} of {trained.epochs}"
        weights = f"{record.recipe}, {untrained(trained) or epoch}"
    found = [
        ("defense", record.defense),
        ("data", f"{record.data}, {record.examples} examples"),
        ("budget", record.budget),
        ("architecture", record.architecture),
        ("recipe", weights),
        ("seed", str(record.seed)),
        ("run", record.run_id if record.status == "complete" else f"{record.run_id} (failed)"),
    ]
    if record.paper:
        found.insert(1, ("paper", record.paper))
    return tuple(found)


def notes(record: Record, others: Sequence[Column] = ()) -> list[str]:
    """What a reader must know after the table; `others`: the columns of other suites beside it."""
    found = [told_of(finding) for finding in record.findings]
    if (kept := record.evidence) is not None:
        found.append(
            f"evidence: {kept.images} adversarial images; from their file {percent(kept.again)} %, "
            f"rounded to 8 bits {percent(kept.rounded)} % ({kept.left} leave the budget by it)"
        )
    of_others = ("network: ", "weights: ", "attack: ")
    found += [note if note.startswith(of_others) else f"numerics: {note}" for note in record.provenance.notes]
    if record.reconstruction:
        found.append(f"a reconstruction: {record.reconstruction}")
    found += adaptive_notes(record, others)
    if any(trial.after is not None for trial in record.columns):
        found.append(
            "met, broke: such a column goes on from the one before it; its robust accuracy is that of both, "
            "its success and queries are over the examples that it met"
        )
    if record.doubt is not None:
        found.append(doubt_note(record.doubt))
    if record.custom:
        found.append(f"custom: {record.why_custom}, so this run is on no published board")
    if any(trial.moved for trial in record.columns):
        found.append("moved: candidates outside the budget or the box, which the referee projected")
    if any(trial.lost for trial in record.columns):
        found.append("lost: successes that the attack had on the way and did not return; they count")
    if any(trial.invalid for trial in record.columns):
        found.append("invalid: candidates that were not numbers, replaced by the clean image")
    return found


def told_of(found: Finding) -> str:
    """A finding in one line."""
    return f"{found.severity}: {found.code}: {found.detail}"
