"""Every kind of figure: what it shows, what it is drawn of, and what draws it; imports no plotting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.figures.lookup import RUN, STUDIES, ResultSource
from bench.studies.table import studies


@dataclass(frozen=True)
class Drawer:
    """What draws a kind of figure of one kind of result."""

    source: ResultSource
    draw: str  # "module:function"
    together: bool = True  # whether one figure compares several results; else each has its own
    by_example: bool = False  # a run's table of examples is needed, so published records are too little


@dataclass(frozen=True)
class FigureKind:
    """One kind of figure."""

    shows: str  # in one line
    made_by: str  # a command that makes what it is drawn of
    of: tuple[Drawer, ...]  # the first that all names lead to

    def drawn(self, source: ResultSource) -> Drawer | None:
        """What draws it of such results."""
        return next((one for one in self.of if one.source is source), None)


def _of_runs(name: str, function: str, by_example: bool = False) -> tuple[Drawer, ...]:
    return (Drawer(RUN, f"bench.report.{name}:{function}", by_example=by_example),)


OF_RUNS: Mapping[str, FigureKind] = {
    "scatter": FigureKind(
        "clean against robust accuracy, a mark for each training", "bench run", _of_runs("scatter", "scatter")
    ),
    "claims": FigureKind(
        "published against measured robust accuracy", "bench run", _of_runs("claims", "claims")
    ),
    "cost": FigureKind(
        "robust accuracy against the passes that each attack spent", "bench run", _of_runs("cost", "cost")
    ),
    "classes": FigureKind(
        "clean and robust accuracy of each class",
        "bench run",
        _of_runs("classes", "classes", by_example=True),
    ),
    "queries": FigureKind(
        "share still robust after so many queries",
        "bench run --suite blackbox",
        _of_runs("queries", "queries", by_example=True),
    ),
    "distance": FigureKind(
        "share still robust up to each distance",
        "bench run --attack fmn --eps 1",
        _of_runs("distances", "distances", by_example=True),
    ),
}


def _all() -> dict[str, FigureKind]:
    found = dict(OF_RUNS)
    for study in studies():
        for name, figure in study.figures.items():
            draw = f"bench.studies.{study.name}.{figure.draw}"
            drawn = Drawer(STUDIES[study.name], draw, figure.together)
            known = found.get(name, FigureKind(figure.shows, study.example, ()))
            found[name] = FigureKind(known.shows, known.made_by, (*known.of, drawn))
    return found


KINDS: Mapping[str, FigureKind] = _all()
"""By name, those of runs first."""


def kinds_of(source: ResultSource) -> list[str]:
    """The names of all that can be drawn of such results."""
    return [name for name, kind in KINDS.items() if kind.drawn(source) is not None]
