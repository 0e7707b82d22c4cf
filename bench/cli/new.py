"""`bench new`: a defense of one's own, from a template that trains and passes every check."""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib.util
import keyword
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import click

from bench.cli.options import Commands
from bench.errors import BadValue

TABLE = "DEFENSES"

LONGEST = 40
"""Letters of a name, at most."""


@click.group(cls=Commands)
def new() -> None:
    """Start a plug-in of your own from a template that works."""


@new.command("defense")
@click.argument("name")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("defenses"),
    show_default=True,
    metavar="FOLDER",
    help="Package of defenses that gets it.",
)
def defense(name: str, folder: Path) -> None:
    """Write a defense called NAME, its row in the table of defenses, and its test.

    Outside a checkout, one file is written, which every command takes as NAME.py:CLASS.
    """
    in_package = (folder / "__init__.py").is_file()
    if in_package:
        written, told = plan_in_package(name, folder), name
    else:
        place = Path() if folder == Path("defenses") else folder
        written, told = plan_alone(name, place), f"{place / name}.py:{class_name(name)}"
    write_all(written)
    for path in written:
        click.echo(f"wrote {path}", err=True)
    click.echo(f"now: bench check {told}; then: bench run --defense {told} --suite smoke", err=True)


def class_name(name: str) -> str:
    """The class of a defense, after its name.

    >>> class_name("my_defense_2")
    'MyDefense2'
    """
    return "".join(part.capitalize() for part in name.split("_"))


def plan_in_package(name: str, folder: Path) -> dict[Path, str]:
    """Path -> content of what makes a defense part of a package: module, test, and last the table's row.

    Raises BadValue for a name that is no module's name or is taken.
    """
    _check_name(name)
    package, test = folder / "__init__.py", folder.parent / "tests" / "plugins" / f"test_{name}.py"
    table = package.read_text(encoding="utf-8")
    with_row = add_row(table, name, f"{folder.name}.{name}:{class_name(name)}", str(package))
    planned = {
        folder / f"{name}.py": _filled("defense", name, folder.name),
        test: _filled("test_defense", name, folder.name),
    }
    _check_free(planned, name)
    return {**planned, package: with_row}


def plan_alone(name: str, folder: Path) -> dict[Path, str]:
    """Path -> content of a defense that is one file, anywhere.

    Raises BadValue for a name that is no module's name or is taken.
    """
    _check_name(name)
    planned = {folder / f"{name}.py": _filled("defense", name, folder.name)}
    _check_free(planned, name)
    return planned


def add_row(source: str, name: str, target: str, origin: str = "the package") -> str:
    """The source of a package with one more row in its table of defenses, in its place by name.

    >>> add_row('DEFENSES = {\\n    "a": "d.a:A",\\n    "c": "d.c:C",\\n}\\n', "b", "d.b:B")
    'DEFENSES = {\\n    "a": "d.a:A",\\n    "b": "d.b:B",\\n    "c": "d.c:C",\\n}\\n'
    """
    before = _table(source, origin)
    rows = ast.literal_eval(before)
    if name in rows:
        raise BadValue(f"a defense named {name!r} is in {origin} already ({rows[name]}), expected a new name")
    lines = source.splitlines(keepends=True)
    row = f'    "{name}": "{target}",\n'
    after = [key for key in before.keys if isinstance(key, ast.Constant) and str(key.value) > name]
    if before.lineno == before.end_lineno or before.end_lineno is None:
        spelt = "".join(f'    "{key}": "{rows[key]}",\n' for key in rows)
        opened = f"{{\n{spelt}}}"
        line = lines[before.lineno - 1]
        lines[before.lineno - 1] = line[: before.col_offset] + opened + line[before.end_col_offset :]
        return add_row("".join(lines), name, target, origin)
    lines.insert((after[0].lineno if after else before.end_lineno) - 1, row)
    return "".join(lines)


def write_all(planned: Mapping[Path, str]) -> None:
    """Write every file or none: after a failure, the tree is as it was."""
    held = {path: path.read_bytes() if path.exists() else None for path in planned}
    created = sorted(
        {parent for path in planned for parent in path.parents if not parent.exists()}, reverse=True
    )
    try:
        for path, text in planned.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except BaseException:
        for path, content in held.items():
            with contextlib.suppress(OSError):
                if content is not None:
                    path.write_bytes(content)
                else:
                    path.unlink(missing_ok=True)
        for parent in created:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise


def _check_name(name: str) -> None:
    plain = len(name) <= LONGEST and re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name)
    if not plain or keyword.iskeyword(name) or name == "losses":
        raise BadValue(
            f"{name[: 2 * LONGEST]!r} cannot be a defense's name, expected lower-case words joined by _, "
            f"such as my_defense, of at most {LONGEST} letters",
            "bench new defense my_defense",
        )
    kind = class_name(name)
    if keyword.iskeyword(kind) or hasattr(builtins, kind) or re.search(rf"\b{kind}\b", _template("defense")):
        raise BadValue(
            f"{name!r} cannot be a defense's name, because its class would be {kind}, which has a meaning "
            "already, expected another",
            f"bench new defense my_{name}",
        )


def _check_free(planned: Mapping[Path, str], name: str) -> None:
    for path in planned:
        if path.exists():
            raise BadValue(f"{path} exists already, expected a name that is not taken", "bench list defenses")
    if importlib.util.find_spec(name) is not None:
        raise BadValue(
            f"{name!r} cannot be a defense's name, because other code imports a module of that name, "
            "expected another",
            f"bench new defense my_{name}",
        )


def _table(source: str, origin: str) -> ast.Dict:
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        named = any(isinstance(target, ast.Name) and target.id == TABLE for target in targets)
        value = getattr(node, "value", None)
        if named and isinstance(value, ast.Dict):
            return value
    raise BadValue(
        f"{origin} has no table {TABLE}, expected {TABLE} = {{...}}", "bench new defense NAME --folder ."
    )


def _template(name: str) -> str:
    return files("bench.cli").joinpath("templates", f"{name}.py.tmpl").read_text(encoding="utf-8")


def _filled(template: str, name: str, package: str) -> str:
    values = {"CLASS": class_name(name), "TITLE": name.replace("_", " "), "PACKAGE": package, "NAME": name}
    return re.sub(r"\b(CLASS|TITLE|PACKAGE|NAME)\b", lambda match: values[match[0]], _template(template))
