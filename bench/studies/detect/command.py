"""Put detectors before each defense: AUROC, and joint accuracy under attackers who know them (detection@1).

A defense is NAME[field=value], with an architecture behind an @ where it is not --arch; it is trained or
loaded as `bench run` does. Detectors are fitted on clean training images, thresholds are chosen on clean
validation images; of networks of others, on test images that are not judged. Two tasks: adversarial or
clean, wrong or right. Cells are kept: what was stopped goes on.
"""

from __future__ import annotations

import click

from bench.core.counts import Count

OPTIONS = (
    click.option(
        "--detector",
        "detectors",
        multiple=True,
        metavar="NAME",
        help="max_softmax, energy, mahalanobis, knn, lid, gmm_1 or gmm_10, or NAME[field=value]; "
        "repeatable.  [default: all of them]",
    ),
    click.option(
        "--attack",
        "attacks",
        multiple=True,
        metavar="NAME",
        help="Attack that no detector has seen, of `bench list attacks`; repeatable.  "
        "[default: fgsm, pgd_20, cw_100]",
    ),
    click.option(
        "--fpr",
        metavar="SHARE",
        help="Share of clean images that a threshold may refuse of those that it is chosen on.  "
        "[default: 0.05]",
    ),
    click.option(
        "--fit-examples",
        type=Count(1),
        metavar="N",
        help="Clean training images that detectors are fitted on.  [default: 10000]",
    ),
)
