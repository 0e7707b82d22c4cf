"""docs/fidelity.md: what of each method agrees with its authors' code, and what does not.

`python -m bench.report.fidelity > docs/fidelity.md` writes it from `defenses/fidelity.csv`; nothing of a
defense is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from bench.records.beside import rows

PARTS = ("loss", "gradient", "inner attack", "BatchNorm", "schedule")
"""What is compared of each method, in the order of the columns."""

AGREEMENTS: Mapping[str, str] = {
    "held": "the released code's numbers on fixed tensors are held by a test "
    "(`tests/unit/defenses/test_released.py`), to 2e-4 of each",
    "equal": "the released code was run beside ours on the same tensors: equal to rounding",
    "read": "as in the released code, which was read",
    "paper": "as in the paper's text; no code was at hand",
    "guess": "neither text nor code states it",
    "differs": "known to differ, as told below",
    "none": "there is none",
}
"""What a cell may say, from what is checked most to what is checked least."""

HEAD = """# What agrees with the authors' code

A row for each method, a column for each part of its training. This page is made from `defenses/fidelity.csv`
(`python -m bench.report.fidelity`), and a test holds it to that table. A star has a remark below.

"""

TAIL = """
## What differs everywhere

- Networks are ours: the architectures of the authors' names, on pixels in [0, 1] that are normalised inside
  by the data's mean and deviation. Theirs normalise to [-1, 1] (AGKD-BML, Feature Scattering, Bilateral),
  standardise each image (TLA, Madry et al. on CIFAR-10) or do neither (TRADES, MART, ARD).
- The best epoch is chosen on validation images that are taken from the training set. Where authors choose
  it on test images, their number is the higher for it.
- Random streams are ours: equal means equal for the same draws.

Settings for data sets are those of `defenses/presets.csv`, with their sources
([defenses.md](defenses.md)); schedules are the recipes `paper_NAME` (`bench list recipes`).
"""


def page() -> str:
    """The document."""
    found = rows("fidelity.csv")
    return HEAD + "\n".join([*_legend(), "", *_table(found), "", *_remarks(found)]) + "\n" + TAIL


def _legend() -> list[str]:
    return [f"- **{word}**: {means}." for word, means in AGREEMENTS.items()]


def _table(found: Sequence[Mapping[str, str]]) -> list[str]:
    lines = [f"| method | {' | '.join(PARTS)} |", "| --- " * (len(PARTS) + 1) + "|"]
    for name, parts in _by_defense(found).items():
        cells = [parts[part]["agreement"] + "*" * bool(parts[part]["told"]) for part in PARTS]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return lines


def _remarks(found: Sequence[Mapping[str, str]]) -> list[str]:
    lines = ["## Remarks", ""]
    for name, parts in _by_defense(found).items():
        told = [f"{part}: {parts[part]['told']}" for part in PARTS if parts[part]["told"]]
        sentences = [f"{text[0].upper()}{text[1:].rstrip('.')}." for text in told]
        lines += [f"- `{name}`. {' '.join(sentences)}"] if told else []
    return lines


def _by_defense(found: Sequence[Mapping[str, str]]) -> dict[str, dict[str, Mapping[str, str]]]:
    names = dict.fromkeys(row["defense"] for row in found)
    return {name: {row["part"]: row for row in found if row["defense"] == name} for name in names}


if __name__ == "__main__":
    sys.stdout.write(page())
