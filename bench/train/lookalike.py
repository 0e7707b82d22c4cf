"""Stand-ins for the classes that a pickle names: they keep what is stored, and run nothing of anybody's."""

from __future__ import annotations

import argparse
import collections
import datetime
import pathlib
import re
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

PLAIN = (
    argparse.Namespace,
    collections.defaultdict,
    datetime.date,
    datetime.datetime,
    datetime.timedelta,
    types.SimpleNamespace,
    *(pathlib.PosixPath, pathlib.WindowsPath, pathlib.PurePosixPath, pathlib.PureWindowsPath),
)
"""Classes of the standard library that stand beside weights; any other of it is refused."""

MOST = 1000
"""Of how many different classes a file may be."""

_FOREIGN = re.compile(r"Unsupported global: GLOBAL (\S+) was not")
_TABLE = re.compile(r"Can only SETITEMS? for dict.*<class '([^']+)'>")


class Lookalike:
    """What a file holds of a class that is not at hand, or is not to run."""

    held: object = None

    def __new__(cls, *_: object, **__: object) -> Lookalike:
        """Take whatever the class was made with, and ignore it."""
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        """Keep what the class would have been given."""
        self.held = state

    @property
    def kind(self) -> str:
        """The name of the class that is meant."""
        return f"{type(self).__module__}.{type(self).__qualname__}"

    @property
    def state(self) -> dict[str, Any]:
        """The attributes that are stored, as far as they are a table."""
        return self.held if isinstance(self.held, dict) else {}

    @property
    def is_network(self) -> bool:
        """Whether it is stored as an `nn.Module` is."""
        return {"_parameters", "_buffers", "_modules"} <= {*self.state}


def read_pickle(path: Path) -> object:
    """What a file of `torch.save` holds, by torch's reader that runs no code, with lookalikes in it.

    A class of the standard library that is not PLAIN is left to torch, which refuses it: no file of weights
    has one, and a hostile one does.
    """
    stand_ins: dict[str, type] = {}
    for name in _named_in(path):
        _add(name, stand_ins)
    while True:
        with torch.serialization.safe_globals(
            [*PLAIN, *_of_numpy(), *((kind, n) for n, kind in stand_ins.items())]
        ):
            try:
                return torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:  # whatever a foreign file makes the reader raise
                if len(stand_ins) >= MOST or not _learn(str(error), stand_ins):
                    raise


def _named_in(path: Path) -> list[str]:
    """The classes and functions that a file names and that are not known; of a file of old torch, none."""
    if not zipfile.is_zipfile(path):
        return []
    with torch.serialization.safe_globals([*PLAIN, *_of_numpy()]):
        return torch.serialization.get_unsafe_globals_in_checkpoint(path)


def _learn(told: str, stand_ins: dict[str, type]) -> bool:
    """Whether torch's reader was stopped by a class that can be stood in for otherwise than before."""
    foreign, table = _FOREIGN.search(told), _TABLE.search(told)
    if foreign and foreign[1] not in stand_ins:
        return _add(foreign[1], stand_ins)
    if table and stand_ins.get(table[1], dict) is not collections.OrderedDict:
        stand_ins[table[1]] = collections.OrderedDict  # it is filled as tables are
        return True
    return False


def _add(name: str, stand_ins: dict[str, type]) -> bool:
    if name.partition(".")[0] in sys.stdlib_module_names:
        return False
    stand_ins[name] = _stand_in(name)
    return True


def _stand_in(name: str) -> type:
    module, _, attribute = name.rpartition(".")
    return type(attribute, (Lookalike,), {"__module__": module, "__qualname__": attribute})


def _of_numpy() -> list[Any]:
    """Numbers and arrays of NumPy, by the names that its old and new versions write."""
    scalar, rebuild = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]
    functions: list[Any] = [np.dtype, np.ndarray, scalar, rebuild]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        functions += [(scalar, f"{module}.scalar"), (rebuild, f"{module}._reconstruct")]
    return [*functions, *(getattr(np.dtypes, name) for name in np.dtypes.__all__)]
