"""`bench detect`: how well detectors find attacks and mistakes, and what remains when attackers know them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli import options

if TYPE_CHECKING:
    from bench.records.detection import Detection


@click.command()
@options.defense
@click.option(
    "--detector",
    "detectors",
    multiple=True,
    metavar="NAME",
    help="max_softmax, energy, mahalanobis, knn, lid, gmm_1 or gmm_10, or NAME[field=value]; repeatable.  "
    "[default: all of them]",
)
@click.option(
    "--attack",
    "attacks",
    multiple=True,
    metavar="NAME",
    help="Attack that no detector has seen, of `bench list attacks`; repeatable.  "
    "[default: fgsm, pgd_20, cw_100]",
)
@click.option(
    "--fpr",
    metavar="SHARE",
    help="Share of clean images that a threshold may refuse of those that it is chosen on.  [default: 0.05]",
)
@click.option(
    "--fit-examples",
    type=click.IntRange(min=1),
    metavar="N",
    help="Clean training images that detectors are fitted on.  [default: 10000]",
)
@options.norm
@options.eps
@options.examples_or(1000)
@options.checkpoint
@options.factory
@options.batch_size
@options.network
@options.also_out("the tables as CSV and markdown, and the ROC curves")
@options.as_json
def detect(
    defense: str,
    detectors: tuple[str, ...],
    attacks: tuple[str, ...],
    fpr: str | None,
    fit_examples: int | None,
    norm: str | None,
    eps: str | None,
    examples: str | None,
    checkpoint: str,
    factory: str | None,
    batch_size: str,
    out: Path | None,
    as_json: bool,
    **shared: Any,
) -> int:
    """Put detectors before a defense: AUROC, and joint accuracy under attackers who know them (detection@1).

    Trains the defense or loads its weights. Detectors are fitted on clean training images, thresholds are
    chosen on clean validation images; of networks of others, on test images that are not judged. Two tasks:
    adversarial or clean, wrong or right. Parts are kept: what was stopped goes on.
    """
    from bench.cli.board import width
    from bench.cli.requests import as_options, as_request
    from bench.records.detection import to_json
    from bench.records.store import require_writable
    from bench.report.detection import guard_table, separation_table
    from bench.report.render import terminal
    from bench.runner.detect import detect as compute
    from bench.runner.detect import folder_of
    from bench.runner.detect_spec import DetectSpec, plan_attacks, plan_protocol

    how = as_options(batch_size=batch_size, **shared)
    request = as_request(
        defense, norm=norm, eps=eps, examples=examples, checkpoint=checkpoint, factory=factory, **shared
    )
    protocol = plan_protocol(detectors, fpr, fit_examples)
    spec = DetectSpec(plan_attacks(request, attacks), protocol)
    if out is not None:  # known now, not after hours
        require_writable(out, "folder of the tables", "--out FOLDER")
    found = compute(spec, how)
    if as_json:
        click.echo(to_json(found), nl=False)
    else:
        click.echo(terminal(separation_table(found), width()))
        click.echo(terminal(guard_table(found), width()), nl=False)
    for path in _written(found, folder_of(spec, how), out) if out is not None else ():
        click.echo(f"wrote {path}", err=True)
    return 0


def _written(found: Detection, folder: Path, out: Path) -> list[Path]:
    """Both tables to read and to load, and the curves as a picture and for print."""
    from bench.records.detection import read_scores
    from bench.records.store import write_atomically
    from bench.report.detection import guard_table, roc_curves, separation_table
    from bench.report.paper import paper, write
    from bench.report.render import csv, markdown

    separated, guarded = separation_table(found), guard_table(found)
    files = {
        "detection.md": f"{markdown(separated)}\n{markdown(guarded)}",
        "detection.csv": csv(separated),
        "joint_accuracy.csv": csv(guarded),
    }
    for name, text in files.items():
        write_atomically(out / name, text.encode())
    with paper():
        drawing = roc_curves(found, read_scores(folder, found))
        picture, numbers, caption = write(drawing, out, "png")
        printed = write(drawing, out, "pdf")[0]
        return [*(out / name for name in files), numbers, picture, printed, caption]
