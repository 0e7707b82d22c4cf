"""`bench doctor`: is everything installed, does it fit together, and if not, what mends it."""

from __future__ import annotations

import ast
import base64
import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from bench import __version__
from bench.cli import options
from bench.core import lock
from bench.errors import MissingExtra

State = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Observation:
    """One thing that was looked at; a problem comes with what mends it."""

    about: str
    state: State
    found: str
    remedy: str = ""


@options.command()
@options.data_root
@options.store
@click.option(
    "--fix",
    is_flag=True,
    help="Install RobustBench again where torchattacks, whose wheel holds an old copy of it, wrote over it.  "
    "[default: only look]",
)
@options.as_json
def doctor(data_root: Path | None, store: Path, fix: bool, as_json: bool) -> int:
    """Look at the installation: versions, the lock, device, packages that disturb each other, data, store.

    Exits with 1 if something is broken.
    """
    if fix and any(found.state == "problem" for found in examine(data_root, store, "robustbench files")):
        reinstall("robustbench")
    findings = list(examine(data_root, store))
    broken = [finding for finding in findings if finding.state == "problem"]
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
        return 1 if broken else 0
    room = max(len(finding.about) for finding in findings)
    for finding in findings:
        click.echo(f"{finding.state:<8} {finding.about:<{room}}  {finding.found}".rstrip())
        if finding.remedy:
            click.echo(f"{'':<8} {'':<{room}}  -> {finding.remedy}")
    click.echo(f"\n{len(broken)} problem{'' if len(broken) == 1 else 's'}" if broken else "\nall is well")
    return 1 if broken else 0


def examine(data_root: Path | None, store: Path, only: str | None = None) -> Iterator[Observation]:
    """Everything there is to find, or one look; a look that fails is a problem and ends nothing."""
    looks: dict[str, Callable[[], Iterator[Observation]]] = {
        "python": _python,
        "packages": _packages,
        "lock": _lock,
        "plug-ins": _plug_ins,
        "torchvision": _torchvision,
        "device": _device,
        "pkg_resources": _pkg_resources,
        "robustbench": lambda: robustbench(_origin("robustbench")),
        "robustbench files": _robustbench_whole,
        "robustbench import": _robustbench_imports,
        "data": lambda: _data(data_root),
        "store": lambda: writable(store),
    }
    for about, look in looks.items():
        if only not in (None, about):
            continue
        try:
            yield from look()
        except Exception as error:  # whatever breaks is what this command is for
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            yield Observation(about, "problem", reason[:300], _REINSTALL)


def robustbench(origin: Path | None) -> Iterator[Observation]:
    """Whether the package `robustbench` at that place (its __init__.py) is the real one, whole.

    The wheel of torchattacks carries an old copy, which does not export `benchmark`; of the two packages, the
    one installed last wins, file by file.
    """
    if origin is None or lock.installed_version("robustbench") is None:
        found = "not installed: no networks of RobustBench"
        yield Observation("robustbench", "note", found, lock.to_install("zoo"))
        return
    exported = {
        alias.name
        for node in ast.walk(ast.parse(origin.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    if "benchmark" not in exported:
        found = f"the old copy that torchattacks brings, in {origin.parent}: it lacks `benchmark`"
        yield Observation("robustbench", "problem", found, _FIX)
        return
    yield Observation("robustbench", "ok", f"the real one, in {origin.parent}")


def reinstall(package: str) -> None:
    """Install a package again in the version that is there, by pip or uv; by hash where the lock has it.

    Raises:
        MissingExtra: neither pip nor uv is there, or the installation fails.
    """
    version = lock.installed_version(package)
    exact = lock.locked().get(package) == version
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "requirements.txt"
        lines = lock.entry(package) if exact else None
        wanted.write_text(lines or f"{package}=={version}", encoding="utf-8")
        command = [*_installer(package), "--no-deps", "-r", str(wanted)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split())[-300:]
        raise MissingExtra(f"{package} {version} cannot be installed again ({reason})", "make clean setup")


def _installer(package: str) -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install", "--quiet", "--force-reinstall"]
    uv = shutil.which("uv")
    if uv is None:
        what = f"{package} cannot be installed again, for neither pip nor uv is there"
        raise MissingExtra(what, "make clean setup")
    return [uv, "pip", "install", "--quiet", "--python", sys.executable, "--reinstall"]


def writable(folder: Path) -> Iterator[Observation]:
    """Whether runs can be kept there; nothing is left behind."""
    nearest = folder.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    remedy = "--store FOLDER with a folder that can be written"
    if not nearest.is_dir():
        yield Observation("store", "problem", f"{nearest} is a file", remedy)
        return
    try:
        with tempfile.TemporaryFile(dir=nearest):
            yield Observation("store", "ok", f"{folder} can be written")
    except OSError as error:
        yield Observation("store", "problem", f"{nearest} cannot be written ({error.strerror})", remedy)


_REINSTALL = "make clean setup, or pip install -e . again"
_FIX = "bench doctor --fix"


def _python() -> Iterator[Observation]:
    enough = sys.version_info >= (3, 11)
    yield Observation(
        "python",
        "ok" if enough else "problem",
        f"{platform.python_version()} on {platform.platform(terse=True)}",
        "" if enough else "install Python 3.11 or newer",
    )
    yield Observation("bench", "ok", f"{__version__} in {Path(__file__).parents[1]}")


def _packages() -> Iterator[Observation]:
    from packaging.requirements import Requirement

    for line in importlib.metadata.requires(lock.DISTRIBUTION) or []:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        version = lock.installed_version(wanted.name)
        if version is None:
            yield Observation(wanted.name, "problem", "not installed", f'pip install "{line}"')
            continue
        fits = wanted.specifier.contains(version, prereleases=True)
        expected = f", expected {wanted.specifier}" if not fits else ""
        yield Observation(
            wanted.name,
            "ok" if fits else "problem",
            f"{version}{expected}",
            "" if fits else f'pip install "{line}"',
        )
    if lock.installed_version("torchattacks") is None:
        found = "not installed: no attacks of torchattacks"
        yield Observation("torchattacks", "note", found, lock.to_install("torchattacks"))


def _lock() -> Iterator[Observation]:
    """Whether numbers are computed with the packages that the lock names."""
    pinned, other, absent = lock.locked(), lock.differing(), lock.missing()
    have = f"{len(pinned) - len(absent)} of {len(pinned)} packages of {lock.PATH.name} {lock.digest()}"
    if not other:
        yield Observation("lock", "ok", f"{have}, each in its version")
        return
    told = [f"{name} {version} (lock: {pinned[name]})" for name, version in sorted(other.items())]
    more = f" and {len(told) - 4} more" if len(told) > 4 else ""
    found = f"{have}, but {', '.join(told[:4])}{more}; records will say so"
    remedy = f"make clean setup, or pip install --require-hashes --no-deps -r {lock.PATH}"
    yield Observation("lock", "note", found, remedy)


def _plug_ins() -> Iterator[Observation]:
    from bench.registry import ATTACKS, DEFENSES, SUITES

    counts = f"{len(DEFENSES.names())} defenses, {len(ATTACKS.names())} attacks, {len(SUITES.names())} suites"
    yield Observation("plug-ins", "ok", counts)


def _torchvision() -> Iterator[Observation]:
    import torch

    remedy = "pip install --force-reinstall torch torchvision, both from the same index"
    try:
        import torchvision

        kept = torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    except (ImportError, RuntimeError) as error:
        yield Observation(
            "torchvision and torch", "problem", f"does not fit torch {torch.__version__} ({error})", remedy
        )
        return
    fits = kept.tolist() == [0]
    yield Observation(
        "torchvision and torch",
        "ok" if fits else "problem",
        "fit together" if fits else f"torchvision.ops.nms gives {kept.tolist()}, expected [0]",
        "" if fits else remedy,
    )


def _device() -> Iterator[Observation]:
    import torch

    if not torch.cuda.is_available():
        built = f", torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else ""
        yield Observation(
            "device", "note", f"the CPU with {torch.get_num_threads()} threads; no CUDA device{built}"
        )
        return
    for index in range(torch.cuda.device_count()):
        held = torch.cuda.get_device_properties(index)
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
        yield Observation(
            "device", "ok", f"cuda:{index} {held.name}, {held.total_memory / 2**30:.0f} GiB, {bf16}"
        )


def _pkg_resources() -> Iterator[Observation]:
    if lock.installed_version("robustbench") is None:
        return
    there = importlib.util.find_spec("pkg_resources") is not None
    yield Observation(
        "pkg_resources",
        "ok" if there else "problem",
        "there, as robustbench needs"
        if there
        else "missing: setuptools 81 dropped it and robustbench imports it",
        "" if there else 'pip install "setuptools<81"',
    )


def _robustbench_whole() -> Iterator[Observation]:
    if lock.installed_version("robustbench") is None:
        return
    overwritten = [
        str(file)
        for file in importlib.metadata.files("robustbench") or []
        if file.suffix == ".py" and file.parts[0] == "robustbench" and file.hash and not _same(file)
    ]
    if overwritten:
        found = f"{len(overwritten)} of its files are another package's, such as {overwritten[0]}"
        yield Observation("robustbench files", "problem", found, _FIX)
    else:
        yield Observation("robustbench files", "ok", "as its wheel brought them")


def _same(file: importlib.metadata.PackagePath) -> bool:
    path = Path(str(file.locate()))
    if file.hash is None or not path.is_file():
        return False
    digest = hashlib.new(file.hash.mode, path.read_bytes()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == file.hash.value


def _robustbench_imports() -> Iterator[Observation]:
    """RobustBench imports `autoattack`, which its dependency `pyautoattack` provides under another name.

    Tried in a process of its own, so that nothing stays behind in this one.
    """
    if lock.installed_version("robustbench") is None:
        return
    aliased = (
        "import sys, pyautoattack, pyautoattack.state; "
        "sys.modules['autoattack'] = pyautoattack; sys.modules['autoattack.state'] = pyautoattack.state; "
    )
    own = importlib.util.find_spec("autoattack") is not None
    command = f"{'' if own else aliased}from robustbench.utils import load_model"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}"
        yield Observation("robustbench import", "problem", reason, _REINSTALL)
    else:
        yield Observation(
            "robustbench import", "ok", "works" if own else "works, with pyautoattack as autoattack"
        )


def _data(root: Path | None) -> Iterator[Observation]:
    from bench.data.splits import LOCAL_ROOT, ROOT_VARIABLE, SYSTEM_ROOT, DataRequest

    yield Observation("data", "ok", "digits and synthetic need no files")
    for folder in DataRequest("", root).roots:
        if not folder.is_dir():
            named = folder not in (SYSTEM_ROOT, LOCAL_ROOT)  # the others need not exist
            remedy = f"create it, or drop --data-root or ${ROOT_VARIABLE}" if named else ""
            yield Observation(
                f"data in {folder}", "problem" if named else "note", "there is no such folder", remedy
            )
            continue
        names = [name for name, marks in _MARKS.items() if any(any(folder.glob(mark)) for mark in marks)]
        yield Observation(
            f"data in {folder}", "ok" if names else "note", ", ".join(names) or "no data set known to us"
        )


_MARKS = {
    "mnist": ("mnist.npz", "mnist/train-images*", "MNIST/raw/train-images*"),
    "fashion_mnist": (
        "fashion_mnist.npz",
        "fashion[-_]mnist/train-images*",
        "FashionMNIST/raw/train-images*",
    ),
    "cifar10": ("cifar10.npz", "cifar-10-batches-py", "cifar10/cifar-10-batches-py"),
    "cifar100": ("cifar100.npz", "cifar-100-python", "cifar100/cifar-100-python"),
    "svhn": ("svhn.npz", "train_32x32.mat", "svhn/train_32x32.mat"),
    "tiny_imagenet": ("tiny_imagenet.npz", "tiny-imagenet-200", "tiny_imagenet"),
    "imagenet": (
        *("imagenet/val/n01440764", "ImageNet/val/n01440764", "ILSVRC2012/val/n01440764", "val/n01440764"),
        *("imagenet/ILSVRC2012_img_val.tar", "ILSVRC2012_img_val.tar"),
    ),
}
"""What gives a data set away in a folder; whether its files are in order shows when it is loaded."""


def _origin(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(spec.origin) if spec and spec.origin else None
