"""Bracket the robust accuracy of each defense: proven from below, attacked from above, example by example.

A defense that votes on noisy images (gaussian, or any network with --sigma) is certified by randomized
smoothing, under L2; every other by bounds that are propagated through its network. Whoever is certified and
broken all the same is told as a fault of the certificate or of the judge. A defense is NAME[field=value],
with an architecture behind an @ where it is not --arch. What was computed is kept: what was stopped goes on.
"""

from __future__ import annotations

import click

from bench.core.counts import Count
from bench.core.listing import DEFAULT

OPTIONS = (
    click.option(
        "--method",
        type=click.Choice(["smoothing", "bounds"]),
        help="How robustness is proven.  [default: smoothing for what votes on noisy images, else bounds]",
    ),
    click.option(
        "--bounds",
        type=click.Choice(["crown", "ibp"]),
        help="Linear relaxations and intervals, whichever is tighter, or intervals alone, which cost two "
        "passes.  [default: crown]",
    ),
    click.option(
        "--at",
        metavar="R,R,...",
        help="Radii beside that of --eps.  [default: 1/4, 1/2, 3/4, 3/2 and 2 of it]",
    ),
    click.option(
        "--suite",
        metavar="NAME",
        help=f"Suite that attacks from above.  [default: {DEFAULT}; of votes climbs@1, APGD and PGD]",
    ),
    click.option(
        "--attack",
        "attacks",
        multiple=True,
        metavar="NAME",
        help="Attack, in the place of a suite, of `bench list attacks`; repeatable.  [default: none]",
    ),
    click.option(
        "--sigma",
        metavar="S",
        help="Smooth a network that does not vote: noise of this standard deviation, in pixel units.  "
        "[default: the defense's own]",
    ),
    click.option(
        "--samples",
        type=Count(1, 10_000_000),
        metavar="N",
        help="Noisy copies of each image that smoothing counts.  [default: 10000]",
    ),
    click.option(
        "--alpha",
        metavar="SHARE",
        help="Chance that smoothing errs on an image.  [default: 0.001]",
    ),
)
