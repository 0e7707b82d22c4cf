"""What every result of a study states before its own figures: networks, data, budget, provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict

from bench.records.kinds import Amount, Count, Id, NormName, Radius, Sha256
from bench.records.record import Interval, Provenance

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Network:
    """One deployed network."""

    __pydantic_config__ = STRICT

    defense: str  # the name, with what was overridden
    paper: str  # what the defense implements
    reconstruction: str | None  # what had to be guessed because no text could be had
    architecture: str
    recipe: str  # with what was overridden, and the radius inside where it is another
    training_id: Id
    sha256: Sha256  # of its weights
    checkpoint: str  # which epoch's
    clean: Interval  # accuracy before any attack, over all n examples


@dataclass(frozen=True, kw_only=True)
class Heading:
    """The same for every study; its own figures follow in a class of its own."""

    __pydantic_config__ = STRICT

    schema: int
    id: Id
    networks: tuple[Network, ...]
    data: str
    data_digest: Id
    norm: NormName
    eps: Radius
    seed: Count
    examples: Count
    seconds: Amount | None  # of all cells; None: made before it was noted
    spec: Mapping[str, Any]
    provenance: Provenance

    @property
    def network(self) -> Network:
        """The first, and of most studies the only one."""
        return self.networks[0]

    @property
    def budget(self) -> str:
        """Norm and radius as papers print them."""
        return f"{self.norm} {self.eps}"

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each network, with its architecture where it is not that of the first."""
        usual = self.network.architecture
        return tuple(
            one.defense if one.architecture == usual else f"{one.defense}@{one.architecture}"
            for one in self.networks
        )

    @property
    def kinds(self) -> tuple[str, ...] | None:
        """The kinds of figures that it can be drawn as; None: all of its study."""
        return None

    def why_not(self, kind: str) -> str | None:
        """Why it cannot be drawn so, where that is known."""
        del kind
        return None
