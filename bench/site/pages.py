"""The page that people browse: one folder of files, made from records alone, with no requests outside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from bench.core.strict_json import parsed
from bench.errors import BadValue
from bench.records.origin import for_others
from bench.records.record import Record, to_json
from bench.records.store import require_writable, write_atomically
from bench.report.exchange import Published
from bench.site.compare import rows_to_compare
from bench.site.extras import Extras
from bench.site.views import board_views, record_view

MANIFEST = "site.json"
"""Names every file of a page, so that the next one can take its own away, and nothing else."""

STATIC = ("site.css", "site.js")


def site_files(
    records: Sequence[Record], beside: Extras | None = None, published: Sequence[Published] = ()
) -> dict[str, str]:
    """File name -> content of the whole page; the same records, the same bytes.

    `beside` holds what a store has besides: adversarial images, and curves. `published` are rows of others,
    which stand below the boards of their data and budget.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    beside = beside or Extras()
    environment = Environment(
        loader=PackageLoader("bench.site"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    boards = board_views(records, published)
    home = {found.run_id: found for board in boards for found in board.places}
    made = {
        "index.html": environment.get_template("index.html").render(root="", boards=boards),
        "compare.html": environment.get_template("compare.html").render(root="", boards=boards),
        "rows.js": f"window.BENCH = {_script(rows_to_compare(boards))};\n",
    }
    page = environment.get_template("board.html")
    for board in boards:
        made[f"boards/{board.stem}.html"] = page.render(root="../", board=board, boards=boards)
    page = environment.get_template("record.html")
    for record in sorted(records, key=lambda record: record.run_id):
        view = record_view(record, home.get(record.run_id))
        curves = beside.curves.get(record.training.training_id, []) if record.training else []
        pictures = beside.pictures.get(record.run_id, ())
        made[f"records/{record.run_id}.html"] = page.render(
            root="../", boards=boards, view=view, pictures=pictures, curves=curves
        )
        made[f"records/{record.run_id}.json"] = to_json(for_others(record))
        made |= {f"curves/{curve.id}.svg": curve.svg for curve in curves}
    for name in STATIC:
        made[name] = files("bench.site").joinpath("templates", name).read_text(encoding="utf-8")
    return made


def write_site(made: Mapping[str, str], folder: Path) -> list[Path]:
    """Write a page, each file whole, and take away what an earlier page left there; gives the paths.

    Raises:
        BadValue: the folder cannot be written to, or holds something that is no page of ours.
    """
    require_writable(folder, "folder of the page", "--out FOLDER")
    before = _manifest(folder)
    for name in sorted(before - set(made)):
        (folder / name).unlink(missing_ok=True)
    for name, content in made.items():
        write_atomically(folder / name, content.encode())
    write_atomically(folder / MANIFEST, (json.dumps(sorted(made), indent=1) + "\n").encode())
    return [folder / name for name in made]


def _manifest(folder: Path) -> set[str]:
    """What an earlier page wrote; only names inside the folder."""
    path = folder / MANIFEST
    if path.is_file():
        try:
            names = [Path(name) for name in parsed(path.read_text(encoding="utf-8"))]
        except (ValueError, TypeError):
            raise BadValue(
                f"{path} is damaged, expected the list of an earlier page's files", "--out NEW_FOLDER"
            ) from None
        return {name.as_posix() for name in names if not name.is_absolute() and ".." not in name.parts}
    if folder.is_dir() and any(folder.iterdir()):
        raise BadValue(
            f"{str(folder)!r} is not empty and holds no page of bench (no {MANIFEST}), expected a new or an "
            "empty folder",
            "--out site",
        )
    return set()


def _script(data: object) -> str:
    """JSON that may stand in a script: nothing in it ends the script."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.replace("</", "<\\/")
