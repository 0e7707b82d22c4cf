"""`bench show`: everything about one thing, as far as it can be known without running it."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import json
import tokenize
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from bench.cli import options
from bench.core.threat import format_eps
from bench.errors import BadValue

if TYPE_CHECKING:
    from bench.api import Trial
    from bench.records.record import Record
    from bench.suites.detection import Protocol


@click.group(cls=options.Commands)
def show() -> None:
    """Show everything about one suite, defense, attack, data set, recipe or record."""


@show.command()
@click.argument("name")
@options.as_json
def suite(name: str, as_json: bool) -> None:
    """Show every trial of a suite: what its attacker may see, and every parameter."""
    from bench.core.digest import content_id
    from bench.core.encoding import describe, encode
    from bench.core.threat import Feedback, Source
    from bench.registry import SUITES, suite_named

    found = suite_named(name)
    plain = name if name in SUITES.names() else found.name
    if as_json:
        more = {"protocol": encode(_protocol())} if found.listing.command else {}
        click.echo(json.dumps({**encode(found), **more}, indent=1))
        return
    examples = (
        "the whole test set" if found.examples is None else f"the first {found.examples} of a fixed shuffle"
    )
    click.echo(f"{found.id}: {SUITES.summary(plain)}")
    _pairs(
        {
            "examples": examples,
            "chunk": f"{found.chunk} examples share a random stream",
            "budget": "the data set's customary one, or --norm and --eps; step sizes are shares of eps",
            "digest": content_id(encode(found)),
            **(_detection(found.listing.command) if found.listing.command else {}),
        }
    )
    for trial in found.trials:
        knows = trial.knowledge
        click.echo(f"\n{trial.column}")
        gradients = "none" if knows.gradients is Source.NOTHING else f"of the {knows.gradients.value} network"
        answers = (
            "none"
            if knows.feedback is Feedback.NOTHING
            else f"{knows.feedback.value} of the deployed defense"
        )
        if knows.max_queries is not None:
            answers += f", at most {knows.max_queries:,} for each example"
        _pairs(
            {
                "knowledge": f"{knows.label}{f' ({knows.means})' if knows.means else ''}",
                "gradients": gradients,
                "answers": answers,
                **_goes_on(trial),
                "attack": describe(trial.attack),
            }
        )


@show.command()
@click.argument("text", metavar="NAME")
@click.option(
    "--data", default="", metavar="NAME", help="With its settings for a data set.  [default: for none]"
)
@options.as_json
def defense(text: str, data: str, as_json: bool) -> None:
    """Show a defense: its paper, what had to be guessed, and every parameter.

    NAME may have settings in brackets, such as "awp[base=trades]".
    """
    from bench.plan import name_of, parse_defense
    from bench.registry import DEFENSES

    named = parse_defense(text, {}, data)
    name, found = named.name, cast(Any, named.defense)
    requires = {
        role: parent if isinstance(parent, str) else name_of(parent, data).label
        for role, parent in found.requires.items()
    }
    fields = _fields(found, field_comments(type(found)), data)
    told = {
        "paper": found.paper,
        "reconstruction": found.reconstruction or "no: the method's text or code was at hand",
        **_presets(name),
        "requires": ", ".join(f"{role}: {parent}" for role, parent in requires.items()) or "nothing",
        "defined": DEFENSES.location(name),
        **_traits(text),
    }
    if as_json:
        told["reconstruction"] = found.reconstruction
        shown = {"name": named.label, **told, "requires": requires, "fields": fields}
        click.echo(json.dumps(shown, indent=1))
        return
    click.echo(f"{named.label}: {DEFENSES.summary(name)}")
    _pairs(told)
    about = inspect.getdoc(type(found))
    if about:
        click.echo("\n" + about)
    _print_fields(found, fields, "defense", data)


@show.command()
@click.argument("name")
@options.as_json
def attack(name: str, as_json: bool) -> None:
    """Show an attack: where it comes from, what it needs, and every parameter with its default."""
    from bench.attacks.norms import norms_of
    from bench.attacks.others.signature import column_of
    from bench.registry import ATTACKS

    found: Any = ATTACKS.get(name)
    norms, asked = norms_of(found), found.needs
    told = {
        "backend": name.partition(":")[0] if ATTACKS.scheme(name) else "bench",
        "needs": asked or "not stated",
        "norms": ", ".join(norm.value for norm in norms) or "none of ours",
        "defined": ATTACKS.location(name),
    }
    if found.unfit:
        told["refused"] = f"{name} {found.unfit}"
    fields = _fields(found, _comments_of(found))
    if as_json:
        click.echo(json.dumps({"name": name, **told, "fields": fields}, indent=1))
        return
    scheme = ATTACKS.scheme(name)
    doc = (inspect.getdoc(type(found)) or "").split("\n\n")[0]
    click.echo(f"{name}: {doc if scheme else ATTACKS.summary(name)}")
    _pairs(told)
    _print_fields(found, fields, f"attack.{column_of(name)}")


@show.command("data")
@click.argument("name")
@options.as_json
def data_(name: str, as_json: bool) -> None:
    """Show a data set: shape, classes, customary budget and architecture, where it comes from."""
    from bench.core.encoding import describe, encode
    from bench.data.catalog import HUB, PREFIXES, kind, source
    from bench.data.identity import identity

    found = source(name)
    is_file = kind(name) in PREFIXES and kind(name) != HUB
    content = identity(name) if is_file else None  # says what is wrong with a path
    if as_json:
        click.echo(json.dumps(encode(found), indent=1))
        return
    click.echo(f"{name}: {found.title}")
    told = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    told.pop("name")
    told.pop("title")
    told["budget"] = found.budget.label
    if content:
        told["content"] = content
    told = {key: "as the files say" if value is None else value for key, value in told.items()}
    _pairs({key: value if isinstance(value, str) else describe(value) for key, value in told.items()})


@show.command("recipe")
@click.argument("data")
@click.argument("name", default="short")
@options.as_json
def recipe_(data: str, name: str, as_json: bool) -> None:
    """Show how networks are trained on a data set (NAME is "short" unless given)."""
    from bench.core.encoding import describe, encode
    from bench.train.recipes import recipe

    found = recipe(data, name)
    if as_json:
        click.echo(json.dumps(encode(found), indent=1))
        return
    click.echo(f"{name} on {data} (--set recipe.NAME=VALUE)")
    fields = {field.name: describe(getattr(found, field.name)) for field in dataclasses.fields(found)}
    fields.pop("name")
    _pairs(fields)


@show.command()
@click.argument("run", metavar="RUN_ID|PATH")
@options.store
@click.option(
    "--format",
    "shape",
    type=click.Choice(["table", "markdown", "csv", "latex"]),
    default="table",
    show_default=True,
    help="How the table is printed.",
)
@click.option(
    "--wide", is_flag=True, help="LaTeX over both columns of a page, with costs.  [default: one column]"
)
@click.option(
    "--classes",
    "by_class",
    is_flag=True,
    help="A row for each class instead, and balanced accuracy.  [default: a row for each attack]",
)
@options.as_json
def record(run: str, store: Path, shape: str, wide: bool, by_class: bool, as_json: bool) -> None:
    """Show the table of a run again, from its record."""
    from bench.cli.board import records_of, width
    from bench.records.record import to_json
    from bench.report.audit import audit_table, tally
    from bench.report.class_table import class_latex, class_table
    from bench.report.latex_tables import run_latex
    from bench.report.render import csv, markdown, terminal
    from bench.report.table import run_table

    if by_class and wide:
        raise click.UsageError("--classes has no costs, so --wide changes nothing, expected one of them")
    table = class_table if by_class else run_table
    forms: Mapping[str, Callable[[Record], str]] = {
        "table": lambda found: terminal(table(found), width()),
        "markdown": lambda found: markdown(table(found), f"from record {found.run_id}"),
        "csv": lambda found: csv(table(found)),
        "latex": lambda found: class_latex(found) if by_class else run_latex(found, wide),
    }
    several = records_of((run,), store)
    if len(several) > 1 and (as_json or shape == "csv"):
        raise BadValue(
            f"{run!r} leads to {len(several)} records, expected one for {'JSON' if as_json else 'CSV'}",
            "bench show record RUN_ID",
        )
    for found in several:
        click.echo(to_json(found) if as_json else forms[shape](found), nl=False)
        if found.audit and not as_json and not by_class and shape == "table":
            click.echo(f"\n{terminal(audit_table(found), width())}\n{tally(found.audit)}")


def _presets(name: str) -> dict[str, str]:
    """What it has on data sets for which its authors state other settings."""
    from bench.records.presets import PRESET, presets_of

    told = {}
    for found in presets_of(name):
        fields = ", ".join(f"{key}={value}" for key, value in found.fields.items())
        where = ", ".join((found.data, *found.beside))
        told[f"{PRESET}={found.data}"] = f"on {where}: {fields} ({found.source})"
    return told


def _traits(name: str) -> dict[str, str]:
    """What a defense is made of, and the attacks that it therefore owes."""
    from bench.check import traits_of
    from bench.core.traits import told

    try:
        traits = traits_of(name)
    except Exception as error:  # a defense that cannot be built here: of others' weights, or with a fault
        reason = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
        return {"made_of": f"not known without running it ({reason})"}
    if not traits:
        return {"made_of": "a plain network", "owes": "no adaptive attack"}
    return {
        "made_of": ", ".join(sorted(traits)),
        "owes": f"an attack on each: {told(traits)}",
        "answered_by": f"bench run --defense {name} --suite adaptive",
    }


def field_comments(kind: type) -> dict[str, str]:
    """The comment behind each field of a class, from its source; none where there is no source."""
    try:
        text = inspect.cleandoc("\n" + inspect.getsource(kind))
    except OSError:
        return {}
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    }
    body = next(node.body for node in ast.parse(text).body if isinstance(node, ast.ClassDef))
    return {
        node.target.id: comments[node.end_lineno]
        for node in body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.end_lineno in comments
    }


def _comments_of(attack: Any) -> dict[str, str]:
    """What is known of an attack's fields; steps in pixel units say what they were made for."""
    comments = {**field_comments(type(attack)), **attack.about}
    for name, eps in attack.absolute.items():
        unit = f"pixel units, no share of eps: the library's choice for eps {format_eps(eps)}"
        comments[name] = f"{comments[name]} ({unit})" if name in comments else unit
    return comments


def _fields(found: Any, comments: Mapping[str, str], data: str = "") -> list[dict[str, Any]]:
    from bench.core.encoding import encode
    from bench.plan import labels_of

    return [
        {
            "name": field.name,
            "type": field.type.__name__ if isinstance(field.type, type) else str(field.type),
            "value": labels_of(getattr(found, field.name), data) or encode(getattr(found, field.name)),
            "about": comments.get(field.name, ""),
        }
        for field in dataclasses.fields(found)
    ]


def _print_fields(found: Any, fields: list[dict[str, Any]], part: str, data: str = "") -> None:
    click.echo(f"\nparameters (--set {part}.NAME=VALUE)" if fields else "\nno parameters")
    stated = [f"{field['name']} = {_shown(getattr(found, field['name']), data)}" for field in fields]
    room = max((len(text) for text in stated), default=0)
    for text, field in zip(stated, fields, strict=True):
        click.echo(f"  {text:<{min(room, 44)}}  {field['about'] or field['type']}".rstrip())


def _shown(held: object, data: str) -> str:
    from bench.core.encoding import describe
    from bench.plan import labels_of

    return labels_of(held, data) or describe(held)


def _protocol() -> Protocol:
    from bench.suites.detection import Protocol

    return Protocol()


def _detection(command: str) -> dict[str, str]:
    """What the detection suite does besides attacking, and which figures come of it."""
    from bench.core.encoding import describe

    usual = _protocol()
    refused = f"{100 * float(usual.false_positives):g} %"
    return {
        "command": f"{command} NAME",
        "detectors": "; ".join(f"{name}: {describe(held)}" for name, held in usual.detectors.items()),
        "fitted on": f"{usual.fit_examples:,} clean training images",
        "thresholds": f"refuse {refused} of clean validation images; of a network of others, of test images "
        "that are not judged",
        "computes": "for each detector and attack AUROC, AUPR and FPR at 95 % TPR, adversarial against clean "
        "and wrong against right; joint accuracy, also under the attacker who knows the detector",
    }


def _goes_on(trial: Trial) -> dict[str, str]:
    """What a sequel begins with, and its gate."""
    from bench.evaluate.follow_up import FollowUp, Scout

    if isinstance(trial, Scout):
        rest = ", if the attackers before them left it in doubt" if trial.sweep > 1 else ""
        return {"attacks": f"what the columns before left, independently of those beside it{rest}"}
    if not isinstance(trial, FollowUp):
        return {}
    only = ""
    if trial.gate is not None:
        only = f", if {trial.gate} broke anything or met fewer than {trial.least} examples"
    return {"attacks": f"what the column before it left{only}"}


def _pairs(told: Mapping[str, object]) -> None:
    room = max(len(name) for name in told) + 2
    for name, value in told.items():
        click.echo(f"  {name.replace('_', ' ') + ':':<{room}} {value}")
