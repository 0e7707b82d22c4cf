"""`bench audit`: is the evaluation behind a number to be believed?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bench.cli import options
from bench.errors import BadData, BadValue
from bench.records.record import Record


@options.command()
@click.argument("names", nargs=-1, metavar="[RUN_ID|DEFENSE]...")
@click.option("--all", "everything", is_flag=True, help="Audit every run of the store.  [default: no]")
@click.option(
    "--stored", is_flag=True, help="Show audits as they are stored; compute nothing.  [default: compute]"
)
@click.option("--markdown", "as_markdown", is_flag=True, help="Print markdown.  [default: a table]")
@options.as_json
@options.store
@options.data_root
@options.device
@options.batch_size
@click.option(
    "--again", is_flag=True, help="Compute again what an earlier audit stored.  [default: take it from there]"
)
@click.option("--data", metavar="NAME", help="Data of your own, such as npz:PATH.  [default: the run's]")
@options.code
@options.accept_stale
@options.offline
def audit(
    names: tuple[str, ...],
    everything: bool,
    stored: bool,
    as_markdown: bool,
    as_json: bool,
    again: bool,
    data: str | None,
    code: tuple[str, ...],
    store: Path,
    **shared: Any,
) -> int:
    """Apply every rule that reviewers check to runs: their ids, or a defense with all its runs.

    Each rule passes, warns, blocks, or stays open until a command that is named is run. Results are kept in
    the record; an audit that was killed goes on from where it stopped. The exit code is 1 if a rule blocks.
    """
    if not names and not everything:
        raise BadValue("no run was named, expected run ids, a defense, or --all", "bench audit --all")
    if names and everything:
        raise BadValue(f"--all and {names[0]!r} exclude each other, expected one of them")
    if as_markdown and as_json:
        raise BadValue("--markdown and --json exclude each other, expected one of them")
    found = _records(names, store)
    if stored:
        lacking = [record for record in found if not record.audit]
        if lacking:
            raise BadData(
                f"run {lacking[0].run_id} of {lacking[0].defense} was not audited, expected a stored audit",
                f"bench audit {lacking[0].run_id}",
            )
        audited = found
    else:
        from bench.audit.audit import audit as compute
        from bench.cli.requests import as_options

        how = as_options(store=store, rerun=False, **shared)
        audited = []
        for record in found:
            audited.append(compute(record, how, again, data, code))
            if not as_json:
                _print(audited[-1], as_markdown, follows=len(audited) > 1)
    if as_json:
        told = [{"run": r.run_id, "defense": r.defense, "audit": [vars(c) for c in r.audit]} for r in audited]
        click.echo(json.dumps(told, indent=1))
    elif stored:
        for place, record in enumerate(audited):
            _print(record, as_markdown, follows=place > 0)
    return 1 if any(check.verdict == "block" for record in audited for check in record.audit) else 0


def _print(record: Record, as_markdown: bool, follows: bool) -> None:
    from bench.cli.board import width
    from bench.report.audit import audit_table, tally
    from bench.report.render import markdown, terminal

    table = audit_table(record)
    shown = markdown(table) if as_markdown else terminal(table, width())
    click.echo(f"{chr(10) if follows else ''}{shown}\n{tally(record.audit)}")


def _records(names: Sequence[str], store: Path) -> list[Record]:
    """The runs that ids, their beginnings, or defenses name; all, where none is named."""
    from bench.cli.left_out import left_out
    from bench.publish import read_records

    held = read_records(store, left_out)
    if not held:
        raise BadData(
            f"the store {str(store)!r} holds no complete run, expected one to audit",
            f"bench run --defense {names[0] if names else 'pgd_at'} --suite whitebox --store {store}",
        )
    found = {record.run_id: record for name in names for record in _named(name, held, store)}
    return list(found.values()) if names else held


def _named(name: str, held: Sequence[Record], store: Path) -> list[Record]:
    from bench.records.labels import named_so

    path, of_a_file, kind = name.rpartition(".py:")
    if of_a_file:  # its class must be known before weights can be put into it
        from bench.registry import DEFENSES

        DEFENSES.get(name)
        name = f"{Path(path).name}.py:{kind}"
    of_defense = named_so(name, held)
    if of_defense:
        return of_defense
    by_id = [record for record in held if record.run_id.startswith(name)]
    if len(by_id) == 1:
        return by_id
    if by_id:
        ids = ", ".join(record.run_id for record in by_id[:4])
        raise BadValue(f"{name!r} is the beginning of several runs ({ids}), expected one")
    variants = sorted({record.defense for record in held if record.defense.partition("[")[0] == name})
    if variants:
        raise BadData(
            f"no run of {name!r} itself is in {str(store)!r}, expected one of {', '.join(variants)}",
            f"bench audit {variants[0]!r}",
        )
    raise BadData(
        f"{name!r} is no run in {str(store)!r} and no defense with a run there, expected one of these",
        f"bench run --defense {name} --suite whitebox --store {store}, or bench list runs --store {store}",
    )
