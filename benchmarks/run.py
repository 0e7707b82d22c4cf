"""Measure what the harness costs and print one table of ratios with their bars; never a test."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import re
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from benchmarks.timing import Row

BENCHMARKS = (
    "passes",
    "kernels",
    "attack_step",
    "peers",
    "switches",
    "startup",
    "autoattack",
    "cascade",
    "truth",
    "early_exit",
    "training_step",
    "many_records",
    "defenses",
)
"""Each a module of this package with `measure(Settings) -> list[Row]`."""

USUAL = tuple(name for name in BENCHMARKS if name not in ("many_records", "defenses", "truth"))
"""What is measured unless something is named: all but what takes as long as all the others."""


@click.command()
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(BENCHMARKS),
    help="Measure this; may be repeated.  [default: all but defenses, truth and many_records]",
)
@click.option(
    "--defense",
    "defenses",
    multiple=True,
    help="Count and measure this one; may be repeated.  [default: all]",
)
@click.option(
    "--network",
    "networks",
    multiple=True,
    metavar="DATA:DEFENSE@ARCH|WORDS",
    help="Attack this one by the cascade, or what these words of bench run name; may be repeated.  "
    "[default: one on digits]",
)
@click.option("--recipe", default="short", show_default=True, help="How those are trained.")
@click.option("--examples", type=click.IntRange(min=1), help="Images of each of them.  [default: all]")
@click.option(
    "--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Of the attacks on loaded ones."
)
@click.option("--accept-stale", is_flag=True, help="Use what other code computed in the store.")
@click.option("--store", type=click.Path(path_type=Path), help="Keep those networks and runs there.")
@click.option("--data-root", type=click.Path(path_type=Path), help="Where data sets lie.")
@click.option("--quick", is_flag=True, help="A quarter of each batch: for a first look.")
@click.option(
    "--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Paired measurements."
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads of torch.  [default: torch's]")
@click.option(
    "--bf16/--no-bf16", default=None, help="Measure in bfloat16.  [default: where there is arithmetic for it]"
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--save", type=click.Path(path_type=Path), metavar="FILE", help="Also write JSON there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(
    only: tuple[str, ...],
    defenses: tuple[str, ...],
    networks: tuple[str, ...],
    recipe: str,
    examples: int | None,
    seeds: int,
    accept_stale: bool,
    store: Path | None,
    data_root: Path | None,
    save: Path | None,
    quick: bool,
    rounds: int,
    threads: int | None,
    bf16: bool | None,
    device: str,
    as_json: bool,
) -> None:
    """Print ratios: what the harness takes over what it cannot do without."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: threads that wait shall not spin
    import torch

    from benchmarks.formulas import FORMULAS
    from benchmarks.timing import Settings

    for name in defenses:
        if name not in FORMULAS:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(FORMULAS)}", param_hint="--defense")
    trained = [name for name in networks if not name.startswith("-")]
    if seeds > 1 and (trained or not networks):
        raise click.BadParameter(
            f"{(*trained, 'the usual network')[0]} would be trained anew with each of {seeds} seeds, "
            "expected loaded networks: --network '--defense loaded --checkpoint FILE ...'",
            param_hint="--seeds",
        )
    if threads is not None:
        torch.set_num_threads(threads)
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    settings = Settings(
        device=torch.device(kind),
        batch=32 if quick else 128,
        rounds=rounds,
        bf16=_has_bf16(kind) if bf16 is None else bf16,
        say=partial(_say, "benchmarks"),
        defenses=defenses,
        networks=networks,
        recipe=recipe,
        examples=examples,
        seeds=seeds,
        stale="accept" if accept_stale else "refuse",
        store=store,
        data_root=data_root,
    )
    rows: list[Row] = []
    took: dict[str, int] = {}
    for name in only or USUAL:
        begun = time.perf_counter()
        here = dataclasses.replace(settings, say=partial(_say, name))
        rows += importlib.import_module(f"benchmarks.{name}").measure(here)
        took[name] = round(time.perf_counter() - begun)
    setting = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if kind == "cuda" else _cpu_name(),
        "batch": settings.batch,
        "rounds": rounds,
        "processor_cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "seconds": sum(took.values()),
        "seconds_of": took,
    }
    shown = [{**dataclasses.asdict(row), "held": row.held} for row in rows]
    text = json.dumps({"setting": setting, "rows": shown}, indent=2)
    if save is not None:
        save.parent.mkdir(parents=True, exist_ok=True)
        save.write_text(text + "\n", encoding="utf-8")
    if as_json:
        click.echo(text)
    else:
        click.echo(", ".join(f"{name} {value}" for name, value in setting.items()))
        click.echo(table(rows))


def table(rows: list[Row]) -> str:
    """The rows as aligned text."""
    lines = [("benchmark", "what", "over", "ratio", "min-max", "cpu", "bar", "")]
    for row in rows:
        held = {None: "", True: "holds", False: "missed"}[row.held]
        spread = "" if row.low is None else f"{_figure(row.low)}-{_figure(row.high)}"
        sign = "= " if row.exact else "<= "
        bar = "" if row.bar is None else f"{sign}{row.bar:g}" if row.exact else f"{sign}{row.bar:.2f}"
        value = f"{row.value:g}" if row.exact and row.value is not None else _figure(row.value)
        noisy = "noisy: read cpu" if row.cpu and row.low and row.high and row.high > 1.25 * row.low else ""
        remark = "; ".join(part for part in (held, noisy, row.note) if part)
        lines.append((row.benchmark, row.what, row.over, value, spread, _figure(row.cpu), bar, remark))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown(rows: list[Row]) -> list[str]:
    """The same for a page, without exact counts; of kernels and cascade only what has a bar."""
    told = [row for row in rows if not row.exact]
    lines = []
    for row in told:
        if row.bar is None and row.benchmark in ("kernels", "cascade"):
            continue
        spread = "" if row.low is None else f" ({_figure(row.low)}-{_figure(row.high)})"
        cpu = "" if row.cpu is None else f", {_figure(row.cpu)}"
        bar = "" if row.bar is None else f"<= {row.bar:.2f}: {'holds' if row.held else 'missed'}"
        what = f"`{row.benchmark}` {row.what}, over {row.over}"
        lines.append(f"| {what} | {_figure(row.value) or row.note}{spread}{cpu} | {bar} |")
    return lines


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if 0 < abs(value) < 0.1 else f"{value:.2f}"


def _say(name: str, message: str) -> None:
    click.echo(f"{name}: {message}", err=True)


def _has_bf16(kind: str) -> bool:
    """Whether the device multiplies in bfloat16; elsewhere it is imitated, and slower than float32."""
    import torch

    if kind == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    return re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", _cpu_information()) is not None


def _cpu_name() -> str:
    found = re.search(r"model name\s*:\s*(.+)", _cpu_information())
    return found[1].strip() if found else "cpu"


def _cpu_information() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    main()
