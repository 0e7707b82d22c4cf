"""Transfer matrices: images made on each of several networks, shown to all of them."""

from __future__ import annotations

from bench.studies.study import Figure, Study

STUDY = Study(
    name="transfer",
    does="Which images made on one defense fool another?",
    result="matrix",
    former="transfer.json",
    results="transfer matrices",
    folder="transfer",
    writes="transfer.csv, transfer.md, and the heat map as PNG and PDF with its caption",
    example="bench transfer NAME NAME",
    figures={"transfer": Figure("who fools whom, as a heat map", "report:heat_map", together=False)},
)
