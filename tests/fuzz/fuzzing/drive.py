"""Many inputs, one after the other: how many were read, refused, and borne badly."""

from __future__ import annotations

import signal
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from fuzzing.readers import Reader, quiet

PATIENCE = 20
"""Seconds after which an input counts as waiting for ever."""


class Waits(BaseException):
    """A reader that does not come back."""


@dataclass
class Count:
    """What became of the inputs of one reader."""

    inputs: int = 0
    refused: int = 0
    seconds: float = 0.0
    faults: dict[str, tuple[int, str]] = field(default_factory=dict)  # place -> seed, traceback


def drive(reader: Reader, seeds: range, folder: Path, until: float) -> Count:
    """Inputs by seed, as far as there is time; the folder holds the last one, should the process die."""
    count, begun = Count(), time.monotonic()
    signal.signal(signal.SIGALRM, _stop)
    for seed in seeds:
        if time.monotonic() > until:
            break
        count.inputs += 1
        try:
            signal.alarm(PATIENCE)
            with quiet():
                sentence = reader.bears(reader.input(Random(seed)), folder)
            count.refused += sentence is not None
        except (Exception, Waits, SystemExit) as error:
            count.faults.setdefault(place_of(error), (seed, traceback.format_exc()))
        finally:
            signal.alarm(0)
    count.seconds = time.monotonic() - begun
    return count


def place_of(error: BaseException) -> str:
    """The kind of an error and the last line of ours that it passed through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/bench/" in f.filename]
    last = frames[-1] if frames else traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {last.filename.rpartition('/bench/')[2]}:{last.lineno}"


def _stop(*_: object) -> None:
    raise Waits("it waits")
