"""`bench diagnose`: look inside a deployed defense, clean and under attack, and keep what papers draw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import click

from bench.cli import options

if TYPE_CHECKING:
    from bench.records.diagnostics import Diagnostics


@click.command()
@options.defense
@options.norm
@options.eps
@options.examples_or(200)
@options.checkpoint
@options.factory
@options.batch_size
@click.option(
    "--embedding",
    type=click.Choice(["pca", "tsne"]),
    default="pca",
    show_default=True,
    metavar="pca|tsne",
    help="How features come to the plane.",
)
@click.option(
    "--stage",
    type=int,
    default=-1,
    show_default=True,
    metavar="N",
    help="Whose feature map gives the attention, from 0; -1: the last.",
)
@options.network
@options.as_json
def diagnose(
    defense: str,
    norm: str | None,
    eps: str | None,
    examples: str | None,
    checkpoint: str,
    factory: str | None,
    batch_size: str,
    embedding: Literal["pca", "tsne"],
    stage: int,
    as_json: bool,
    **shared: Any,
) -> int:
    """Look inside a defense on clean images and on what PGD-20 makes of them, for `bench plot` to draw.

    Trains the defense or loads its weights. Keeps attention maps, features in the plane, how many features
    count (N_90), purified images, the training log, images with answers, and the loss around some of them;
    what a defense lacks is left out with the reason.
    """
    from bench.cli.requests import as_options, as_request
    from bench.records.diagnostics import to_json
    from bench.runner.diagnose import diagnose as look
    from bench.runner.diagnose import folder_of, plan_diagnosis

    how = as_options(batch_size=batch_size, **shared)
    request = as_request(
        defense, norm=norm, eps=eps, examples=examples, checkpoint=checkpoint, factory=factory, **shared
    )
    spec = plan_diagnosis(request, embedding, stage)
    found = look(spec, how)
    if as_json:
        click.echo(to_json(found), nl=False)
        return 0
    click.echo(f"{found.defense} on {found.data}, {found.budget}, {found.examples} examples")
    for name, told in _told(found):
        click.echo(f"  {name:<15}{told}")
    click.echo(f"in {folder_of(spec, how)}; draw it: bench plot {found.id} --out figures")
    return 0


def _told(found: Diagnostics) -> Iterator[tuple[str, str]]:
    """Each kind in a line."""
    clean, attacked = 100 * found.clean.value, 100 * found.adversarial.value
    yield "accuracy", f"{clean:.1f} % clean, {attacked:.1f} % under PGD-20"
    said = {
        "attention": _attention,
        "embedding": _embedding,
        "contributions": _contributions,
        "purification": _purification,
        "training": _training,
        "gallery": _gallery,
        "landscape": _landscape,
    }
    for kind, say in said.items():
        part = getattr(found, kind)
        yield kind, f"none: {found.left_out[kind]}" if part is None else say(part)


def _attention(part: Any) -> str:
    moved = f"|A(x') - A(x)| {part.student_moved:.3f}"
    if part.teacher is None:
        return f"{moved} ({part.without_teacher})"
    return (
        f"{moved}, teacher's {part.teacher_moved:.3f}; |A(x') - teacher's A(x)| {part.apart_adversarial:.3f}"
    )


def _embedding(part: Any) -> str:
    def share(found: Any) -> str:
        return "-" if found is None else f"{100 * found.value:.1f} %"

    return (
        f"{share(part.nearest_mean_clean)} clean and {share(part.nearest_mean_adversarial)} adversarial "
        f"nearest to their class mean, {part.features} features"
    )


def _contributions(part: Any) -> str:
    return (
        f"N_90 {part.clean.median:g} clean and {part.adversarial.median:g} adversarial, "
        f"medians of {part.features} features"
    )


def _purification(part: Any) -> str:
    def ratio(name: str) -> str:
        value = part.pictures[name].psnr
        return "unchanged" if value is None else f"{value:.1f} dB"

    pairs = [
        (name.removeprefix("adversarial_"), name)
        for name in ("adversarial_white", "adversarial_gray")
        if name in part.pictures
    ]
    told = [f"{who}-box {ratio(name)} to {ratio(f'{name}_purified')}" for who, name in pairs]
    return f"PSNR {', '.join(told)}, clean to {ratio('clean_purified')}"


def _training(part: Any) -> str:
    return f"{len(part.rows)} epochs"


def _gallery(part: Any) -> str:
    purified = ", purified" if part.is_purified else ""
    return f"clean, change (at most {part.largest_change:.3g}), adversarial{purified}"


def _landscape(part: Any) -> str:
    return f"{part.steps}x{part.steps} losses around an image, up to {part.reach:g} times the attack's step"
