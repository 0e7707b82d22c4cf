"""Make adversarial images on each network, show them to all, and print the matrix of robust accuracies.

A network is a defense, NAME[field=value], with an architecture behind an @ where it is not --arch; it is
trained or loaded as `bench run` does. Rows made the images, columns are shown them; the diagonal is
white-box. Images are kept: a matrix that was stopped goes on, and a larger one begins with them.
"""

from __future__ import annotations

import click

OPTIONS = (
    click.option(
        "--attack",
        default="pgd_100",
        show_default=True,
        metavar="NAME",
        help="What makes the images, white-box on their source: pgd_100 (steps of eps/10), or an attack of "
        "`bench list attacks`; --set attack.NAME.steps=50 changes it.",
    ),
)
