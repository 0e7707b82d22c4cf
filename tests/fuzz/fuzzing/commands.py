"""Every command with odd words for its options, planned and never computed: no store can be written to."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import click

from bench.cli.main import bench, main
from fuzzing import mutate
from fuzzing.readers import Reader, check_sentence

NUMBERS = (
    *("0", "1", "-1", "2", "08", "+3", "1.5", "1e3", "nan", "inf", "-inf", "NaN", "1e99999", "1e999999999"),
    *("1e400", "1e-400", "8/255", "8/0", "0/0", "1/3/5", "0.3", "-8/255", "99999999999999999999", "9" * 4000),
    *("٣", "½", "²", "1_000", "0x10", "", " ", " 8 ", "1,2", "1,,2", ",", "all", "auto", "none", "x", "1e"),
    *(str(2**63 - 1), str(2**63), str(2**64), "1000000", "10", "50%", "100%", "101"),
)
"""What may be typed where a number is meant."""

NAMES = (
    *("digits", "synthetic", "mnist[resize=8]", "npz:few.npz", "npz:gone", "folder:.", "pgd", "standard"),
    *("pgd_at[steps=3]", "pgd_at[steps=", "pgd_at[steps=1e999]", "ensemble[base=pgd_at+standard]", "loaded"),
    *("loaded[key=]", "standard@lenet", "standard@", "@", "a@b@c", "whitebox@7", "white-box", "best", "last"),
    *("w.pt", "w.safetensors", "pipe", "folder", "gone.py:X", ".py:", "x.py", "os:system", "os", "none"),
    *(
        "recipe.epochs=3",
        "recipe.epochs=1e9",
        "attack.pgd_20.steps=5",
        "suite.examples=9" + "9" * 30,
        "=",
        "a.",
    ),
    *("numerics.eot_samples=0", "defense.x=1", "0.5/0.5", "0/0", "imagenet", "0.5,0.5/1e-999,1", "cuda:99"),
    *(
        "hf:a/b",
        "hf:",
        "timm:",
        "robustbench:X",
        "torchvision:resnet18",
        "torchattacks:PGD",
        "foolbox:X",
        "~x/y",
    ),
    *("../..", "/", ".", "", "-", "--", "-x", "a b", "'", '"', "$(ls)", "x" * 300, "x" * 5000, "é", "\udcff"),
    *("a\nb", "\x00", "\x1b[31m", "\u202eabc", "[", "]", "[]", "{}", "%s%n", "{0}", "NUL", "con"),
)
"""What may be typed where a name, a file or a setting is meant."""

FOLDERS = ("", ".", "gone/x", "pipe", "few.npz", "few.npz/x", "~nobody_here/x", "x" * 300, "a\x00b", "\udcff")
"""What may be typed where something is written: nothing that is there can be overwritten by it."""

BEGIN: dict[str, tuple[str, ...]] = {
    "run": ("--defense", "standard", "--suite", "smoke"),
    "sweep": ("--defense", "standard", "--suite", "smoke"),
    "train": ("--defense", "standard"),
    "ablate": ("agkd_bml",),
    "transfer": ("standard", "pgd_at"),
    "curve": ("standard", "--over", "eps"),
    "detect": ("standard",),
    "shift": ("standard",),
    "diagnose": ("standard",),
    "certify": ("standard",),
    "plot": ("classes", "store"),
    "compare": ("a", "b"),
    "import": ("images.npy", "--defense", "linear"),
    "new defense": ("my_defense",),
}
"""What a command needs besides the words that are odd."""

LEFT_OUT = ("doctor", "check")
"""They have nothing to plan, and take long."""


def commands(folder: Path) -> dict[str, Reader]:
    """A reader of command lines for each command, by `command: NAME`."""
    _odd_places(folder)
    found = {}
    for name, command in _walk(bench, ""):
        if name.split()[0] not in LEFT_OUT:
            begin = (json.dumps([*name.split(), *BEGIN.get(name, ())]).encode(),)
            change = partial(_odd_words, command)
            title = f"command: {name}"
            found[title] = Reader(title, begin, change, partial(_typed, folder), share=25)
    return found


def names() -> list[str]:
    """What `commands` calls its readers."""
    return [f"command: {name}" for name, _ in _walk(bench, "") if name.split()[0] not in LEFT_OUT]


def _odd_places(folder: Path) -> None:
    if not (folder / "pipe").exists():
        os.mkfifo(folder / "pipe")
        (folder / "folder").mkdir()


def _walk(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None
            yield from _walk(found, f"{name} {inner}".strip())
    else:
        yield name, command


def _odd_words(command: click.Command, content: bytes, draw: Random) -> bytes:
    """One to three options of the command with values that somebody might type, or nobody would."""
    words = json.loads(content)
    options = [option for option in command.params if isinstance(option, click.Option)]
    for _ in range(draw.randint(1, 3)):
        if not options or draw.randrange(8) == 0:
            at = draw.randint(1, len(words))
            words[at : at + draw.randint(0, 1)] = [_value(draw)]
            continue
        option = draw.choice(options)
        words.append(draw.choice(option.opts))
        if not option.is_flag:
            is_place = isinstance(option.type, click.Path) and option.name not in ("init", "data_root")
            words.append(draw.choice(FOLDERS) if is_place else _value(draw))
    return json.dumps(words).encode()


def _value(draw: Random) -> str:
    text = draw.choice(draw.choice((NUMBERS, NAMES, mutate.TEXTS)))
    return mutate.of_text(text, draw, NAMES) if draw.randrange(4) == 0 else text


def _typed(folder: Path, path: Path) -> None:
    """Type the words; what ends otherwise than a command may is an AssertionError."""
    words = json.loads(path.read_bytes())
    command = next((c for n, c in _walk(bench, "") if words[: len(n.split())] == n.split()), None)
    known = {option for param in command.params for option in param.opts} if command else set()
    extra = [*(["--store", "few.npz/store"] if "--store" in known else [])]
    extra += ["--offline"] if "--offline" in known else []
    out, err = io.StringIO(), io.StringIO()
    before, code = Path.cwd(), None
    try:
        os.chdir(folder)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main([*words[:1], *words[1:], *extra])
    except SystemExit as left:
        code = left.code
    finally:
        os.chdir(before)
    check(code, err.getvalue())


def check(code: Any, told: str) -> None:
    """Success, a result that is not good, or one sentence."""
    assert code in (0, 1, 2, 3), f"exit code {code}: {told[-2000:]}"
    assert "Traceback" not in told, told[-3000:]
    lines = [line for line in told.split("\n") if line.startswith("bench: ")]
    sentences = [line for line in lines if "left out" not in line]
    if code == 2 and not told.startswith("Usage:"):
        assert len(sentences) == 1, f"{len(sentences)} sentences: {told[-2000:]}"
        check_sentence(sentences[0])
