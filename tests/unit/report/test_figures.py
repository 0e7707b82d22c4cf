"""Figures from diagnostics made by hand: whole files, type that publishers take, numbers and captions."""

from __future__ import annotations

import csv
import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from bench.core.digest import content_id
from bench.errors import BadValue
from bench.figures import draw as figures
from bench.figures import read
from bench.figures.kinds import KINDS as EVERY
from bench.figures.read import Drawable, Only, all_drawable
from bench.records import documents
from bench.report import paper
from bench.studies.diagnose.record import ARRAYS, KINDS, pack
from bench.studies.diagnose.report import attention, contributions, embedding, training
from bench.studies.table import study

ALONE = ("attention", "purification", "gallery")
BEGINS = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}


def drawable(found, kind) -> Drawable:
    """What `bench plot` would draw of diagnostics as one kind."""
    return Drawable(kind, EVERY[kind].of[-1], tuple(one for one in found if kind in one.record.kinds))


def draw(found, kinds, folder, form) -> list[Path]:
    return figures.draw([drawable(found, kind) for kind in kinds], folder, form)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def texts(figure) -> str:
    """All that can be read in a figure."""
    found = [text.get_text() for text in figure.findobj(match=lambda part: hasattr(part, "get_text"))]
    return "\n".join(found)


@pytest.fixture
def stored(tmp_path):
    """Diagnostics -> a store that holds them."""

    def keep(*found) -> Path:
        for one in found:
            path, content = study("diagnose").where(tmp_path / "runs", one.record.id), pack(one.arrays)
            documents.write(path, dataclasses.replace(one.record, arrays_sha256=documents.sha256(content)))
            (path.parent / ARRAYS).write_bytes(content)
        return tmp_path / "runs"

    return keep


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """Fewer pixels than in print: drawing them is what takes time."""
    monkeypatch.setitem(paper._STYLE, "savefig.dpi", 60)


@pytest.mark.parametrize(
    ("kind", "form"), [*((kind, "png") for kind in KINDS), ("contributions", "pdf"), ("training", "svg")]
)
def test_every_kind_is_a_whole_file_with_its_numbers(diagnosed, tmp_path, kind, form):
    picture, numbers, caption = draw([diagnosed()], [kind], tmp_path, form)
    content = picture.read_bytes()
    assert picture.name == f"{kind}-40baf76222de.{form}" and numbers == picture.with_suffix(".csv")
    assert content.startswith(BEGINS[form]) and len(content) > 5000
    assert caption.name == f"{kind}-40baf76222de.caption.txt" and caption.read_text().count("\n") == 1
    rows = table(numbers)
    assert rows and {row["id"] for row in rows} == {"40baf76222de"}
    if form == "png":
        pixels = imread(picture)
        assert pixels.shape[1] == pytest.approx(paper.PAGE * 60, abs=2)
        assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 50, "something is drawn"
    if form == "pdf":
        assert b"/FontFile2" in content and b"/Type3" not in content, "type 42"
    if form == "svg":
        assert b"<text" in content and b"learning rate" in content, "words stay words"


def test_the_same_figure_is_the_same_bytes(diagnosed, tmp_path):
    for form, kind in (("pdf", "contributions"), ("svg", "training")):
        one, two = (
            [path.read_bytes() for path in draw([diagnosed()], [kind], tmp_path / str(turn), form)]
            for turn in range(2)
        )
        assert one == two


def test_without_a_kind_all_that_there_is_is_drawn(stored, diagnosed, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "write", lambda drawing, folder, form: [folder / f"{drawing.name}.{form}"])
    left = {"attention": None, "purification": None, "left_out": {"attention": "a", "purification": "b"}}
    spec = {**diagnosed().record.spec, "stage": -2}
    bare = diagnosed(id=content_id(spec), spec=spec, defense="standard", **left)
    store = stored(diagnosed(), bare)
    todo = all_drawable(["agkd_bml", bare.record.id[:4]], store, Only())
    assert [path.name for path in figures.draw(todo, tmp_path, "png")] == [
        "attention-40baf76222de.png",
        "embedding.png",
        "contributions.png",
        "purification-40baf76222de.png",
        "training.png",
        "gallery-40baf76222de.png",
        f"gallery-{bare.record.id}.png",
        "landscape.png",
    ]
    with pytest.raises(BadValue, match=r"hold no purification \(b\), expected embedding or contributions"):
        read.drawable("purification", [bare.record.id[:4]], store, Only())


def test_out_writes_the_table_and_every_figure_once(diagnosed, tmp_path):
    one, two = diagnosed(), diagnosed(id="bbbbbbbbbbbb", architecture="lenet", arrays_seed=1)
    written = study("diagnose").module("report").write([one, two], tmp_path)
    assert sorted(written) == sorted(tmp_path.iterdir()) and len(written) == len(set(written))
    names = [f"{kind}-{held.record.id}" for kind in ALONE for held in (one, two)]
    names += [kind for kind in KINDS if kind not in ALONE]
    ends = ("png", "pdf", "csv", "caption.txt")
    assert {path.name for path in written} == {
        "diagnostics.md",
        *(f"{n}.{end}" for n in names for end in ends),
    }
    assert "agkd_bml@small_cnn, agkd_bml@lenet" in (tmp_path / "training.caption.txt").read_text()


def test_numbers_beside_the_figure_are_those_of_the_record(diagnosed, tmp_path):
    one, two = diagnosed(), diagnosed(id="bbbbbbbbbbbb", defense="standard", arrays_seed=1)
    with paper.paper():
        drawings = [drawing for kind in KINDS for drawing in figures.drawings(drawable([one, two], kind))]
    held = {
        drawing.name: [dict(zip(drawing.columns, row, strict=True)) for row in drawing.rows]
        for drawing in drawings
    }
    counts = [row for row in held["contributions"] if row["quantity"] == "n90"]
    for given in (one, two):
        for state in ("clean", "adversarial"):
            mine = [row["value"] for row in counts if row["id"] == given.record.id and row["state"] == state]
            assert mine == given.array(f"n90_{state}").tolist()
    points = [row for row in held["embedding"] if row["state"] == "adversarial"]
    assert [row["misclassified"] for row in points[:4]] == [1, 0, 0, 1]
    assert points[0]["x"] == float(one.array("embedding_adversarial")[0, 0])
    losses = [row["value"] for row in held["training"] if row["quantity"] == "triplet"]
    assert losses == [0.01, 0.02] * 2, "what was not measured is not there"
    maps = held["attention-40baf76222de"]
    assert len(maps) == 4 * 3 * 4 and {row["map"] for row in maps} == {
        f"{who}_{state}" for who in ("teacher", "student") for state in ("clean", "adversarial")
    }
    assert maps[0]["attention"] == float(one.array("attention_teacher_clean")[0, 0, 0])
    purified = held["purification-40baf76222de"]
    assert {row["psnr"] for row in purified if row["picture"] == "clean"} == {None}, "infinite is left blank"
    assert {row["example"] for row in purified} == {100, 101, 105}


def test_captions_say_what_is_seen_and_of_what_and_figures_have_no_title(diagnosed):
    with paper.paper():
        drawing = attention(diagnosed())
        seen = texts(drawing.figure)
    for words in ("agkd_bml and its teacher", "digits", "Linf 8/255", "white-box PGD-20", "n = 12", "0.188"):
        assert words in drawing.caption and words not in seen
    assert "says one" in seen and "true: zero" in seen


def test_points_are_where_the_record_has_them(diagnosed):
    one = diagnosed()
    with paper.paper():
        drawing = embedding([one])
    clean, adversarial = drawing.figure.axes
    drawn = np.concatenate([np.asarray(part.get_offsets()) for part in adversarial.collections])
    assert np.allclose(np.sort(drawn, axis=0), np.sort(one.array("embedding_adversarial"), axis=0))
    assert len(adversarial.collections[1].get_offsets()) == 4, "crosses are the misclassified ones"
    assert clean.get_xlim() == adversarial.get_xlim() and "50.0 %" in adversarial.get_title()
    assert clean.get_xlabel() == "PC 1 (50 %)"


def test_boxes_and_curves_are_those_of_the_record(diagnosed):
    one = diagnosed()
    with paper.paper():
        drawing = contributions([one, diagnosed(id="b" * 12, seed=1)])
    boxes, curves = drawing.figure.axes
    assert [label.get_text() for label in boxes.get_yticklabels()] == ["agkd_bml, seed 0", "agkd_bml, seed 1"]
    means = [float(line.get_xdata()[0]) for line in boxes.lines if line.get_marker() == "."]
    assert means[:2] == [one.array("n90_clean").mean(), one.array("n90_adversarial").mean()]
    assert np.allclose(curves.lines[0].get_ydata(), [40, 70, 90, 100, 100])
    assert "of 5 features" in boxes.get_xlabel()


def test_training_marks_the_epoch_whose_weights_were_looked_at(diagnosed):
    with paper.paper():
        drawing = training([diagnosed()])
    loss, accuracy, rate = drawing.figure.axes
    (kept,) = [line for line in accuracy.lines if line.get_marker() == "o"]
    assert kept.get_xdata().tolist() == [2, 2] and sorted(kept.get_ydata()) == [50, 75]
    assert [line.get_label() for line in loss.lines] == ["loss", "adversarial", "triplet"]
    assert loss.get_yscale() == "log" and rate.lines[0].get_ydata().tolist() == [0.1, 0.05, 0.01]
    assert accuracy.lines[1].get_xdata().tolist() == [1, 2], "the epoch without validation has no point"


@pytest.mark.parametrize("change", [{"eps": "0.2"}, {"data_digest": "e" * 12}, {"examples": 11}])
@pytest.mark.parametrize("kind", ["embedding", "contributions"])
def test_what_is_not_alike_is_not_compared(diagnosed, tmp_path, change, kind):
    with pytest.raises(BadValue, match=f"{kind} cannot be compared: 40baf76222de is of digits, Linf 8/255"):
        draw([diagnosed(), diagnosed(id="b" * 12, **change)], [kind], tmp_path, "png")
    assert list(tmp_path.iterdir()) == []


def test_more_defenses_than_colours_are_refused(diagnosed, tmp_path):
    many = [diagnosed(id=f"{place:012d}") for place in range(8)]
    with pytest.raises(BadValue, match="8 diagnostics are more than one figure can show"):
        draw(many, ["training"], tmp_path, "png")
    assert draw(many[:7], ["training"], tmp_path, "png")


def test_names_cannot_be_formulas(diagnosed, tmp_path):
    odd = diagnosed(defense="mine.py:$x_[a=1,b=$]", classes=("$0", "one_$", "a_very_long_class_name"))
    assert draw([odd], ["attention", "embedding"], tmp_path, "png")


def test_figures_need_no_torch():
    code = (
        "import sys, bench.figures.draw, bench.cli.plot, bench.cli.main, bench.studies.diagnose.report; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
