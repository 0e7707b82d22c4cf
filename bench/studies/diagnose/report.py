"""Diagnostics as tables, a line for each kind of portrait, and as figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.records.store import write_atomically
from bench.report.paper import Drawing, attack_name, paper
from bench.report.paper import write as write_figure
from bench.report.render import Table, TableColumn, markdown
from bench.studies.diagnose.drawing.charts import contributions, embedding, training
from bench.studies.diagnose.drawing.gallery import gallery
from bench.studies.diagnose.drawing.landscape import landscape
from bench.studies.diagnose.drawing.pictures import attention, purification
from bench.studies.diagnose.record import (
    Attention,
    Contributions,
    Diagnosed,
    Diagnosis,
    Embedding,
    Gallery,
    Landscape,
    Purification,
    TrainingLog,
)

APART: Mapping[str, Callable[[Diagnosed], Drawing]] = {
    "gallery": gallery,
    "attention": attention,
    "purification": purification,
}
"""What draws each diagnosis by itself."""

TOGETHER: Mapping[str, Callable[[Sequence[Diagnosed]], Drawing]] = {
    "landscape": landscape,
    "embedding": embedding,
    "contributions": contributions,
    "training": training,
}
"""What draws all in one figure."""


def tables(found: Sequence[Diagnosis]) -> list[Table]:
    """One of each diagnosis."""
    return [diagnosis_table(one) for one in found]


def write(found: Sequence[Diagnosed], folder: Path) -> list[Path]:
    """The tables, and every figure that there is, as a picture and for print."""
    table = folder / "diagnostics.md"
    write_atomically(table, "\n".join(markdown(diagnosis_table(one.record)) for one in found).encode())
    written = [table]
    with paper():
        for drawing in _drawings(found):
            picture, numbers, caption = write_figure(drawing, folder, "png")
            written += [numbers, picture, write_figure(drawing, folder, "pdf")[0], caption]
    return written


def diagnosis_table(found: Diagnosis) -> Table:
    """A line for each kind of portrait: what it shows in figures, or why there is none."""
    columns = (TableColumn("portrait", "portrait"), TableColumn("what it shows", "shows"))
    network = found.network
    facts = (
        ("defense", network.defense),
        ("paper", network.paper),
        ("data", f"{found.data}, {found.examples} test examples"),
        ("budget", found.budget),
        ("attack", f"{found.attack}, {found.knowledge}"),
        ("architecture", network.architecture),
        ("recipe", network.recipe),
        ("seed", str(found.seed)),
        ("diagnosis", found.id),
    )
    notes = (
        f"draw it: bench plot {found.id} --out FOLDER",
        "A: attention, scaled to [0, 1] for each image; x': what the attack made of x; N_90: how many "
        "features make 90 % of what speaks for the true class",
    )
    return Table(f"a look inside {network.defense}", columns, tuple(_rows(found)), facts, notes)


def _drawings(found: Sequence[Diagnosed]) -> Iterator[Drawing]:
    """Every figure that there is."""
    for kind, each in APART.items():
        yield from (each(one) for one in found if kind in one.record.kinds)
    for kind, together in TOGETHER.items():
        held = [one for one in found if kind in one.record.kinds]
        if held:
            yield together(held)


def _rows(found: Diagnosis) -> Iterator[tuple[str, str]]:
    clean, attacked = 100 * found.network.clean.value, 100 * found.adversarial.value
    yield "accuracy", f"{clean:.1f} % clean, {attacked:.1f} % under {attack_name(found)}"
    for kind, say in _SAID.items():
        part = getattr(found, kind)
        yield kind, f"none: {found.why_not(kind)}" if part is None else say(part)


def _attention(part: Attention) -> str:
    moved = f"|A(x') - A(x)| {part.student_moved:.3f}"
    if part.teacher is None:
        return f"{moved} ({part.without_teacher})"
    return (
        f"{moved}, teacher's {part.teacher_moved:.3f}; |A(x') - teacher's A(x)| {part.apart_adversarial:.3f}"
    )


def _embedding(part: Embedding) -> str:
    near = (part.nearest_mean_clean, part.nearest_mean_adversarial)
    clean, adversarial = ("-" if one is None else f"{100 * one.value:.1f} %" for one in near)
    return (
        f"{clean} clean and {adversarial} adversarial nearest to their class mean, {part.features} features"
    )


def _contributions(part: Contributions) -> str:
    return (
        f"N_90 {part.clean.median:g} clean and {part.adversarial.median:g} adversarial, "
        f"medians of {part.features} features"
    )


def _purification(part: Purification) -> str:
    def ratio(name: str) -> str:
        value = part.pictures[name].psnr
        return "unchanged" if value is None else f"{value:.1f} dB"

    pairs = {"white": "adversarial_white", "gray": "adversarial_gray"}
    told = [
        f"{who}-box {ratio(name)} to {ratio(f'{name}_purified')}"
        for who, name in pairs.items()
        if name in part.pictures
    ]
    return f"PSNR {', '.join(told)}, clean to {ratio('clean_purified')}"


def _training(part: TrainingLog) -> str:
    return f"{len(part.rows)} epochs"


def _gallery(part: Gallery) -> str:
    purified = ", purified" if part.is_purified else ""
    return f"clean, change (at most {part.largest_change:.3g}), adversarial{purified}"


def _landscape(part: Landscape) -> str:
    return f"{part.steps}x{part.steps} losses around an image, up to {part.reach:g} times the attack's step"


_SAID: Mapping[str, Callable[[Any], str]] = {
    "attention": _attention,
    "embedding": _embedding,
    "contributions": _contributions,
    "purification": _purification,
    "training": _training,
    "gallery": _gallery,
    "landscape": _landscape,
}
"""Kind -> its figures in words."""
