"""Digests of records and successions without import lines: `python -m benchmarks.redigest` (docs/adr/0011).

Records that were made before hold digests of code with its import lines. What a module held is in git, so
both digests of it can be computed. A digest is replaced where the code of the record's commit has it, else
where some version of that file in the history does; what is found nowhere is left and listed. Nothing but
these strings is written, and who runs it twice changes nothing.
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench.core.digest import digest_with_imports, source_digest
from bench.records.seal import KEY, seal

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("leaderboards/records", "docs/records", "benchmarks/records")
SUCCESSIONS = ROOT / "bench" / "core" / "succession.py"


def main() -> None:
    """Convert what is published, and say how often a digest was found where."""
    count: Counter[str] = Counter()
    for path in sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.json")):
        made = json.loads(path.read_text(encoding="utf-8")).get("provenance") or {}
        changes = {}
        for module, held in (made.get("sources") or {}).items():
            where, new = converted(module, held, made["commit"])
            count[where] += 1
            changes[module] = held, new
            if where == "nowhere":
                print(f"{path.relative_to(ROOT)}: {module} {held} is in no version")
        _replace(path, changes)
    text = SUCCESSIONS.read_text(encoding="utf-8")
    SUCCESSIONS.write_text(_LINE.sub(_step, text), encoding="utf-8")
    print(", ".join(f"{number} digests: {where}" for where, number in sorted(count.items())))


def converted(module: str, held: str, commit: str) -> tuple[str, str]:
    """Where a module with this digest was found, and the digest that it has now."""
    for path in _paths(module):
        source = _show(commit, path)
        if source is not None and digest_with_imports(source) == held:
            return "at the record's commit", source_digest(source)
    old = _versions(module)
    if held in old:
        return "in the history", old[held]
    return ("converted before" if held in old.values() else "nowhere"), held


def _replace(path: Path, changes: dict[str, tuple[str, str]]) -> None:
    text = path.read_text(encoding="utf-8")
    for module, (held, new) in changes.items():
        text, found = re.subn(rf'("{re.escape(module)}": ?)"{held}"', rf'\g<1>"{new}"', text)
        assert found == 1, (path, module)
    path.write_text(seal(text) if KEY in json.loads(text) else text, encoding="utf-8")


_LINE = re.compile(r'( +)"(?P<module>[\w.]+)": \((?P<before>None|"\w{12}"), (?P<after>"\w{12}")\),\n')


def _step(line: re.Match[str]) -> str:
    """One line of a succession; what changed in its imports alone changes no more."""
    old = _versions(line["module"])
    before, after = (old.get(line[part].strip('"'), line[part].strip('"')) for part in ("before", "after"))
    if before == after:
        return ""
    told = "None" if before == "None" else f'"{before}"'
    return f'{line[1]}"{line["module"]}": ({told}, "{after}"),\n'


@functools.cache
def _versions(module: str) -> dict[str, str]:
    """The digest with imports -> that without, of every version of a module in the history."""
    sources = [_show(commit, path) for path in _paths(module) for commit in _commits(path)]
    return {digest_with_imports(source): source_digest(source) for source in sources if source is not None}


def _commits(path: str) -> list[str]:
    return _git("log", "--format=%H", "HEAD", "--", path).split()


def _paths(module: str) -> Iterator[str]:
    yield module.replace(".", "/") + ".py"
    yield module.replace(".", "/") + "/__init__.py"


@functools.cache
def _show(commit: str, path: str) -> str | None:
    try:
        return _git("show", f"{commit}:{path}")
    except subprocess.CalledProcessError:  # it was not there
        return None


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
