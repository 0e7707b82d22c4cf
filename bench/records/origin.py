"""Where files of the user's own lay when a network came into a store, so that nobody types it again.

It is a hint: weights are known by their content, data and code by theirs, so a wrong path is a sentence. Code
that it names is run, so it counts only on the account that wrote it: a store of somebody else names nothing.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import re
import secrets
import shlex
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.core.digest import canonical
from bench.core.json_file import read_json
from bench.records.record import Record
from bench.records.store import write_atomically

FILE = "origin.json"
"""The file beside the weights that holds it; no record and no board has it."""


@dataclass(frozen=True)
class Origin:
    """Where the files behind a network lay; None, and empty: it had none of the user's own."""

    data: str | None = None  # as --data takes it: npz:PATH or folder:PATH
    checkpoint: str | None = None
    extra: str | None = None  # as --extra takes it
    code: tuple[str, ...] = ()  # each the path of a Python file, or the name of a module in a package

    def factory(self, target: str) -> str:
        """`module:callable` as --factory takes it wherever it is typed.

        >>> Origin(code=("nets/net.py",)).factory("net:Net"), Origin().factory("net:Net")
        ('nets/net.py:Net', 'net:Net')
        """
        module, _, attribute = target.rpartition(":")
        return f"{next((place for place in self.code if module_of(place) == module), module)}:{attribute}"


def module_of(place: str) -> str:
    """What the module at a path, or of a name, is called.

    >>> module_of("nets/net.py"), module_of("mine.networks")
    ('net', 'mine.networks')
    """
    return Path(place).stem if place.endswith(".py") else place


def for_others(record: Record) -> Record:
    """The record, whose audit names commands without the folders that files have on this machine."""
    shown = {c.rule: None if c.command is None else without_folders(c.command) for c in record.audit}
    return replace(record, audit=tuple(replace(check, command=shown[check.rule]) for check in record.audit))


def without_folders(command: str) -> str:
    """A command without the folders of its files, for others to read.

    >>> here = Path("nets").absolute()
    >>> without_folders(f"bench run --factory {here}/net.py:Net --data npz:{here}/d.npz --eps 8/255")
    'bench run --factory net.py:Net --data npz:d.npz --eps 8/255'
    """
    words = shlex.split(command)
    shown = [re.sub(r"^(\w+:)?/.*/", r"\1", word) for word in words]
    return command if shown == words else shlex.join(shown)


def origin_of(folder: Path) -> Origin:
    """What was noted beside the weights in a folder; nothing, where it is damaged or of another account."""
    try:
        held = read_json(folder / FILE)
        found = Origin(held["data"], held["checkpoint"], held.get("extra"), tuple(held["code"]))
        is_ours = hmac.compare_digest(str(held["signature"]), _signature(found, folder.name))
    except (OSError, ValueError, KeyError, TypeError):
        return Origin()
    return found if is_ours else Origin()


def note_origin(folder: Path, origin: Origin) -> None:
    """Note it beside the weights; what it does not say and was known before stays as it was."""
    known = origin_of(folder)
    given = {name: value for name, value in vars(origin).items() if value}
    whole = replace(known, **given)
    if whole == known:
        return
    with contextlib.suppress(OSError):  # an account without a folder of its own has no hints
        note = {**asdict(whole), "signature": _signature(whole, folder.name)}
        write_atomically(folder / FILE, json.dumps(note, indent=1).encode())


def _signature(origin: Origin, name: str) -> str:
    held = asdict(origin)
    if origin.extra is None:  # notes of before have no such entry
        del held["extra"]
    return hmac.digest(_key(), canonical([name, held]).encode(), "sha256").hex()


def _key() -> bytes:
    """A random number that this account alone knows, made when it is first asked for."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    path = state / "bench" / "origin.key"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(FileExistsError):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(32))
    return path.read_bytes()
