"""The papers of defenses as people cite them: in a few words, and as BibTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from bench.records.beside import rows
from bench.records.claims import link
from bench.records.record import Record
from bench.report.latex import escape


@dataclass(frozen=True)
class CitedPaper:
    """One paper of `defenses/bibliography.csv`."""

    link: str
    key: str  # as \\cite takes it
    authors: tuple[str, ...]  # given names first
    title: str
    venue: str  # the short name of a conference or journal; arXiv: nothing else is known
    year: str

    @property
    def who(self) -> str:
        """Its authors in a few words.

        >>> paper_of("trades").who, paper_of("bilateral").who
        ('Zhang et al.', 'Wang & Zhang')
        """
        last = [_surname(author) for author in self.authors]
        return " & ".join(last) if len(last) < 3 else f"{last[0]} et al."

    @property
    def where(self) -> str:
        """Venue and year."""
        return f"{self.venue} {self.year}"

    @property
    def bibtex(self) -> str:
        """The whole entry, with a newline at its end."""
        preprint = re.fullmatch(r"https://arxiv\.org/abs/(\S+)", self.link)
        is_talk = self.venue not in ("arXiv", *_JOURNALS)
        kind = "inproceedings" if is_talk else "article"
        fields = {
            "title": f"{{{escape(self.title)}}}",
            "author": " and ".join(map(escape, self.authors)),
            "booktitle" if is_talk else "journal": escape(self.venue),
            "year": self.year,
            **({"eprint": preprint[1], "archiveprefix": "arXiv"} if preprint else {}),
            "url": self.link,
        }
        return _entry(kind, self.key, fields)


_JOURNALS = ("Applied Sciences",)


def paper_of(defense: str) -> CitedPaper | None:
    """The paper of a defense, by its name with or without overridden fields; None: nobody noted it.

    >>> paper_of("trades[beta=3]").where, paper_of("no_such_defense")
    ('ICML 2019', None)
    """
    return _papers().get(link(defense) or "")


def cited(defense: str, told: str) -> tuple[str, str] | None:
    """The key and the entry of a defense's paper; `told`: how its records name it, where nobody noted it.

    >>> cited("trades[beta=3]", "")[0], cited("mine[a=1]", "Me, 2030")[0], cited("standard", "- (no paper)")
    ('zhang2019trades', 'mine', None)
    """
    paper = paper_of(defense)
    if paper is not None:
        return paper.key, paper.bibtex
    if not told or told.endswith("(no paper)"):
        return None
    key = re.sub(r"[^A-Za-z0-9]+", "-", defense.partition("[")[0]).strip("-") or "defense"
    note = "as the record says it; authors and place of publication are not known here"
    return key, _entry("misc", key, {"title": f"{{{escape(told)}}}", "note": note})


def bibtex_of(records: Sequence[Record]) -> str:
    """One entry for each paper behind these records, by key; one that nobody noted as records say it."""
    return bibliography((record.defense, record.paper) for record in records)


def bibliography(papers: Iterable[tuple[str, str]]) -> str:
    """One entry for each paper, by key; of each the defense, and how records name the paper."""
    found = dict(entry for defense, told in papers if (entry := cited(defense, told)) is not None)
    return "\n".join(found[key] for key in sorted(found))


def software_bibtex(version: str) -> str:
    """The entry of this benchmark."""
    fields = {
        "title": "{bench: an adversarial-robustness benchmark for image classifiers}",
        "author": "{the bench authors}",
        "version": version,
        "license": "MIT",
    }
    return _entry("software", "bench", fields)


@cache
def _papers() -> dict[str, CitedPaper]:
    """Link -> the paper that it leads to."""
    return {
        row["link"]: CitedPaper(
            row["link"],
            row["key"],
            tuple(row["authors"].split("; ")),
            row["title"],
            row["venue"],
            row["year"],
        )
        for row in rows("bibliography.csv")
    }


def _surname(author: str) -> str:
    """The family name, with the particles before it.

    >>> _surname("Laurens van der Maaten"), _surname("Eric P. Xing")
    ('van der Maaten', 'Xing')
    """
    words = author.split()
    first = next((at for at, word in enumerate(words) if word[0].islower()), len(words) - 1)
    return " ".join(words[first:])


def _entry(kind: str, key: str, fields: dict[str, str]) -> str:
    lines = [f"@{kind}{{{key},", *(f"  {name} = {{{value}}}," for name, value in fields.items()), "}"]
    return "\n".join(lines) + "\n"
