"""A training ends with the same bits however often it was interrupted, and leaves its weights on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.api import Batch, FitContext, Task, Terms
from bench.attacks.pgd import PGD
from bench.data.dataset import Dataset
from bench.errors import BadCheckpoint, BadValue, TrainingFailed
from bench.train.checkpoints import Checkpoints, load_weights
from bench.train.fit import Trained, train
from bench.train.loop import fit_classifier
from bench.train.recipe import Recipe


class Killed(BaseException):
    pass


@dataclass
class Fuse:
    """Breaks a training at its k-th batch."""

    left: int

    def __call__(self, batch: Batch) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


def _train(defense: Any, data: Dataset, recipe: Recipe, folder: Path, **changes: Any) -> Trained:
    settings: dict[str, Any] = {
        "budget": data.budget,
        "recipe": recipe,
        "seed": 0,
        "identity": "test",
        "parents": {},
        "folder": folder,
        "device": "cpu",
    }
    return train(defense, data, data.task(), **{**settings, **changes})


def _weights(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "best.safetensors").read_bytes(), (folder / "last.safetensors").read_bytes()


def _figures(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "log.csv").drop(columns=["images_per_second", "seconds"])


def _interrupted(
    make: Callable[[Any], Any], data: Dataset, recipe: Recipe, folder: Path, *fuses: int
) -> None:
    for fuse in fuses:
        with pytest.raises(Killed):
            _train(make(Fuse(fuse)), data, recipe, folder)
        assert Checkpoints(folder).result() is None
    _train(make(None), data, recipe, folder)


SETTINGS: list[dict[str, Any]] = [
    {},
    {"optimizer": "adam", "learning_rate": 1e-2, "schedule": "one_cycle", "ema_decay": 0.0},
    {"select": "last", "schedule": "cosine", "clip_norm": 1.0, "eps_warmup": 0.6},
    {"precision": "bf16", "channels_last": True, "nesterov": True, "schedule": "constant"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "-".join(settings) or "plain")
@pytest.mark.parametrize("steps", [0, 2])
def test_interrupted_equals_uninterrupted(
    toy: Any, data: Dataset, recipe: Recipe, tmp_path: Path, steps: int, settings: dict[str, Any]
) -> None:
    recipe = replace(recipe, **settings)
    straight = _train(toy(steps), data, recipe, tmp_path / "a")
    # in the first epoch, in the second (4 batches each), and in the last one
    _interrupted(lambda fuse: toy(steps, fuse), data, recipe, tmp_path / "b", 2, 7, 4)
    assert _weights(tmp_path / "a") == _weights(tmp_path / "b")
    pd.testing.assert_frame_equal(_figures(tmp_path / "a"), _figures(tmp_path / "b"))
    again = _train(toy(steps), data, recipe, tmp_path / "b")
    assert again.sha256 == straight.sha256
    assert again.validation_robust_accuracy == straight.validation_robust_accuracy


@dataclass(frozen=True)
class Staged:
    """Parts trained one after the other, with random code between; one of them lies outside the network."""

    requires: ClassVar[Mapping[str, str]] = {}
    paper: ClassVar[str] = "a toy"
    reconstruction: ClassVar[str | None] = None

    before: Callable[[Batch], None] | None = None

    def build(self, task: Task) -> nn.Module:
        return nn.ModuleDict({"first": _linear(), "second": _linear(), "untrained": nn.BatchNorm2d(1)})

    def fit(self, net: nn.Module, context: FitContext) -> None:
        outside = _linear()
        parts = [net["first"], outside, net["second"]]  # type: ignore[index]
        for number, part in enumerate(parts):
            with torch.no_grad():  # a start that depends on the part before, and on chance
                before = parts[number - 1][1].weight if number else 0.0
                part[1].weight.copy_(before + 0.01 * torch.randn(3, 64))

            def step(model: nn.Module, batch: Batch) -> Terms:
                if self.before is not None:
                    self.before(batch)
                x = context.attack(model, PGD(steps=1), batch.x, batch.y)
                return {"adversarial": F.cross_entropy(model(net["untrained"](x)), batch.y)}  # type: ignore[index]

            net["untrained"].train()  # type: ignore[index]
            fit_classifier(part, context, step)
        net["first"][1].bias.data.add_(1.0)  # type: ignore[index]


def _linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


def test_stages_resume_where_they_were(data: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(recipe, epochs=2)
    straight = _train(Staged(), data, recipe, tmp_path / "a")
    # 8 batches a stage: in the first, in the second, early and late in the third
    _interrupted(Staged, data, recipe, tmp_path / "b", 6, 8, 9, 7)
    assert _weights(tmp_path / "a") == _weights(tmp_path / "b")
    figures = _figures(tmp_path / "b")
    pd.testing.assert_frame_equal(_figures(tmp_path / "a"), figures)
    assert figures["stage"].tolist() == [1, 1, 2, 2, 3, 3] and straight.epochs == 6
    net = Staged().build(data.task())
    load_weights(straight.weights, net)
    assert net["untrained"].num_batches_tracked > 0  # type: ignore[index]


SCRIPT = """
import os, signal, sys, time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from bench.attacks.pgd import PGD
from bench.data.load import load
from bench.train.fit import train
from bench.train.loop import fit_classifier
from bench.train.recipe import Recipe


@dataclass(frozen=True)
class Toy:
    requires: ClassVar[dict] = {}
    kill_at: int = 0
    mode: str = "eval"

    def build(self, task):
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1), nn.Flatten(), nn.Linear(144, 3)
        )

    def fit(self, net, context):
        steps = 0

        def step(model, batch):
            nonlocal steps
            steps += 1
            if steps == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            x_adv = context.attack(model, PGD(steps=1), batch.x, batch.y, mode=self.mode)
            seen = context.checkpoints.folder.parent / f"seen-{context.fabric.global_rank}"
            seen.write_text(str(batch.ids.tolist()))
            return {"adversarial": F.cross_entropy(model(x_adv), batch.y)}

        fit_classifier(net, context, step)
        left = context.checkpoints.folder.parent / f"left-{context.fabric.global_rank}"
        left.write_text(str([tensor.tolist() for tensor in net.state_dict().values()]))


class Told:
    def start(self, *a): print("start", flush=True)
    def advance(self, *a, **k): print("advance", a[0], flush=True)
    def say(self, message): print(message)
    def finish(self): print("finish", flush=True)


def run(folder, epochs, kill_at=0, devices=1, mode="eval"):
    data = load("synthetic")
    recipe = Recipe("toy", epochs=epochs, batch_size=32, learning_rate=0.05, validation_steps=1)
    return train(
        Toy(kill_at, mode), data, data.task(), budget=data.budget, recipe=recipe, seed=0, identity="test",
        parents={}, folder=Path(folder), device="cpu", devices=devices, progress=Told(),
    )


def die(seconds, *arguments):
    child = os.fork()
    if child == 0:
        run(*arguments)
        os._exit(0)
    if seconds:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    torch.set_num_threads(1)
    exec(sys.argv[1])
"""


def _run(folder: Path, code: str) -> list[str]:
    """What a process of its own prints that runs the code."""
    path = folder / "script.py"
    path.write_text(SCRIPT)
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, str(path), code],
        env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")


@needs_fork
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_killed_within_an_epoch(mode: str, tmp_path: Path) -> None:
    code = f"""
status = die(0, "b", 3, 13, 1, "{mode}")  # in the second epoch of 8 batches
print("died", status, sorted(os.listdir("b")))
run("b", 3, mode="{mode}")
run("a", 3, mode="{mode}")
"""
    lines = _run(tmp_path, code)
    assert "died -9 ['best.safetensors', 'log.csv', 'state.ckpt']" in lines
    assert _weights(tmp_path / "a") == _weights(tmp_path / "b")


@needs_fork
@pytest.mark.slow
def test_killed_again_and_again_at_any_moment(tmp_path: Path) -> None:
    """The blows fall between batches, during validation and while files are written."""
    code = """
deaths = 0
for blow in range(60):
    status = die(0.1 + 0.037 * blow % 0.3, "b", 40)
    deaths += status == -9
    if status == 0:
        break
print("deaths", deaths)
run("b", 40)
run("a", 40)
"""
    lines = _run(tmp_path, code)
    assert any(line.startswith("deaths") and int(line.split()[1]) >= 3 for line in lines), lines
    assert _weights(tmp_path / "a") == _weights(tmp_path / "b")
    pd.testing.assert_frame_equal(_figures(tmp_path / "a"), _figures(tmp_path / "b"))


def test_a_training_in_a_job_of_a_queue_is_the_same_training(
    toy: Any, data: Dataset, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm says in variables how many tasks a job has; Fabric would take them for processes to wait for."""
    _train(toy(None), data, recipe, tmp_path / "alone")
    for name, value in {"SLURM_NTASKS": "4", "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "study"}.items():
        monkeypatch.setenv(name, value)
    _train(toy(None), data, recipe, tmp_path / "job")
    assert _weights(tmp_path / "alone") == _weights(tmp_path / "job")


@pytest.mark.slow
def test_two_processes_share_every_batch(tmp_path: Path) -> None:
    code = 'print("robust", run("two", 10, devices=2, mode="train").validation_robust_accuracy)'
    lines = _run(tmp_path, code)
    assert lines.count("start") == lines.count("finish") == 1, "one bar, not one for each process"
    assert sum(int(line.split()[1]) for line in lines if line.startswith("advance")) == 10 * 256
    seen = [set(json.loads((tmp_path / f"seen-{rank}").read_text())) for rank in (0, 1)]
    assert len(seen[0]) == len(seen[1]) == 16 and not seen[0] & seen[1]
    assert float(lines[-1].split()[1]) > 0.6, "two processes must learn, too"
    assert len(pd.read_csv(tmp_path / "two" / "log.csv")) == 10
    one, other = ((tmp_path / f"left-{rank}").read_text() for rank in (0, 1))
    assert one == other and len(one) > 1000, "weights and BatchNorm's statistics"


def test_what_is_left_on_disk(toy: Any, data: Dataset, recipe: Recipe, tmp_path: Path, make_net: Any) -> None:
    trained = _train(toy(), data, recipe, tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "best.safetensors",
        "last.safetensors",
        "log.csv",
        "training.json",
    ]
    assert trained.weights == tmp_path / "a" / "best.safetensors"
    log = pd.read_csv(tmp_path / "a" / "log.csv")
    kept = log.iloc[trained.epoch - 1]
    assert trained.epochs == len(log) == 3
    assert trained.validation_robust_accuracy == pytest.approx(kept["robust_accuracy"], abs=1e-5)
    assert trained.validation_robust_accuracy == pytest.approx(log["robust_accuracy"].max(), abs=1e-5)
    assert trained.seconds == pytest.approx(log["seconds"].sum(), rel=1e-3)
    net = make_net()
    load_weights(trained.weights, net)
    x, y = data.validation.batch(torch.arange(len(data.validation)))
    accuracy = (net.eval()(x).argmax(1) == y).float().mean().item()
    assert accuracy == pytest.approx(trained.validation_clean_accuracy), "weights and figures belong together"


def test_it_learns_to_be_robust(toy: Any, data: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    data = replace(data, augmentation="none")
    trained = _train(toy(), data, replace(recipe, epochs=8), tmp_path)
    assert trained.validation_robust_accuracy is not None and trained.validation_robust_accuracy > 0.8


def test_a_complete_folder_is_returned_at_once(
    toy: Any, data: Dataset, recipe: Recipe, tmp_path: Path
) -> None:
    first = _train(toy(), data, recipe, tmp_path)
    assert _train(toy(before=Fuse(1)), data, recipe, tmp_path) == first


def test_seed_and_identity_change_the_weights_and_the_caller_s_stream_does_not(
    toy: Any, data: Dataset, recipe: Recipe, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    first = _train(toy(), data, recipe, tmp_path / "a")
    drawn = torch.rand(2)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(2), drawn), "training must not move the caller's random stream"
    torch.manual_seed(6)
    assert _train(toy(), data, recipe, tmp_path / "b").sha256 == first.sha256
    assert _train(toy(), data, recipe, tmp_path / "c", seed=1).sha256 != first.sha256
    assert _train(toy(), data, recipe, tmp_path / "d", identity="other").sha256 != first.sha256


@dataclass(frozen=True)
class Untrained:
    requires: ClassVar[Mapping[str, str]] = {}
    paper: ClassVar[str] = "a toy"
    reconstruction: ClassVar[str | None] = None

    def build(self, task: Task) -> nn.Module:
        return _linear()

    def fit(self, net: nn.Module, context: FitContext) -> None:
        net[1].weight.data.fill_(0.5)  # type: ignore[index,union-attr]


def test_a_defense_that_trains_nothing(data: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    trained = _train(Untrained(), data, recipe, tmp_path)
    assert (trained.epoch, trained.epochs, trained.validation_robust_accuracy) == (0, 0, None)
    for name in ("best", "last"):
        net = _linear()
        load_weights(tmp_path / f"{name}.safetensors", net)
        assert (net[1].weight == 0.5).all()  # type: ignore[index,union-attr]


@dataclass(frozen=True)
class Pupil(Untrained):
    def fit(self, net: nn.Module, context: FitContext) -> None:
        teacher = context.parents["teacher"]
        assert not teacher.training and not any(p.requires_grad for p in teacher.parameters())
        teacher[0].weight.data.zero_()  # type: ignore[index,union-attr]


def test_parents_are_lent_frozen_and_as_copies(data: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    teacher = nn.Sequential(nn.Linear(2, 2)).train()
    _train(Pupil(), data, recipe, tmp_path, parents={"teacher": teacher})
    assert teacher.training and teacher[0].weight.requires_grad and teacher[0].weight.abs().sum() > 0


def test_another_recipe_does_not_go_on_in_the_same_folder(
    toy: Any, data: Dataset, recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        _train(toy(before=Fuse(6)), data, recipe, tmp_path)
    with pytest.raises(BadCheckpoint, match="of another training run"):
        _train(toy(), data, replace(recipe, learning_rate=0.01), tmp_path)


def test_a_failed_training_is_not_complete(toy: Any, data: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="not finite"):
        _train(toy(0), data, replace(recipe, learning_rate=1e30, ema_decay=0.0), tmp_path)
    assert not (tmp_path / "training.json").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"device": "gpu"}, "the device is 'gpu', expected auto, cpu, cuda or cuda:N"),
        ({"device": "cuda:x"}, "the device is 'cuda:x'"),
        ({"device": "cuda:99"}, "but CUDA has"),
        ({"devices": 0}, "devices is 0"),
        ({"recipe": Recipe("toy", precision="fp16")}, "'fp16' on a CPU"),
    ],
)
def test_devices_that_are_not_there(
    toy: Any, data: Dataset, recipe: Recipe, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadValue, match=sentence):
        _train(toy(), data, changes.pop("recipe", recipe), tmp_path, **changes)


def test_a_defense_from_a_loose_file_needs_one_device(data: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    loose = type("Loose", (), {"__module__": "a_file_that_nobody_can_import"})
    with pytest.raises(BadValue, match="Loose comes from a file that other processes cannot import"):
        _train(loose(), data, recipe, tmp_path, devices=2)
