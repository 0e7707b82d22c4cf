"""Every reader of a file or of words, with genuine inputs, and what is called with damaged ones."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from bench.core.encoding import decode
from bench.core.grammar import variant
from bench.core.json_file import json_of
from bench.core.progress import Silent
from bench.core.threat import parse_eps
from bench.data import idx
from bench.data.catalog import source
from bench.data.identity import identity
from bench.data.load import load
from bench.data.outputs import outputs_of
from bench.data.pictures import decode as decode_pictures
from bench.errors import BenchError
from bench.nn.normalize import scaling
from bench.plan import attack_named, parse_defense, parse_network
from bench.records.evidence import images
from bench.records.origin import origin_of
from bench.records.reading import from_json
from bench.records.record import to_json
from bench.records.store import RunFolder, read_examples, read_record
from bench.runner.stale import _note
from bench.studies.table import studies
from bench.sweeps.axes import every_point
from bench.sweeps.file import read_blocks
from bench.train.checkpoints import Checkpoints, load_weights
from bench.train.weights_file import load_foreign
from fuzzing import genuine, mutate

Read = Callable[[Path], object]


@dataclass(frozen=True)
class Reader:
    """A reader, and what it reads."""

    name: str
    begin: tuple[bytes, ...]  # genuine inputs
    change: Callable[[bytes, Random], bytes]
    read: Read  # given the path of a file with the damaged input
    typed: Callable[[str], object] | None = None  # in its place, given the input as text
    ending: str = ""
    share: int = 0  # how many inputs in one turn, where it is slow; 0: as many as others

    def input(self, draw: Random) -> bytes:
        """A damaged input; once in a while it is another reader's, or nothing at all."""
        content = draw.choice(self.begin)
        return content if draw.randrange(50) == 0 else self.change(content, draw)

    def bears(self, content: bytes, folder: Path) -> str | None:
        """The sentence that an input is refused with, or None: it is read; anything else is raised."""
        try:
            if self.typed is not None:
                self.typed(content.decode())
            else:
                path = folder / f"input{self.ending}"
                path.write_bytes(content)
                self.read(path)
        except BenchError as error:
            check_sentence(str(error))
            return str(error)
        return None


def _nothing(_: Path) -> None:
    """What is typed lies in no file."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What readers print and warn of is not the point."""
    told = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        warnings.simplefilter("ignore")
        yield


LONGEST_SENTENCE = 7_000
"""Letters; what was typed stands in it, which may be long."""


def check_sentence(text: str) -> None:
    """One line that can be printed."""
    assert 0 < len(text) < LONGEST_SENTENCE, f"a sentence of {len(text)} letters"
    assert "\n" not in text, f"a sentence of several lines: {text!r}"
    assert text.isprintable(), f"no letters: {text!r}"


_SWEEP = b"""seed = [0, 1]
examples = 20
[set]
recipe.epochs = [1, 2]
[[sweep]]
defense = ["standard", "pgd_at[steps=3]"]
suite = "smoke"
eps = [0.1, "8/255"]
[[sweep]]
defense = "trades"
set.defense.beta = 6.0
"""


def readers(folder: Path) -> dict[str, Reader]:
    """All of them, for the genuine files in a folder, by name."""
    found = [*_of_results(folder), *_of_data(folder), *_of_weights(folder), *_of_texts(folder), *_of_words()]
    return {reader.name: reader for reader in found}


def _of_results(folder: Path) -> Iterator[Reader]:
    """Files of a store."""
    store = folder / "store"
    run = next(store.glob("*/record.json")).parent
    published = sorted((Path(__file__).parents[3] / "leaderboards" / "records").glob("*.json"))[::60]
    records = tuple(path.read_bytes() for path in [run / "record.json", *published])
    yield Reader("record", records, mutate.of_json, _record)
    for study in studies():
        path = study.files(store)[0]
        yield Reader(f"record of {study.name}", (path.read_bytes(),), mutate.of_json, study.read)
        if study.name in ("detect", "diagnose", "certify"):
            read = partial(_beside, study, path.read_bytes())
            beside = next(file for file in path.parent.iterdir() if file.suffix == ".npz")
            yield Reader(
                f"arrays of {study.name}", (beside.read_bytes(),), mutate.of_bytes, read, ending=".npz"
            )
    specs = [json.loads(path.read_bytes()) for path in sorted(store.rglob("spec.json"))]
    parts = [json.dumps(part).encode() for spec in specs for part in _encoded(spec)]
    yield Reader(
        "spec", tuple(dict.fromkeys(parts)), mutate.of_json, lambda path: decode(json_of(path, "it"))
    )
    cells = tuple(path.read_bytes() for path in sorted(run.glob("cells/*/*.npz")))
    yield Reader("cell", cells, mutate.of_bytes, _cell, ending=".npz")
    yield Reader(
        "examples", ((run / "examples.csv").read_bytes(),), mutate.of_bytes, read_examples, ending=".csv"
    )
    held = ((run / "adversarial.safetensors").read_bytes(),)
    yield Reader("evidence", held, mutate.of_bytes, _evidence, ending=".safetensors")
    model = next(store.glob("models/*"))
    yield Reader(
        "training.json", ((model / "training.json").read_bytes(),), mutate.of_json, partial(_training, model)
    )
    yield Reader(
        "spec.json of weights",
        ((model / "spec.json").read_bytes(),),
        mutate.of_json,
        partial(_note_of, model.name),
    )
    yield Reader("origin", ((model / "origin.json").read_bytes(),), mutate.of_json, _origin)
    spec = ((run / "spec.json").read_bytes(),)
    yield Reader("spec.json of a run", spec, mutate.of_json, _spec)
    yield Reader(
        "sweep", (_SWEEP,), mutate.of_bytes, lambda path: every_point(read_blocks(path)), ending=".toml"
    )


def _of_data(folder: Path) -> Iterator[Reader]:
    def whole(prefix: str, path: Path) -> None:
        identity(f"{prefix}:{path}")
        load(f"{prefix}:{path}")

    few, pt = folder / "few.npz", (folder / "few.pt", folder / "few_old.pt")
    yield Reader("npz", (few.read_bytes(),), mutate.of_bytes, partial(whole, "npz"), ending=".npz")
    yield Reader("pt", tuple(p.read_bytes() for p in pt), mutate.of_bytes, partial(whole, "pt"), ending=".pt")
    for name, other in (("images", "labels"), ("labels", "images")):
        begin = ((folder / f"{name}.npy").read_bytes(),)
        read = partial(_npy, name, (folder / f"{other}.npy").read_bytes())
        yield Reader(f"npy {name}", begin, mutate.of_bytes, read, ending=".npy")
    for ending in (".idx", ".idx.gz"):
        begin = tuple((folder / f"{name}{ending}").read_bytes() for name in ("images", "labels"))
        yield Reader(
            ending[1:], begin, mutate.of_bytes, idx.read_idx, ending=ending[-3:] if "gz" in ending else ""
        )
    for path in sorted(folder.glob("*.*")):
        if path.suffix in (".png", ".jpg", ".bmp", ".webp", ".tif", ".ppm"):
            yield Reader(path.name, (path.read_bytes(),), mutate.of_bytes, _picture, ending=path.suffix)


def _of_weights(folder: Path) -> Iterator[Reader]:
    for name in ("w.safetensors", "w.npz", "w.pt", "w_old.pt"):
        path = folder / name
        yield Reader(f"foreign {name}", (path.read_bytes(),), mutate.of_bytes, _foreign, ending=path.suffix)
    own = ((folder / "w.safetensors").read_bytes(),)
    yield Reader("own weights", own, mutate.of_bytes, _own, ending=".safetensors")
    yield Reader("state", ((folder / "state.ckpt").read_bytes(),), mutate.of_bytes, _state)


def _of_texts(folder: Path) -> Iterator[Reader]:
    from bench.report.exchange import published
    from bench.runner.imported import _array
    from bench.studies.diagnose.record import read_log

    def outputs(path: Path) -> None:
        outputs_of(str(path), ("cat", "dog"), "pets")

    def info(path: Path) -> None:
        place = path.parent / "cifar10" / "Linf" / "X.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
        published(path.parent / "cifar10")

    indices = tuple((folder / name).read_bytes() for name in ("list.json", "index.json", "numbers.json"))
    yield Reader("class index", indices, mutate.of_json, outputs)
    yield Reader("class names", ((folder / "lines.txt").read_bytes(),), mutate.of_bytes, outputs)
    yield Reader("training log", ((folder / "log.csv").read_bytes(),), mutate.of_bytes, read_log)
    yield Reader("published", ((folder / "info.json").read_bytes(),), mutate.of_json, info)
    yield Reader("site.json", ((folder / "site.json").read_bytes(),), mutate.of_json, _manifest)
    yield Reader("imported", ((folder / "images.npy").read_bytes(),), mutate.of_bytes, _array, ending=".npy")


def _of_words() -> Iterator[Reader]:
    """What is typed; a file holds it only here."""
    from bench.cli.options import parse_settings
    from bench.studies.detect.plan import _detector

    words: dict[str, tuple[Callable[[str], object], tuple[str, ...]]] = {
        "eps": (parse_eps, ("8/255", "0.3", "1e-3")),
        "attack": (attack_named, ("pgd", "square", "autoattack:apgd-ce", "torchattacks:PGD")),
        "defense": (
            lambda text: parse_defense(text, {}),
            (
                "pgd_at[steps=7,step_size=1/4]",
                "ensemble[members=pgd_at+trades[beta=3]]",
                "loaded[key=x]",
            ),
        ),
        "network": (parse_network, ("pgd_at[steps=7]@lenet", "standard@wide_resnet_16_4")),
        "data": (source, ("digits", "cifar10[resize=64,crop=48]", "npz:few.npz[layout=nhwc,range=0,255]")),
        "detector": (_detector, ("knn[k=5]", "max_softmax", "gmm_10")),
        "settings": (lambda text: parse_settings([text]), ("attack.pgd_20.steps=50", "recipe.epochs=3")),
        "normalize": (lambda text: scaling(text, 3), ("0.5,0.5,0.5/0.25,0.25,0.25", "imagenet", "0.1/0.2")),
        "grammar": (lambda text: variant(text, "it", "x"), ("a[b=c[d=e],f=1,2]",)),
    }
    for name, (read, begin) in words.items():
        inputs = tuple(text.encode() for text in begin)
        yield Reader(f"word: {name}", inputs, _of_word, _nothing, partial(_word, read))


def _of_word(content: bytes, draw: Random) -> bytes:
    return mutate.of_text(content.decode(), draw).encode()


def _word(read: Callable[[str], object], text: str) -> None:
    from bench.cli.main import check_words

    check_words([text])
    read(text)


def _encoded(spec: Any) -> Iterator[Any]:
    """The parts of a specification that name classes."""
    if isinstance(spec, dict):
        if "is" in spec:
            yield spec
        for item in spec.values():
            yield from _encoded(item)
    elif isinstance(spec, list):
        for item in spec:
            yield from _encoded(item)


def _record(path: Path) -> None:
    """Read, and written as it was read."""
    record = read_record(path)
    assert from_json(to_json(record)) == record


def _beside(study: Any, record: bytes, path: Path) -> None:
    """A study's record with damaged arrays beside it."""
    module, held = study.module("record"), json.loads(record)
    place = path.parent / "study"
    place.mkdir(exist_ok=True)
    name = next(
        getattr(module, known) for known in ("ARRAYS", "SCORES", "EXAMPLES") if hasattr(module, known)
    )
    (place / name).write_bytes(path.read_bytes())
    for key in ("arrays_sha256", "scores_sha256", "examples_sha256"):
        if key in held:  # a hostile one has the right digest
            import hashlib

            held[key] = hashlib.sha256(path.read_bytes()).hexdigest()
    (place / study.file).write_text(json.dumps(held))
    module.whole(study.read(place / study.file), place)


def _cell(path: Path) -> None:
    folder = RunFolder(path.parent / "run")
    place = folder.path / "cells" / "fgsm" / "0000.npz"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(path.read_bytes())
    folder.cell("fgsm", 0)


def _evidence(path: Path) -> None:
    with images(path) as found:
        found.of(found.ids[:3])
        found.rows(0, 4)
        found.array("labels")


def _training(weights: Path, path: Path) -> None:
    folder = path.parent / "model"
    folder.mkdir(exist_ok=True)
    (folder / "training.json").write_bytes(path.read_bytes())
    for name in ("best", "last"):
        shutil.copy(weights / f"{name}.safetensors", folder)
    Checkpoints(folder).result()


def _note_of(name: str, path: Path) -> None:
    from bench.runner.spec_of_record import spec_of_training

    folder = path.parent / name
    folder.mkdir(exist_ok=True)
    (folder / "spec.json").write_bytes(path.read_bytes())
    (folder / "training.json").write_bytes(b"{}")
    _note(folder, "sources")
    spec_of_training(folder)


def _spec(path: Path) -> None:
    folder = RunFolder(path.parent / "run of spec")
    folder.path.mkdir(exist_ok=True)
    (folder.path / "spec.json").write_bytes(path.read_bytes())
    folder.holds(["fgsm"], 1, {"bench.api": "0"})


def _origin(path: Path) -> None:
    folder = path.parent / "0123456789ab"
    folder.mkdir(exist_ok=True)
    (folder / "origin.json").write_bytes(path.read_bytes())
    origin_of(folder)


def _npy(name: str, other: bytes, path: Path) -> None:
    folder = path.parent / "npy"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.npy").write_bytes(path.read_bytes())
    (folder / f"{'labels' if name == 'images' else 'images'}.npy").write_bytes(other)
    load(f"npy:{folder}")


def _picture(path: Path) -> None:
    decode_pictures([path], "pictures", Silent())


def _foreign(path: Path) -> None:
    load_foreign(path, genuine.network())


def _own(path: Path) -> None:
    load_weights(path, genuine.network())


def _state(path: Path) -> None:
    folder = path.parent / "state"
    folder.mkdir(exist_ok=True)
    (folder / "state.ckpt").write_bytes(path.read_bytes())
    Checkpoints(folder).state()


def _manifest(path: Path) -> None:
    from bench.site.pages import _manifest as manifest

    folder = path.parent / "site"
    folder.mkdir(exist_ok=True)
    (folder / "site.json").write_bytes(path.read_bytes())
    for name in manifest(folder):
        assert not Path(name).is_absolute() and ".." not in Path(name).parts
