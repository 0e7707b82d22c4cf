"""Show each defense corrupted, turned and moved test images, and print its accuracy.

Eighteen common corruptions at five severities, computed here, and 775 poses: the worst for each image,
and random ones. Nobody attacks: no gradient is asked for. A defense is NAME[field=value], with an
architecture behind an @ where it is not --arch. What was computed is kept: what was stopped goes on.
"""

from __future__ import annotations

import click

OPTIONS = (
    click.option(
        "--only",
        multiple=True,
        metavar="NAME",
        help="A corruption (fog), a group of them (noise, blur, weather, digital), or poses; repeatable.  "
        "[default: all]",
    ),
)
