"""`bench list`: what there is, one line each; loads no network and no torch."""

from __future__ import annotations

import importlib
import json
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from bench.cli import options
from bench.core.lock import to_install
from bench.errors import BadValue, MissingExtra, unknown

Entry = dict[str, str]

RUNS = "runs"


@options.command("list")
@click.argument("kind", required=False, metavar="[KIND]")
@click.option(
    "--backend",
    metavar="NAME",
    help="Of attacks, every one that a library offers: torchattacks, foolbox, art, advlib or autoattack.  "
    "[default: a line for each library]",
)
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="Of attacks, every one of every library that is installed; of runs, those too that are incomplete, "
    "failed or damaged, each with the command that goes on.  [default: no]",
)
@options.store
@options.as_json
def list_(kind: str | None, backend: str | None, every: bool, store: Path, as_json: bool) -> None:
    """List what there is, one line each.

    KIND is one of defenses, attacks, suites, data, architectures, recipes, runs; without it, everything.
    """
    if backend is not None or (every and kind != RUNS):
        _list_offered(kind, backend, as_json)
        return
    if kind is not None and kind not in _KINDS:
        raise click.BadParameter(
            f"{kind!r} is not listed, expected one of {', '.join(_KINDS)}", param_hint="KIND"
        )
    found = {name: entries(store) for name, entries in _KINDS.items() if kind in (None, name)}
    if every:
        found[RUNS] += _unfinished(store)
    if as_json:
        click.echo(json.dumps(found if kind is None else found[kind], indent=1))
        return
    for place, (name, entries) in enumerate(found.items()):
        if kind is None:
            click.echo(f"{chr(10) if place else ''}{name}:")
        kinds = list(dict.fromkeys(entry.get("kind", name) for entry in entries))
        for held in kinds:  # a store holds more than runs
            if held != name:
                click.echo(f"{'' if held == kinds[0] else chr(10)}{held}:")
            indent = 0 if kind and held == name else 2
            _print([entry for entry in entries if entry.get("kind", name) == held], indent)
        if not entries:
            click.echo(f"{'' if kind else '  '}none{f' in {store}' if name == 'runs' else ''}")


def _list_offered(kind: str | None, backend: str | None, as_json: bool) -> None:
    """Every attack of one library or of all; it loads them."""
    from bench.registry import ATTACKS, BACKENDS

    if kind != "attacks":
        raise BadValue(
            "--backend is of attacks, and --all of attacks and runs, expected one of these kinds",
            "bench list attacks --all",
        )
    if backend is not None and backend not in BACKENDS:
        raise unknown("library of attacks", backend, BACKENDS)
    entries: list[Entry] = [] if backend is not None else _attacks(Path())
    for prefix in BACKENDS if backend is None else (backend,):
        module = importlib.import_module(ATTACKS.location(f"{prefix}:").partition(":")[0])
        try:
            names = [f"{prefix}:{name}" for name in module.offered()]
        except MissingExtra as error:
            if backend is not None:
                raise
            click.echo(f"bench: {error}", err=True)
            continue
        entries += [_offered(name, ATTACKS.get(name)) for name in names]
    if as_json:
        click.echo(json.dumps(entries, indent=1))
    else:
        _print(entries, indent=0)


def _offered(name: str, attack: Any) -> Entry:
    norms = ", ".join(norm.value for norm in attack.norms)
    reason = attack.unfit and attack.unfit.partition(", expected")[0]
    return {
        "name": name,
        "summary": f"{attack.needs}; {norms}" if reason is None else f"refused: {reason}",
        "backend": name.partition(":")[0],
        "needs": attack.needs,
        "norms": norms,
        "unfit": attack.unfit or "",
    }


def _print(entries: list[Entry], indent: int) -> None:
    from rich.console import Console

    console = Console()
    room = max((len(entry["name"]) for entry in entries), default=0)
    for entry in entries:
        left = max(20, console.width - indent - room - 2) if console.is_terminal else None
        text = entry["summary"]
        if left is not None:
            text = textwrap.shorten(text, left, placeholder=" ...")
        click.echo(f"{' ' * indent}{entry['name']:<{room}}  {text}".rstrip())
        if "command" in entry:
            click.echo(f"{' ' * indent}{' ' * room}  {entry['command']}")


def _plug_ins(table: str) -> Callable[[Path], list[Entry]]:
    def entries(store: Path) -> list[Entry]:
        from bench import registry

        found: registry.Registry[object] = getattr(registry, table)
        names = [*found.names(), *found.schemes()]
        return [{"name": name, "summary": found.summary(name)} for name in names]

    return entries


def _suites(store: Path) -> list[Entry]:
    from bench.core.listing import listing
    from bench.registry import SUITES

    return [
        {"name": name, "summary": f"{SUITES.summary(name)}{f' ({played})' if played else ''}"}
        for name, played in ((name, listing(name).command) for name in SUITES.names())
    ]


def _attacks(store: Path) -> list[Entry]:
    from bench.registry import ATTACKS, BACKENDS

    own = [
        _attack(
            name,
            ATTACKS.declared(name, "needs") or "not stated",
            ", ".join(norm.value for norm in ATTACKS.declared(name, "norms") or ()) or "not stated",
            ATTACKS.summary(name),
        )
        for name in ATTACKS.names()
    ]
    for name in ATTACKS.schemes():
        library, norms, extra = BACKENDS[name.partition(":")[0]]
        install = f" ({to_install(extra)})" if extra else ""
        told = {"backend": library, "needs": "as each says", "norms": norms, "extra": extra}
        own.append({"name": name, "summary": ATTACKS.summary(name) + install, **told})
    return own


def _attack(name: str, needs: str, norms: str, summary: str) -> Entry:
    told = {"backend": "bench", "needs": needs, "norms": norms, "extra": ""}
    return {"name": name, "summary": f"{needs}; {norms}: {summary}", **told}


def _data(store: Path) -> list[Entry]:
    from bench.data.catalog import CATALOG

    return [
        {"name": name, "summary": f"{source.title}; {source.budget.label}, {source.architecture}"}
        for name, source in CATALOG.items()
    ]


def _architectures(store: Path) -> list[Entry]:
    from bench.nn.architectures import module_of, names
    from bench.registry import Registry

    table = {name: f"{module_of(name)}:" for name in names()}
    summaries = Registry[object]("architecture", lambda: table)
    return [{"name": name, "summary": summaries.summary(name)} for name in names()]


def _recipes(store: Path) -> list[Entry]:
    from bench.train.recipes import RECIPES

    return [
        {
            "name": f"{data} {name}",
            "summary": f"{found.epochs} epochs, batch {found.batch_size}, {found.optimizer}, "
            f"{found.schedule} from {found.learning_rate:g}, {found.precision}; {found.source}",
        }
        for data, recipes in RECIPES.items()
        for name, found in recipes.items()
    ]


def _runs(store: Path) -> list[Entry]:
    """Runs, and all else that was established there."""
    from bench.cli.left_out import left_out
    from bench.publish import read_records
    from bench.report.render import percent
    from bench.studies.inventory import inventory

    if store.is_file():
        raise BadValue(f"--store is {str(store)!r}, a file, expected a folder of runs", "--store FOLDER")
    runs = [
        {
            "kind": RUNS,
            "name": record.run_id,
            "summary": f"{record.defense} under {record.suite} on {record.data}, {record.budget}, "
            + f"seed {record.seed}{f', {record.trained_at}' if record.trained_at else ''}: "
            + (f"{percent(record.worst_case)} %" if record.worst_case else "no worst case")
            + ("" if record.status == "complete" else f" ({record.status})"),
        }
        for record in (read_records(store, left_out) if store.is_dir() else [])
    ]
    others = [
        {"kind": held.kind, "name": held.id, "summary": held.summary} for held in inventory(store, left_out)
    ]
    return runs + others


def _unfinished(store: Path) -> list[Entry]:
    """Runs without a record that can be read, with the command that goes on."""
    from bench.cli.unfinished import unfinished

    return [
        {"kind": f"{held.kind} runs", "name": held.name, "summary": held.summary, "command": held.command}
        for held in unfinished(store)
    ]


_KINDS: Mapping[str, Callable[[Path], list[Entry]]] = {
    "defenses": _plug_ins("DEFENSES"),
    "attacks": _attacks,
    "suites": _suites,
    "data": _data,
    "architectures": _architectures,
    "recipes": _recipes,
    RUNS: _runs,
}
