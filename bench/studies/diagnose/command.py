"""Look inside each defense on clean images and on what PGD-20 makes of them, for `bench plot` to draw.

A defense is NAME[field=value], with an architecture behind an @ where it is not --arch; it is trained or
loaded as `bench run` does. Keeps attention maps, features in the plane, how many features count (N_90),
purified images, the training log, images with answers, and the loss around some of them; what a defense
lacks is left out with the reason.
"""

from __future__ import annotations

import click

from bench.core.counts import Count

OPTIONS = (
    click.option(
        "--embedding",
        type=click.Choice(["pca", "tsne"]),
        default="pca",
        show_default=True,
        metavar="pca|tsne",
        help="How features come to the plane.",
    ),
    click.option(
        "--stage",
        type=Count(-1, 1000),
        default=-1,
        show_default=True,
        metavar="N",
        help="Whose feature map gives the attention, from 0; -1: the last.",
    ),
)
