"""Commands and code in the documents, as their readers would copy them.

A comment above a block names what a test cannot run, and why:

    <!-- not run -- it needs a cluster -->
    <!-- not run, robustbench:, hf: -- it downloads weights -->

The first is of the whole block, the second of its commands that contain one of these texts.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"^((?:<!--[^\n]*-->\n)*)```(\w*)\n(.*?)^```", re.M | re.S)
_NOT_RUN = re.compile(r"<!-- not run(?:, (?P<texts>.+?))? -- (?P<why>.+?) -->")
_SPOKEN = re.compile(r"(?<!`)`(bench [^`]+)`(?!`)")


@dataclass(frozen=True)
class Block:
    """A fenced block, and what of it cannot be run: (texts, why); no texts stand for all of it."""

    language: str
    text: str
    not_run: tuple[tuple[tuple[str, ...], str], ...]

    def why_not(self, line: str) -> str | None:
        """Why a line of it is not run; None: it is."""
        return next((why for texts, why in self.not_run if not texts or any(t in line for t in texts)), None)


@dataclass(frozen=True)
class Command:
    """A command line of a block, after the word `bench`; None as `why_not`: it is run."""

    words: tuple[str, ...]
    why_not: str | None = None

    def __str__(self) -> str:
        return shlex.join(["bench", *self.words])


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in its order."""
    return [
        Block(
            language,
            text,
            tuple((_texts(found["texts"]), found["why"]) for found in _NOT_RUN.finditer(comments)),
        )
        for comments, language, text in _BLOCK.findall(page.read_text(encoding="utf-8"))
    ]


def commands(page: Path) -> list[Command]:
    """The lines of its blocks that call `bench`, each by itself."""
    return [
        Command(tuple(shlex.split(said, comments=True)[1:]), block.why_not(said))
        for block in blocks(page)
        if block.language in ("", "sh")
        for line in block.text.replace("\\\n", " ").splitlines()
        for said in _calls(line)
    ]


def spoken(page: Path) -> list[list[str]]:
    """The words of every `bench ...` inside its sentences."""
    said = [re.sub(r"[\[\]|\\]", " ", told).split()[1:] for told in _SPOKEN.findall(_prose(page))]
    return [words for words in said if not words[0].isupper()]


def _calls(line: str) -> list[str]:
    """The commands of a line, which `&&` keeps apart; none: it is output, or another program's."""
    line = line.removeprefix("$ ")
    if not line.startswith("bench "):
        return []
    return [said for said in line.split(" && ") if said.startswith("bench ")]


def _texts(texts: str) -> tuple[str, ...]:
    return tuple(texts.split(", ")) if texts else ()


def _prose(page: Path) -> str:
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
