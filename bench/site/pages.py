"""The page that people browse: one folder of files, made from records alone, with no requests outside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from bench import __version__
from bench.core.json_file import read_json
from bench.errors import BadValue
from bench.records.files import require_writable, target, write_all, write_atomically
from bench.records.origin import for_others
from bench.records.record import Record, to_json
from bench.report.bibliography import software_bibtex
from bench.report.exchange import Published
from bench.site.board_view import BoardView
from bench.site.boards import board_views
from bench.site.compare import rows_to_compare
from bench.site.extras import Extras
from bench.site.front import card, picture
from bench.site.views import record_view

if TYPE_CHECKING:
    from jinja2 import Environment

MANIFEST = "site.json"
"""Names every file of a page, so that the next one can take its own away, and nothing else."""

STATIC = ("site.css", "site.js")

NAMED = 40
"""How many boards every page names; more are on the first page alone, or pages would grow with boards."""


def site_files(
    records: Sequence[Record], beside: Extras | None = None, published: Sequence[Published] = ()
) -> dict[str, str]:
    """File name -> content of the whole page; the same records, the same bytes.

    `beside` holds what a store has besides: adversarial images, and curves. `published` are rows of others,
    which stand below the boards of their data and budget.
    """
    beside = beside or Extras()
    boards = board_views(records, published)
    templates = _templates(newest=_newest(records))
    made = _front_pages(templates, boards)
    page = templates.get_template("board.html")
    for board in boards:
        made[f"boards/{board.stem}.html"] = page.render(root="../", board=board, boards=_named(boards))
        made |= {f"boards/{board.stem}.{ending}": text for ending, text in board.downloads.items()}
    home = {found.run_id: found for board in boards for found in board.places}
    page = templates.get_template("record.html")
    for record in sorted(records, key=lambda record: record.run_id):
        view = record_view(record, home.get(record.run_id))
        curves = beside.curves.get(record.training.training_id, []) if record.training else []
        pictures = beside.pictures.get(record.run_id, ())
        made[f"records/{record.run_id}.html"] = page.render(
            root="../", boards=[], view=view, pictures=pictures, curves=curves
        )
        made[f"records/{record.run_id}.json"] = to_json(for_others(record))
        made |= {f"curves/{curve.id}.svg": curve.svg for curve in curves}
    for name in STATIC:
        made[name] = files("bench.site").joinpath("templates", name).read_text(encoding="utf-8")
    return made


def _templates(newest: str) -> Environment:
    """The templates, with what the foot of every page says; `newest` is the day of the newest record."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("bench.site"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"newest": newest, "version": __version__}
    return environment


def _front_pages(templates: Environment, boards: Sequence[BoardView]) -> dict[str, str]:
    """What stands at the top of the folder."""
    named, scatter = _named(boards), picture(boards[0]) if boards else None
    return {
        "index.html": templates.get_template("index.html").render(
            root="", boards=named, cards=[card(board) for board in boards], scatter=scatter
        ),
        "compare.html": templates.get_template("compare.html").render(root="", boards=named),
        "about.html": templates.get_template("about.html").render(
            root="", boards=named, bibtex=software_bibtex(__version__)
        ),
        "rows.js": f"window.BENCH = {_script(rows_to_compare(boards))};\n",
    }


def _named(boards: Sequence[BoardView]) -> Sequence[BoardView]:
    """The boards that a page names at its top; so many that nobody reads them are on the first page alone."""
    return boards if len(boards) <= NAMED else ()


def _newest(records: Sequence[Record]) -> str:
    """The day on which the last of these was begun, so that the same records give the same page."""
    return max((record.provenance.started[:10] for record in records), default="")


def write_site(made: Mapping[str, str], folder: Path) -> list[Path]:
    """Write a page, each file whole, and take away what an earlier page left there; gives the paths.

    Raises:
        BadValue: the folder cannot be written to, or holds something that is no page of ours.
    """
    require_writable(folder, "folder of the page", "--out FOLDER")
    before = _manifest(folder)
    _note(folder, before | set(made))  # before any: whoever is killed goes on from here
    for name in sorted(before - set(made)):
        (folder / name).unlink(missing_ok=True)
    write_all({folder / name: content.encode() for name, content in made.items()}, synced=False)
    _note(folder, set(made))
    return [folder / name for name in made]


def _note(folder: Path, names: set[str]) -> None:
    """Write down which files of a folder are a page's."""
    write_atomically(folder / MANIFEST, (json.dumps(sorted(names), indent=1) + "\n").encode())


def _manifest(folder: Path) -> set[str]:
    """What an earlier page wrote; only names inside the folder."""
    path = folder / MANIFEST
    if path.is_file():
        try:
            names = [Path(name) for name in read_json(path)]
        except (OSError, ValueError, TypeError):
            raise BadValue(
                f"{path} is damaged, expected the list of an earlier page's files", "--out NEW_FOLDER"
            ) from None
        return {name.as_posix() for name in names if not name.is_absolute() and ".." not in name.parts}
    if folder.is_dir() and any(target(held.name) != MANIFEST for held in folder.iterdir()):
        raise BadValue(
            f"{str(folder)!r} is not empty and holds no page of bench (no {MANIFEST}), expected a new or an "
            "empty folder",
            "--out site",
        )
    return set()


def _script(data: object) -> str:
    """JSON that may stand in a script: nothing in it ends the script; rows keep the order of their board."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("</", "<\\/")
