"""What `make docs` builds the site from: docs/ with links that lead somewhere, and pages of reference.

`python -m bench.cli.documentation FOLDER` writes it; mkdocs.yml says in which order it is read.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from inspect import Parameter, Signature, getdoc, isfunction, signature
from pathlib import Path
from typing import cast

import click

from bench.core.json_file import read_json

_ORDER = "documents.md"

_MOVED = {"../README.md": "index.md", "README.md": _ORDER}
"""Pages that have another name in the site than in the repository."""


def write_pages(root: Path, out: Path) -> list[Path]:
    """Write the sources of the site into a folder, which is emptied before; gives the pages of reference.

    `root` is a clone of the repository: its README becomes the first page.
    """
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(root / "docs", out)
    (out / "README.md").rename(out / _ORDER)  # mkdocs takes a README for the first page
    (out / "index.md").write_text(_first_page(root), encoding="utf-8")
    for notebook in out.glob("*.ipynb"):
        notebook.with_suffix(".md").write_text(_notebook(notebook), encoding="utf-8")
    for page in out.glob("*.md"):
        page.write_text(_linked(page.read_text(encoding="utf-8"), out), encoding="utf-8")
    made = {out / "reference" / f"{name}.md": text for name, text in reference().items()}
    (out / "reference").mkdir()
    for page, text in made.items():
        page.write_text(text, encoding="utf-8")
    return list(made)


def reference() -> Mapping[str, str]:
    """Name -> the page of reference, made from the code."""
    return {
        "api": _api(),
        "commands": "\n".join(_commands()),
        "suites": "\n".join(_suites()),
        "rules": "\n".join(_rules()),
    }


def _first_page(root: Path) -> str:
    """The README, whose links into docs/ are links between pages."""
    return (root / "README.md").read_text(encoding="utf-8").replace("](docs/", "](").replace('"docs/', '"')


def _notebook(path: Path) -> str:
    """A notebook as a page that leads to it: words as they are, cells of code as blocks."""
    parts = []
    for cell in read_json(path)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    told = f"This page is a notebook: [{path.name}]({path.name})."
    title, *rest = parts
    return "\n\n".join([title, told, *rest]) + "\n"


def _linked(text: str, out: Path) -> str:
    """A page whose links to files that are no pages are plain words, for no site has these files."""

    def kept(match: re.Match[str]) -> str:
        words, target = match[1], match[2].partition("#")[0]
        if target in _MOVED:
            return f"[{words}]({_MOVED[target]})"
        is_outside = re.match(r"[a-z]+:", target) is not None or not target
        return match[0] if is_outside or (out / target).exists() else words

    return re.sub(r"(?<!!)\[([^\]\[]+)\]\(([^)\s]+)\)", kept, text)


def _api() -> str:
    """The functions of `bench`, and for mkdocstrings what plug-ins are made of."""
    import bench

    own = [held for held in vars(bench).values() if isfunction(held) and held.__module__ == "bench"]
    parts = ["# Python\n", "Everything that `import bench` gives; nothing is imported before it is needed.\n"]
    parts += [_function(held) for held in own if not held.__name__.startswith("_")]
    return "\n".join([*parts, "::: bench.api\n", "::: bench.errors\n"])


def _function(held: Callable[..., object]) -> str:
    """A function's own page, from its signature: mkdocstrings would take `bench.evaluate` for the room."""
    found = signature(held)
    fields = "".join(f"    {parameter},\n" for parameter in _parameters(found))
    name, given = held.__name__, found.return_annotation
    return f"## bench.{name}\n\n```python\n{name}(\n{fields}) -> {given}\n```\n\n{getdoc(held)}\n"


def _parameters(found: Signature) -> Iterator[str]:
    """The parameters as they are written, the star before those that have to be named among them."""
    is_named = False
    for parameter in found.parameters.values():
        if parameter.kind is Parameter.KEYWORD_ONLY and not is_named:
            is_named = True
            yield "*"
        given = "" if parameter.default is Parameter.empty else f" = {parameter.default!r}"
        yield f"{parameter.name}: {parameter.annotation}{given}"


def _commands() -> Iterator[str]:
    """Every command with its help, as it prints it."""
    from bench.cli.main import COMMANDS, bench

    context = click.Context(bench, info_name="bench", max_content_width=100, terminal_width=100)
    yield "# Commands\n"
    for name in COMMANDS:
        command = bench.get_command(context, name)
        assert command is not None
        yield from _help(command, name, context)


def _help(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent, max_content_width=100, terminal_width=100)
    yield f"## {context.command_path}\n"
    yield f"```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            yield from _help(cast(click.Command, command.get_command(context, below)), below, context)


def _suites() -> Iterator[str]:
    """Every suite, with what its attackers may see."""
    from bench.core.encoding import describe
    from bench.registry import SUITES, suite_named

    yield "# Suites\n"
    for name in SUITES.names():
        suite = suite_named(name)
        yield f"## {suite.id}\n\n{SUITES.summary(name)}\n"
        yield "| column | knowledge | attack |\n| --- | --- | --- |"
        for trial in suite.trials:
            yield f"| {trial.column} | {trial.knowledge.label} | `{describe(trial.attack)}` |"
        yield ""


def _rules() -> Iterator[str]:
    """Every rule of the audit."""
    from bench.records.rules import RULES

    yield "# Rules of the audit\n\n| rule | what must hold | what is computed | where broken | source |"
    yield "| --- | --- | --- | --- | --- |"
    for rule in RULES.values():
        cells = (rule.id, rule.title, rule.computed, rule.severity, rule.source)
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


if __name__ == "__main__":
    write_pages(Path.cwd(), Path(sys.argv[1]))
