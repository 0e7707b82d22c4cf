"""Show each defense corrupted, turned and moved test images, and print its accuracy.

Eighteen common corruptions at five severities, computed here or in files of others, and 775 poses: the
worst for each image, and random ones. Nobody attacks: no gradient is asked for. A defense is
NAME[field=value], with an architecture behind an @ where it is not --arch. What was computed is kept: what
was stopped goes on.
"""

from __future__ import annotations

from pathlib import Path

import click

OPTIONS = (
    click.option(
        "--only",
        multiple=True,
        metavar="NAME",
        help="A corruption (fog), a group of them (noise, blur, weather, digital), or poses; repeatable.  "
        "[default: all]",
    ),
    click.option(
        "--files",
        type=click.Path(path_type=Path),
        metavar="FOLDER",
        help="Corrupted images that others made, instead of ours: CIFAR-10-C's arrays, CIFAR-10-P's "
        "sequences or ImageNet-C's folders, of the test images of --data.  [default: computed]",
    ),
)
