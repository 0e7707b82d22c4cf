"""What a user can get wrong: one sentence each, exit code 2, nothing written, no traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from bench.records.reading import from_json

ROOT = Path(__file__).parents[2]
STANDARD = ["run", "--defense", "standard", "--data", "synthetic"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every command runs in a folder of its own, so that whatever it writes is seen."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.delenv("BENCH_DATA", raising=False)
    return place


def refused(told, *words):
    """One sentence that holds these words, and nothing beside it but progress."""
    assert told.code == 2, (told.code, told.err)
    assert told.out == "" and "Traceback" not in told.err
    sentences = [line for line in told.err.splitlines() if line.startswith("bench:")]
    assert len(sentences) == 1 and told.err.splitlines()[-1] == sentences[0], told.err
    for word in words:
        assert word in sentences[0]


def files(folder):
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--defense pgdat", ["'pgdat'", "did you mean 'pgd_at'?"]),
        ("--defense PGD_AT", ["'PGD_AT'", "did you mean 'pgd_at'?"]),
        ("--defense xyzzy", ["'xyzzy'", "bench list defenses"]),
        ("--defense pgd_at[stepz=3]", ["'stepz'", "did you mean 'steps'?"]),
        ("--defense pgd_at[steps=three]", ["'three'", "integer", "--set defense.steps=10"]),
        ("--defense pgd_at[steps=0]", ["0", "at least 1"]),
        ("--defense pgd_at[steps", ["'pgd_at[steps'", "NAME[field=value,...]"]),
        ("--defense pgd_at[3]", ["'3'", "expected field=value"]),
        ("--defense gone.py:Mine", ["'gone.py'", "PATH.py:CLASS"]),
        ("--defense gone.py", ["'gone.py'", "PATH.py:CLASS"]),
        ("--suite=", ["no suite is named ''"]),
        ("--suite whitebx", ["'whitebx'", "did you mean 'whitebox'?"]),
        ("--suite whitebox@7", ["'whitebox@7'", "has whitebox@1, whitebox@2"]),
        ("--data digts", ["'digts'", "did you mean 'digits'?"]),
        ("--data npz:", ["'npz:'", "--data npz:PATH"]),
        ("--data npz:gone.npz", ["gone.npz", "there is nothing at"]),
        ("--data folder:gone", ["gone", "there is nothing at"]),
        ("--data tiny_imagenet --offline --data-root gone", ["gone", "--data-root FOLDER"]),
        ("--arch resnet81", ["'resnet81'", "did you mean 'resnet18'?"]),
        ("--arch wide_resnet_17_4", ["'wide_resnet_17_4'", "6n + 4"]),
        ("--recipe shrt", ["'shrt'", "short"]),
        ("--norm l3", ["'l3'", "one of Linf, L2, L1, L0"]),
        ("--norm L2", ["L2", "without a radius", "--norm L2 --eps 0.5"]),
        ("--eps 8/25x", ["--eps is '8/25x'", "8/255"]),
        ("--eps -1/255", ["--eps is '-1/255'", "at least 0"]),
        ("--eps 1/0", ["--eps is '1/0'"]),
        ("--eps 1e99999", ["--eps is '1e99999'"]),
        ("--eps 1e999999999", ["--eps is '1e999999999'"]),
        ("--eps 1/3/5", ["--eps is '1/3/5'"]),
        ("--eps ٣", ["--eps is '٣'"]),
        ("--eps=", ["--eps is ''"]),
        ("--norm L2 --eps 1e400", ["--eps is '1e400'", "at most 10,000,000"]),
        ("--norm L2 --eps 1e9", ["--eps is '1e9'", "at most 10,000,000"]),
        ("--eps 1e-40", ["--eps is '1e-40'"]),
        ("--train-eps 1e999999999", ["--train-eps is '1e999999999'"]),
        ("--fail-under 1e999999999", ["--fail-under is '1e999999999'", "from 0 to 100"]),
        ("--fail-under nan", ["--fail-under is 'nan'"]),
        ("--eps nan", ["--eps is 'nan'"]),
        ("--eps 8", ["--eps is '8'", "at most 1", "--eps 8/255"]),
        ("--train-eps big", ["--train-eps is 'big'", "--train-eps 8/255"]),
        ("--examples 0", ["--examples is '0'", "at least 1, or all"]),
        ("--examples abc", ["--examples is 'abc'", "at least 1, or all"]),
        ("--examples 1.5", ["--examples is '1.5'"]),
        ("--batch-size 0", ["--batch-size is '0'", "at least 1, or auto"]),
        ("--batch-size many", ["--batch-size is 'many'", "auto"]),
        ("--seed -1", ["--seed", "-1"]),
        ("--seed one", ["--seed", "'one'", "number"]),
        ("--seed ٣", ["--seed", "'٣'", "number"]),
        ("--seed 9223372036854775808", ["--seed", "9223372036854775808"]),
        ("--workers 1000000", ["--workers", "1000000"]),
        ("--devices 1000000", ["--devices", "1000000"]),
        ("--resize 1000000", ["--resize", "1000000"]),
        ("--examples 99999999999999999999", ["--examples is '9999", "at least 1, or all"]),
        ("--examples ٣", ["--examples is '٣'"]),
        ("--batch-size ²", ["--batch-size is '²'"]),
        ("--checkpoint ~nobody_of_this_name/w.pt", ["~nobody_of_this_name", "home folder"]),
        ("--set recipe.epochs=99999999999999999999", ["recipe.epochs is '9999", "at most 9,223"]),
        (
            "--suite whitebox --set attack.pgd_20.step_size=1e999999999",
            ["step_size is '1e999999999'", "expected a number"],
        ),
        ("--devices 0", ["--devices", "0"]),
        ("--checkpoint bst", ["'bst'", "best", "last"]),
        ("--device gpu", ["'gpu'", "auto, cpu, cuda or cuda:N"]),
        ("--device meta", ["'meta'", "auto, cpu, cuda or cuda:N"]),
        ("--device cuda:99", ["'cuda:99'", "not available", "--device auto"]),
        ("--rerun --accept-stale", ["--rerun", "--accept-stale", "expected one"]),
        ("--sed 1", ["'--sed'", "did you mean '--seed'?"]),
        ("--eps", ["--eps", "requires an argument"]),
        ("surplus", ["surplus", "bench run --help"]),
        ("--set recipe.epochs", ["'recipe.epochs'", "KEY=VALUE"]),
        ("--set sute.chunk=4", ["'sute'", "--set suite.chunk="]),
        ("--set epochs=4", ["'epochs'", "expected defense, recipe"]),
        ("--set recipe.epoch=4", ["'epoch'", "did you mean 'epochs'?"]),
        ("--set recipe.epochs=0", ["recipe.epochs is 0", "at least 1", "--set recipe.epochs=30"]),
        ("--set recipe.epochs=few", ["recipe.epochs is 'few'", "integer", "--set recipe.epochs=5"]),
        ("--set recipe.optimizer=lion", ["recipe.optimizer is 'lion'", "'sgd' or 'adam'"]),
        ("--set recipe.learning_rate=nan", ["recipe.learning_rate is 'nan'", "finite"]),
        ("--set recipe.momentum=1.5", ["recipe.momentum is 1.5", "below 1"]),
        ("--set recipe.name=mine", ["recipe.name=mine", "other than name"]),
        ("--set recipe.epochs=3 --set recipe.epochs=4", ["recipe.epochs twice", "'3' and '4'"]),
        ("--set recipe.precision=fp16 --device cpu", ["'fp16' on a CPU", "recipe.precision=bf16"]),
        ("--set defense.label_smoothing=2", ["label_smoothing is 2", "[0, 1)"]),
        ("--set suite.chunk=0", ["suite.chunk is 0", "at least 1"]),
        ("--set suite.examples=0", ["0", "at least 1"]),
        ("--set suite.name=mine", ["suite.name=mine", "other than name"]),
        ("--set suite.trials=pgd", ["suite.trials=pgd", "other than name, version, trials"]),
        ("--suite whitebox --set attack.pgd20.steps=5", ["'pgd20'", "did you mean 'pgd_20'?"]),
        ("--suite whitebox --set attack.pgd_20.stepz=5", ["'stepz'", "did you mean 'steps'?"]),
        ("--suite whitebox --set attack.pgd_20.steps=0", ["0", "at least 1", "--set attack.pgd_20.steps=1"]),
        ("--suite whitebox --set attack.pgd_20.step_size=-1", ["-1", "above 0"]),
        ("--suite whitebox --set attack.pgd_20.loss=hinge", ["attack.pgd_20.loss is 'hinge'", "'margin'"]),
        ("--suite whitebox --set attack.pgd_20=5", ["'attack.pgd_20=5'", "attack.COLUMN.PARAMETER=VALUE"]),
        ("--set numerics.precision=fp8", ["numerics.precision is 'fp8'", "'bf16'"]),
        ("--set numerics.eot_samples=0", ["numerics.eot_samples is 0", "at least 1"]),
    ],
)
def test_a_bad_word_is_named_with_what_was_expected(bench, elsewhere, words, told):
    refused(bench("run", *words.split(" "), usual=STANDARD[1:]), *told)
    assert files(elsewhere) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
def test_cuda_is_refused_where_there_is_none(bench, elsewhere):
    refused(bench(*STANDARD, "--device", "cuda"), "'cuda' is not available", "auto, cpu")
    assert files(elsewhere) == []


def test_a_defense_must_be_named(bench):
    refused(bench("run"), "missing option '--defense'", "bench run --help")


def without(name):
    return lambda held: {key: value for key, value in held.items() if key != name}


def changed(name, change):
    return lambda held: {**held, name: change(held[name])}


def with_pixel(value):
    def change(x):
        x = x.copy()
        x[3, 0, 1, 2] = value
        return x

    return change


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (changed("x_train", with_pixel(np.nan)), ["image 3", "nan", "row 1, column 2", "[0, 1]"]),
        (changed("x_train", with_pixel(np.inf)), ["image 3", "inf", "[0, 1]"]),
        (changed("x_test", with_pixel(1.5)), ["test set", "image 3", "1.5", "[0, 1]"]),
        (changed("x_test", with_pixel(-0.25)), ["test set", "image 3", "-0.25", "[0, 1]"]),
        (changed("x_test", lambda x: x * 255), ["in [0, 1]", "range=0,255"]),
        (changed("x_train", lambda x: x.reshape(len(x), -1)), ["x_train", "[240, 16]", "[N, H, W]"]),
        (changed("x_test", lambda x: x[:, :, :3]), ["[1, 3, 4]", "expected [1, 4, 4]"]),
        (changed("x_test", lambda x: x[:0]), ["0 images and 120 labels"]),
        (changed("x_train", lambda x: (x * 255).astype(int)), ["int64", "uint8"]),
        (changed("y_train", lambda y: y[:-1]), ["240 images and 239 labels"]),
        (changed("y_train", lambda y: y / 2), ["float64", "integers"]),
        (changed("y_train", lambda y: y * 0), ["label 0", "at least two classes"]),
        (changed("y_train", lambda y: y * 2), ["label 1", "without a gap"]),
        (changed("y_test", lambda y: y + 1), ["label 2", "expected 0 to 1"]),
        (changed("x_train", lambda x: np.array([None, {}], dtype=object)), ["plain arrays"]),
        (without("y_test"), ["not y_test", "expected x_test and y_test"]),
    ],
)
def test_arrays_that_are_no_data_set(bench, linear, arrays, elsewhere, make, told):
    np.savez("mine.npz", **make(arrays))
    refused(bench("run", "--defense", linear, "--data", "npz:mine.npz", "--suite", "smoke"), "mine", *told)
    assert files(elsewhere) == ["mine.npz"]


@pytest.mark.parametrize("content", [b"", b"plain text", b"<!DOCTYPE html><html></html>", "half"])
def test_files_that_are_no_npz(bench, linear, arrays, elsewhere, content):
    np.savez("whole.npz", **arrays)
    whole = Path("whole.npz").read_bytes()
    Path("whole.npz").unlink()
    Path("mine.npz").write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    told = bench("run", "--defense", linear, "--data", "npz:mine.npz", "--suite", "smoke")
    refused(told, "mine.npz is not a readable npz file")
    assert files(elsewhere) == ["mine.npz"]


def test_folders_that_are_no_data_set(bench, linear, elsewhere):
    words = ["run", "--defense", linear, "--suite", "smoke", "--data"]
    Path("empty").mkdir()
    refused(bench(*words, "folder:empty"), "empty has 0 folders", "at least two classes")
    refused(bench(*words, "npz:empty"), "empty is not a file", "x_train")
    for name in ("cats", "dogs"):
        Path("empty", name).mkdir()
    refused(bench(*words, "folder:empty"), "cats has no images", ".png")
    for name in ("cats", "dogs"):
        for number in range(3):
            Path("empty", name, f"{number}.png").write_text("no picture")
    refused(bench(*words, "folder:empty"), "0.png cannot be read as an image")
    refused(bench(*words, "folder:empty/cats/0.png"), "0.png is not a folder")
    assert not Path("runs").exists()


@pytest.mark.parametrize("store", ["file", "file/in", "file/far/in"])
def test_a_store_that_cannot_be_one(bench, elsewhere, store):
    Path("file").write_text("mine")
    refused(bench(*STANDARD, "--store", store), f"the store {store!r}", "writable folder", "--store FOLDER")
    assert files(elsewhere) == ["file"] and Path("file").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is closed to root")
def test_a_store_that_may_not_be_written(bench, elsewhere):
    Path("closed").mkdir(mode=0o500)
    refused(bench(*STANDARD, "--store", "closed"), "'closed'", "permission denied", "--store FOLDER")
    refused(bench(*STANDARD, "--store", "closed/in"), "'closed/in'", "permission denied")


def test_a_folder_of_boards_that_cannot_be_one_is_told_before_any_work(bench, elsewhere):
    Path("file").write_text("mine")
    refused(bench(*STANDARD, "--board", "file"), "the folder of boards 'file'", "--board FOLDER")
    assert files(elsewhere) == ["file"]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("mine", "class X(:", ["SyntaxError", "line 1"]),
        ("mine", "import no_such_module_anywhere", ["ModuleNotFoundError", "no_such_module_anywhere"]),
        ("mine", "a = 1\n\nb = a / 0\n", ["ZeroDivisionError", "line 3"]),
        ("mine", "class XY: ...", ["has no defense class 'X'", "did you mean 'XY'?"]),
        ("mine", "class X:\n    pass", ["has no requires", "build, fit and deploy"]),
        ("mine", "class X:\n    requires = build = fit = deploy = None", ["is not a dataclass"]),
        ("mine", "class X:\n    def __init__(self, a): ...", ["without arguments", "default"]),
        ("random", "", ["the name of another module, 'random'", "my_random.py"]),
        ("my-defense", "", ["'my-defense'", "no name of a module"]),
    ],
)
def test_a_file_that_is_no_defense(bench, elsewhere, name, text, told):
    import random

    Path(f"{name}.py").write_text(text)
    refused(bench("run", "--defense", f"{name}.py:X", "--data", "synthetic"), f"{name}.py", *told)
    assert not Path("runs").exists() and sys.modules["random"] is random


@pytest.fixture
def trained(bench, linear, linear_data):
    """The folder of complete weights, and the command that uses them next; its run is not computed yet."""
    words = ["run", "--defense", linear, "--data", linear_data, "--suite", "smoke", "--eps", "1/20"]
    record = from_json(bench(*words, "--json", "--examples", "40").out)
    return Path("runs", "models", record.training.training_id), words


def other_network(path):
    safetensors.numpy.save_file({"conv.weight": np.zeros((3, 3), np.float32)}, path)


def other_size(path):
    tensors = {"1.weight": np.zeros((2, 9), np.float32), "1.bias": np.zeros(2, np.float32)}
    safetensors.numpy.save_file(tensors, path)


def not_numbers(path):
    tensors = {"1.weight": np.full((2, 16), np.nan, np.float32), "1.bias": np.zeros(2, np.float32)}
    safetensors.numpy.save_file(tensors, path)


DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:60]),
    "empty": lambda path: path.write_bytes(b""),
    "web page": lambda path: path.write_text("<!DOCTYPE html><html>404</html>"),
    "pointer": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
    "other network": other_network,
    "other size": other_size,
    "not numbers": not_numbers,
    "gone": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_weights_that_are_not_what_was_trained(bench, trained, damage):
    folder, words = trained
    DAMAGES[damage](folder / "best.safetensors")
    before = sorted(files(Path("runs")))
    state = "is missing" if damage == "gone" else "was changed after its training"
    refused(bench(*words), "best.safetensors", state, f"rm -r {folder}")
    assert sorted(files(Path("runs"))) == before, "no record, no cell"
    shutil.rmtree(folder)
    assert bench(*words).code == 0, "what the sentence advises mends it"


@pytest.mark.parametrize("damage", DAMAGES)
def test_weights_of_the_last_epoch_that_do_not_fit(bench, trained, damage):
    folder, words = trained
    DAMAGES[damage](folder / "last.safetensors")
    before = sorted(files(Path("runs")))
    state = "is damaged" if damage == "gone" else "was changed after its training"
    refused(bench(*words, "--checkpoint", "last"), f"last.safetensors {state}", f"rm -r {folder}")
    assert sorted(files(Path("runs"))) == before


@pytest.mark.parametrize("name", ["training.json", "spec.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe"])
def test_notes_beside_weights_that_are_damaged(bench, trained, name, content):
    folder, words = trained
    (folder / name).write_bytes(content)
    refused(bench(*words), f"{name} is damaged", f"rm -r {folder}")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema": 99}', b'{"schema": 1}', b"\xff\xfe"])
def test_a_record_that_is_damaged(bench, trained, content):
    _, words = trained
    (record,) = Path("runs").glob("*/record.json")
    record.write_bytes(content)
    refused(bench(*words, "--examples", "40"), str(record), "record")
    left_out = bench("board")
    assert left_out.code == 2 and str(record) in left_out.err
    assert "1 result that cannot be read" in left_out.err
    refused(bench("show", "record", record), str(record))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe"])
def test_a_damaged_note_of_a_run_costs_nothing_as_each_cell_says_whose_it_is(bench, trained, content):
    _, words = trained
    (record,) = Path("runs").glob("*/record.json")
    before = json.loads(record.read_text())
    record.unlink()
    (record.parent / "spec.json").write_bytes(content)
    told = bench(*words, "--examples", "40")
    assert told.code == 0 and "computed by other code" not in told.err
    assert json.loads(record.read_text())["columns"] == before["columns"], "their seconds, too"


def test_a_training_state_of_another_run_is_refused(bench, tmp_path):
    words = [*STANDARD, "--suite", "smoke", "--examples", "20", "--set", "recipe.epochs=1"]
    assert bench(*words).code == 0
    (folder,) = Path("runs", "models").iterdir()
    (folder / "training.json").unlink()
    (folder / "state.ckpt").write_bytes(b"no state")
    shutil.rmtree(next(path.parent for path in Path("runs").glob("*/record.json")))
    refused(bench(*words), "state.ckpt cannot be read to resume", f"rm {folder / 'state.ckpt'}")
    (folder / "state.ckpt").unlink()
    assert bench(*words).code == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("show data digts", ["'digts'", "did you mean 'digits'?"]),
        ("show defense pgdat", ["'pgdat'", "did you mean 'pgd_at'?"]),
        ("show recipe mnist papr", ["'papr'", "did you mean 'paper"]),
        ("show record gone", ["'gone'", "bench list runs"]),
        ("board gone", ["'gone'", "bench list runs"]),
        ("board --format tabel", ["'tabel'", "'table'"]),
        ("board --verify gone", ["'gone'", "does not exist"]),
        ("publish gone", ["'gone'", "bench list runs"]),
        ("check pgdat", ["'pgdat'", "did you mean 'pgd_at'?"]),
        ("check gone.py:X", ["'gone.py'", "PATH.py:CLASS"]),
        ("check standard --set defense.smooth=1", ["'smooth'", "label_smoothing"]),
        ("check standard --set recipe.epochs=3", ["recipe", "defense.PARAMETER=VALUE"]),
        ("check pgd --set attack.fgsm.steps=3", ["attack.fgsm", "attack.pgd.PARAMETER=VALUE"]),
        ("train --defense pgdat", ["'pgdat'", "did you mean 'pgd_at'?"]),
        ("train --defense pgd_at --train-eps=-1", ["--train-eps is '-1'"]),
        ("trian", ["'trian'", "did you mean 'train'?"]),
        ("new defense 1x", ["'1x'", "bench new defense my_defense"]),
    ],
)
def test_mistakes_of_other_commands(bench, elsewhere, words, told):
    refused(bench(*words.split(" ")), *told)
    assert files(elsewhere) == []


@pytest.mark.parametrize(
    "words", ["run --defense pgd_at --eps 8/25x", "run --defense pgd_at --data npz:gone"]
)
def test_a_real_process_exits_2_with_one_line(elsewhere, environment, words):
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words.split(" ")],
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("bench: ") and done.stderr.count("\n") == 1
    assert files(elsewhere) == []


TYPED = ("--defense", "--data", "--eps", "--label", "--store", "--set", "--checkpoint")
"""Options that take text."""


@pytest.mark.parametrize("letter", ["\n", "\t", "\x1b", "\x00", "\udcff", "\u2028", "\x85"])
@pytest.mark.parametrize(
    "option", ["--defense", "--data", "--eps", "--label", "--store", "--set", "--checkpoint"]
)
def test_no_word_has_letters_that_are_none(bench, elsewhere, option, letter):
    refused(bench(*STANDARD, option, f"a{letter}b"), repr(letter), "no letter")
    assert files(elsewhere) == []


@pytest.mark.parametrize(
    "option", ["--defense", "--data", "--eps", "--label", "--store", "--set", "--checkpoint"]
)
def test_no_word_is_without_end(bench, elsewhere, option):
    refused(bench(*STANDARD, option, "x" * 5000), "5,000 letters", "at most 4,096")
    assert files(elsewhere) == []


@pytest.mark.parametrize("place", ["--junit", "--board"])
def test_a_device_is_not_replaced_by_a_file(bench, tmp_path, place):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    told = bench(*STANDARD, "--suite", "smoke", "--set", "recipe.epochs=1", "--examples", "4", place, pipe)
    assert told.code == 2 and "Traceback" not in told.err, told.err
    assert pipe.is_fifo()
