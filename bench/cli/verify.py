"""`bench verify`: does a stored run keep its word?"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from bench.cli import options
from bench.errors import BadValue


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
    told = []
    for proof in proofs(found[0], how, _count(cells), data, code, tolerance):
        told.append(proof)
        if not as_json:
            mark = {True: "ok  ", False: "FAIL", None: "-   "}[proof.holds]
            click.echo(f"{mark} {proof.what}: {proof.detail}")
    failed = [proof for proof in told if proof.holds is False]
    if as_json:
        plain = [dataclasses.asdict(proof) for proof in told]
        click.echo(json.dumps({"run": found[0].run_id, "holds": not failed, "proofs": plain}, indent=1))
    else:
        kept = sum(proof.holds is True for proof in told)
        though = ", though its code changed since" if not failed and "code" in {p.what for p in told} else ""
        click.echo(f"run {found[0].run_id}: {kept} of {kept + len(failed)} hold{though}")
    return 1 if failed else 0


def _count(text: str) -> int | None:
    return None if text == "all" else options.positive(text, "--cells", "all", "3")
