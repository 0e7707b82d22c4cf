"""`bench verify`: does a stored run keep its word?"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli import options
from bench.errors import BadValue

if TYPE_CHECKING:
    from bench.records.record import Record
    from bench.runner.verify import Proof


@options.command()
@click.argument("run", metavar="RUN_ID|PATH")
@click.option(
    "--cells",
    default="3",
    show_default=True,
    metavar="K|all",
    help="How many cells (a column on a chunk of examples) are computed again, drawn at random.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0, max=1),
    metavar="SHARE",
    help="How near to the boundary, in shares of the spread of its logits, an image is borderline, so that "
    "another machine may judge it otherwise; 0: equal to the last bit.  [default: 0.01 where device, threads "
    "or versions are others than the run's, else 0]",
)
@options.data_of_run
@options.code
@options.data_root
@options.device
@options.batch_size
@options.store
@options.accept_stale
@options.offline
@options.as_json
def verify(
    run: str,
    cells: str,
    tolerance: float | None,
    data: str | None,
    code: tuple[str, ...],
    as_json: bool,
    store: Path,
    **shared: Any,
) -> int:
    """Check a complete run: checksums, what follows from its cells, and some cells computed again.

    Equal means equal to the last bit, which the same machine, thread count and versions give; where something
    differs, the first example is named and what else is not as it was. The exit code is then 1. Elsewhere
    verdicts are compared, and borderline images are named and held against nobody (--tolerance). With
    --accept-stale a run of other code is checked, too: so a change of code is shown to change nothing.

    A published record (leaderboards/records/ID.json) whose weights are published, too, is computed again from
    them: some columns, or with --cells all the whole run.
    """
    from bench.cli.board import records_of
    from bench.cli.requests import as_options
    from bench.runner.verify import verify as proofs

    how = as_options(store=store, rerun=False, **shared)
    found = records_of((run,), store)
    if len(found) != 1:
        ids = ", ".join(f"{record.run_id} under {record.suite}" for record in found[:6])
        raise BadValue(
            f"{run!r} leads to {len(found)} records ({ids}), expected one run",
            f"bench verify {found[0].run_id}",
        )
    boards = _weights_beside(run, found[0], store)
    if boards is None:
        proved = proofs(found[0], how, wanted(cells), data, code, tolerance)
    else:
        from bench.runner.from_weights import verify_from_weights

        proved = verify_from_weights(found[0], how, boards, wanted(cells), data, code)
    seen = [proof if as_json else told(proof) for proof in proved]
    failed = [proof for proof in seen if proof.holds is False]
    if as_json:
        plain = [dataclasses.asdict(proof) for proof in seen]
        click.echo(json.dumps({"run": found[0].run_id, "holds": not failed, "proofs": plain}, indent=1))
    else:
        kept = sum(proof.holds is True for proof in seen)
        though = ", though its code changed since" if not failed and "code" in {p.what for p in seen} else ""
        click.echo(f"run {found[0].run_id}: {kept} of {kept + len(failed)} hold{though}")
    return 1 if failed else 0


def _weights_beside(name: str, record: Record, store: Path) -> Path | None:
    """The boards whose weights stand behind a record, if no store has its cells; None: use the store."""
    from bench.records.gathering import RECORDS
    from bench.records.weights import are_published

    if (store / record.run_id).is_dir() and any((store / record.run_id).glob("cells/*/*.npz")):
        return None
    given = Path(name)
    places = [given.parent.parent] if given.parent.name == RECORDS else [given, store]
    return next((place for place in places if are_published(record, place)), None)


def told(proof: Proof) -> Proof:
    """Print one thing that was proved or not; the thing itself."""
    mark = {True: "ok  ", False: "FAIL", None: "-   "}[proof.holds]
    click.echo(f"{mark} {proof.what}: {proof.detail}")
    return proof


def wanted(text: str) -> int | None:
    """How many cells --cells asks for; None: all.

    Raises:
        BadValue: it is no number above zero and not `all`.
    """
    return None if text == "all" else options.positive(text, "--cells", "all", "3")
