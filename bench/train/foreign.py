"""Networks that others trained: where their weights lie, and what a defense made of them must tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from bench.api import Defense
from bench.data.splits import DataRequest
from bench.errors import BadCheckpoint


@dataclass(frozen=True)
class WeightsPlace:
    """Where weights of others lie, beside the data sets, and whether more may be downloaded."""

    root: Path | None = None
    download: bool = True

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders to search, in order."""
        return tuple(root / "models" for root in DataRequest("", self.root).roots)

    @property
    def downloads(self) -> Path:
        """The folder for what is downloaded."""
        return DataRequest("", self.root).downloads / "models"

    def lacking(self, name: str, files: Sequence[Path | str]) -> BadCheckpoint:
        """The error for weights that are in no folder and may not be downloaded."""
        searched = ", ".join(str(folder) for folder in self.folders)
        wanted = " and ".join(str(file) for file in files)
        return BadCheckpoint(
            f"the weights of {name} are not here ({wanted} in none of {searched}) and --offline downloads "
            f"nothing, expected them in one of these folders",
            f"without --offline, or the files in {self.downloads}",
        )


@runtime_checkable
class Foreign(Protocol):
    """A defense of which nothing is trained: it is given the weights of others before its `fit`."""

    @property
    def source(self) -> str:
        """Where the weights come from: a name that the defense is asked for by, or `file`."""

    @property
    def key(self) -> str:
        """The table of weights that is meant in a file of several; empty: the one that fits."""

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules of others whose code makes the network."""

    @property
    def made_by(self) -> str | None:
        """What makes the network, where it is no architecture of ours."""

    def usual_size(self, given: Path | None, place: WeightsPlace) -> tuple[int | None, int | None]:
        """To how many pixels its images are usually resized and then cropped; None: nobody says.

        What lies beside its weights may say it; `given` is the user's own file of them.
        """

    def files(self, data: str, given: Path | None, place: WeightsPlace) -> tuple[Path, ...]:
        """The files of weights for a data set, downloaded if need be; `given` is the user's own.

        Raises BenchError where there are none, or the network cannot be had.
        """

    def described(self, file: Path) -> Defense:
        """The defense that knows what lies beside its weights: what makes the network, and normalises."""

    def holding(self, sha256: str) -> Defense:
        """The defense that knows what its weights are."""

    def unpacked(self, data: str, file: Path, folder: Path) -> Path:
        """A table of all weights of the network, in a file that `load_foreign` reads.

        It is the first of `files` itself, or is made of them in a folder that is dropped afterwards.
        """
