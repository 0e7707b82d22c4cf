"""Measure each defense at growing radii, steps, restarts or queries, and print robust accuracy at each.

A defense is NAME[field=value], with an architecture behind an @ where it is not --arch; it is trained or
loaded as `bench run` does. Points are kept: a curve that was stopped goes on. An accuracy that rises with
the radius, or that is left where any image is allowed, is a sign that the attack fails, and is told.
"""

from __future__ import annotations

import click

OPTIONS = (
    click.option(
        "--over",
        "axis",
        required=True,
        type=click.Choice(["eps", "steps", "restarts", "queries"]),
        help="What grows: the radius, until at most 1 % are left or any image is allowed; the steps; the "
        "restarts, each on what is left; the queries of Square.",
    ),
    click.option(
        "--at",
        metavar="V,V,...",
        help="Radii or steps to measure, or the number of restarts.  [default: multiples of the run's "
        "radius; 1,2,5,...,200 steps; 10 restarts]",
    ),
    click.option(
        "--attack",
        metavar="NAME",
        help="Attack, by `bench list attacks`; --set attack.NAME.loss=margin changes it.  [default: over eps "
        "APGD on cross-entropy, PGD on the margin and on the defense's own loss, 40 steps each; over steps "
        "APGD; over restarts PGD-50; over queries Square]",
    ),
)
