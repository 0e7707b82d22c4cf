"""`bench`, `bench list` and `bench show`: they answer at once, and mistakes are told in a sentence."""

from __future__ import annotations

import dataclasses
import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli.list_ import list_
from bench.cli.main import COMMANDS, bench, main
from bench.cli.options import parse_settings
from bench.cli.show import field_comments
from bench.core.digest import content_id
from bench.core.threat import Knowledge
from bench.errors import BadValue, BenchError
from bench.records import documents
from bench.records.heading import Network
from bench.records.record import Record, to_json
from bench.studies.curve import record as curves
from bench.studies.curve.record import Curve, CurvePoint
from bench.studies.table import study
from bench.studies.transfer import record as transfer
from bench.studies.transfer.record import Transfer

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "torchvision", "pandas", "matplotlib", "lightning_fabric", "torchattacks")


def loaded_by(*arguments: str) -> list[str]:
    """Which heavy packages a command loads, in a process of its own."""
    code = f"""
import sys
from bench.cli.main import main
try:
    main({list(arguments)!r})
except SystemExit as left:
    code = left.code
print("LOADED", code, *[name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    words = done.stdout.splitlines()[-1].split() if done.stdout else [done.stderr]
    assert words[:2] == ["LOADED", "0"], done.stderr
    return words[2:]


def test_the_watch_for_heavy_packages_sees_one() -> None:
    assert "torch" in loaded_by("show", "suite", "smoke")


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["list"], ["list", "recipes", "--json"], ["show", "data", "digits"], ["new", "--help"]],
)
def test_loads_nothing_heavy(arguments: list[str]) -> None:
    assert loaded_by(*arguments) == []


def test_a_record_is_shown_without_torch(genuine: Callable[..., Record], tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(to_json(genuine()))
    assert loaded_by("show", "record", str(path)) == []
    assert loaded_by("board", str(path)) == []


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    """Exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as left:
        main(arguments)
    told = capsys.readouterr()
    return left.value.code, told.out, told.err


def test_every_command_exists_and_helps(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        code, out, _ = run(capsys, name, "--help")
        assert code == 0 and out.startswith(f"Usage: bench {name}")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(f"\n  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["lst"], "did you mean 'list'?"),
        (["quux"], "expected one of run, sweep, jobs, train"),
        (["list", "--jsn"], "--json"),
        (["list", "defences"], "expected one of defenses"),
        (["show", "siute", "smoke"], "did you mean 'suite'?"),
        (["show", "suite", "smokee"], "did you mean 'smoke'?"),
        (["show", "suite", "smoke@99"], "this version of bench has smoke@"),
        (["list", "runs", "--store", __file__], "a file, expected a folder of runs"),
        (["show", "record", "nothing"], "'nothing' leads to no record"),
        (["board", "--verify", "x", "--rebuild", "y"], "does not exist"),
    ],
)
def test_mistakes_exit_2_with_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert told in err and out == "" and "Traceback" not in err


def test_an_interrupt_exits_130_and_says_that_the_run_resumes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(list_, "callback", interrupted)
    code, _, err = run(capsys, "list")
    assert code == 130 and "goes on from where it stopped" in err


def test_a_folder_that_cannot_be_written_is_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", "runs/record.json")

    monkeypatch.setattr(list_, "callback", full)
    told = "bench: cannot write 'runs/record.json' (Read-only file system), expected a folder that can be"
    assert run(capsys, "list") == (2, "", f"{told} written\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_disk_is_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> None:
        with Path("/dev/full").open("wb", buffering=0) as file:
            file.write(b"weights")

    monkeypatch.setattr(list_, "callback", full)
    code, out, err = run(capsys, "list")
    assert code == 2 and out == "" and err.count("\n") == 1
    assert err.startswith("bench: the disk is full (No space left on device)")


def test_faults_of_ours_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise FileNotFoundError(2, "No such file", "ours")

    monkeypatch.setattr(list_, "callback", broken)
    with pytest.raises(FileNotFoundError):
        main(["list"])


def test_errors_are_told_with_what_to_type(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(**_: object) -> None:
        raise BenchError("eps is 'x', expected a number", "--eps 8/255")

    monkeypatch.setattr(list_, "callback", mistaken)
    assert run(capsys, "list") == (2, "", "bench: eps is 'x', expected a number; try: --eps 8/255\n")


def test_list_is_also_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "list", "--json", "--store", str(tmp_path))
    found = json.loads(out)
    assert code == 0
    assert list(found) == ["defenses", "attacks", "suites", "data", "architectures", "recipes", "runs"]
    assert found["runs"] == []
    for kind in ("defenses", "attacks", "suites", "data", "architectures", "recipes"):
        assert found[kind] and all(entry["name"] and entry["summary"] for entry in found[kind])
    assert {"name": "digits", "summary": "scikit-learn's handwritten digits; Linf 0.2, small_cnn"} in found[
        "data"
    ]


def test_a_suite_with_a_command_of_its_own_is_known_by_it(capsys: pytest.CaptureFixture[str]) -> None:
    _, listed, _ = run(capsys, "list", "suites")
    (line,) = [line for line in listed.splitlines() if line.startswith("detection ")]
    assert line.endswith("(bench detect)")
    code, out, _ = run(capsys, "show", "suite", "detection@1")
    told = " ".join(out.split())
    assert code == 0 and "command: bench detect NAME" in told
    assert "refuse 5 % of clean" in told and "10,000 clean training images" in told
    assert all(
        name in told for name in ("max_softmax", "gmm_10", "AUROC", "joint accuracy", "cw_100", "aware")
    )
    found = json.loads(run(capsys, "show", "suite", "detection", "--json")[1])
    assert found["protocol"]["false_positives"] == "1/20" and len(found["trials"]) == 4
    code, _, err = run(capsys, "run", "--defense", "pgd_at", "--suite", "detection")
    assert code == 2 and "try: bench detect pgd_at" in err


def test_list_runs(
    capsys: pytest.CaptureFixture[str], genuine: Callable[..., Record], tmp_path: Path
) -> None:
    (tmp_path / genuine().run_id).mkdir()
    (tmp_path / genuine().run_id / "record.json").write_text(to_json(genuine()))
    _, out, _ = run(capsys, "list", "runs", "--store", str(tmp_path))
    assert out.split()[0] == genuine().run_id
    assert "pgd_at under whitebox@1 on cifar10, Linf 8/255, seed 0: 45.1 [42.0, 48.2] %" in out


def test_list_runs_shows_whatever_a_store_holds(
    capsys: pytest.CaptureFixture[str], genuine: Callable[..., Record], tmp_path: Path
) -> None:
    made = genuine(data="digits", eps="0.2", seed=3)
    network = Network(
        defense="pgd_at",
        paper="Madry et al., ICLR 2018",
        reconstruction=None,
        architecture="small_cnn",
        recipe="short",
        training_id=made.spec["training"]["id"],
        sha256="0" * 64,
        checkpoint="best",
        clean=made.clean,
    )
    shared = {
        "data": "digits",
        "data_digest": "d" * 12,
        "norm": "Linf",
        "eps": "0.2",
        "seed": 3,
        "examples": 1000,
        "seconds": 1.0,
        "provenance": made.provenance,
    }
    of_two, of_one = {"runs": [made.spec, made.spec]}, {"run": made.spec}
    matrix = Transfer(
        schema=transfer.SCHEMA,
        id=content_id(of_two),
        spec=of_two,
        **shared,
        attack="PGD()",
        knowledge="white-box",
        networks=(network, dataclasses.replace(network, defense="trades")),
        robust=((made.clean, made.clean), (made.clean, made.clean)),
    )
    documents.write(study("transfer").where(tmp_path, matrix.id), matrix)
    points = tuple(
        CurvePoint(value, at, made.clean, made.worst_case, 1.0, 1.0, 1.0)
        for value, at in (("0", 0.0), ("1/2", 0.5))
    )
    curve = Curve(
        schema=curves.SCHEMA,
        id=content_id(of_one),
        spec=of_one,
        axis="eps",
        networks=(network,),
        **shared,
        attacks=("PGD()",),
        knowledge="white-box",
        points=points,
        findings=(),
        whole_box=1.0,
    )
    path = study("curve").where(tmp_path, curve.id)
    documents.write(path, curve)
    (tmp_path / "models" / "c").mkdir(parents=True)
    _, out, _ = run(capsys, "list", "runs", "--store", str(tmp_path))
    assert out.splitlines() == [
        "transfer matrices:",
        f"  {matrix.id}  pgd_at, trades on digits, Linf 0.2, seed 3, n = 1,000",
        "",
        "curves:",
        f"  {curve.id}  pgd_at over eps 0 to 1/2 on digits, Linf, seed 3: 45.1 % at the end",
    ]
    _, out, _ = run(capsys, "list", "runs", "--json", "--store", str(tmp_path))
    assert [(held["kind"], held["name"]) for held in json.loads(out)] == [
        ("transfer matrices", matrix.id),
        ("curves", curve.id),
    ]
    path.write_text("{")
    code, out, err = run(capsys, "list", "runs", "--store", str(tmp_path))
    assert code == 0 and matrix.id in out and curve.id not in out
    assert f"left out: {path} cannot be read" in err and "1 result that cannot be read was left out" in err


def test_show_suite_prints_what_every_attacker_may_see(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "show", "suite", "blackbox")
    square = out[out.index("\nsquare") :]
    assert "at most 5,000 for each example" in square and "Square(queries=5000" in square
    assert "gradients:  none" in square
    assert "digest:" in out and "step sizes are shares of eps" in out


def test_show_defense_prints_every_parameter(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "show", "defense", "pgd_at")
    assert "ICLR 2018" in out
    assert "step_size = 1/4" in out and "of eps: 2/255 of 8/255" in out
    _, out, _ = run(capsys, "show", "defense", "pgd_at", "--json")
    assert [field["name"] for field in json.loads(out)["fields"]] == [
        *("steps", "step_size", "attack_mode", "last_look")
    ]


def test_show_defense_knows_brackets_and_the_settings_of_a_data_set(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, out, _ = run(capsys, "show", "defense", "awp")
    assert "base = pgd_at" in out
    _, out, _ = run(capsys, "show", "defense", "awp[base=trades[beta=3]]")
    assert out.startswith("awp[base=trades[beta=3.0]]: ") and "base = trades[beta=3.0]" in out
    _, out, _ = run(capsys, "show", "defense", "trades")
    assert "beta = 6.0" in out and "on mnist, fashion_mnist: beta=1" in out
    _, out, _ = run(capsys, "show", "defense", "trades", "--data", "mnist")
    assert out.startswith("trades[preset=mnist]: ") and "beta = 1.0" in out and "steps = 40" in out
    _, out, _ = run(capsys, "show", "defense", "awp", "--data", "mnist", "--json")
    assert json.loads(out)["name"] == "awp[base=pgd_at[preset=mnist]]"


def test_show_record_by_the_beginning_of_its_id(
    capsys: pytest.CaptureFixture[str], alike: tuple[Record, Record], tmp_path: Path
) -> None:
    one, other = (record.run_id for record in alike)
    for record in alike:
        (tmp_path / record.run_id).mkdir()
        (tmp_path / record.run_id / "record.json").write_text(to_json(record))
    _, out, _ = run(capsys, "show", "record", one[:8], "--store", str(tmp_path))
    assert f"run: {one}" in out
    code, _, err = run(capsys, "show", "record", one[:1], "--store", str(tmp_path))
    assert code == 2 and f"{one}, {other}" in err


def test_publish_refuses_on_the_command_line(
    capsys: pytest.CaptureFixture[str], genuine: Callable[..., Record], tmp_path: Path
) -> None:
    path = tmp_path / "record.json"
    path.write_text(to_json(genuine(custom=True)))
    code, _, err = run(capsys, "publish", str(path), "--folder", str(tmp_path / "boards"))
    assert code == 2 and "is custom (its suite, numerics or surrogate" in err
    assert not (tmp_path / "boards").exists()


def test_board_verifies_what_is_published(
    capsys: pytest.CaptureFixture[str], genuine: Callable[..., Record], tmp_path: Path
) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / f"{genuine().run_id}.json").write_text(to_json(genuine()))
    assert run(capsys, "board", "--verify", str(tmp_path))[0] == 1
    assert run(capsys, "board", "--rebuild", str(tmp_path))[0] == 0
    code, out, _ = run(capsys, "board", "--verify", str(tmp_path))
    assert code == 0 and "\n0 of 1 records are fresh" in out


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    from bench import __version__

    assert __version__ in run(capsys, "--version")[1]


def test_settings_are_sorted_by_what_they_change() -> None:
    items = [
        "defense.margin=0.05",
        "recipe.epochs=3",
        "suite.examples=100",
        "attack.pgd_20.steps=50",
        "recipe.name=a=b",
    ]
    assert parse_settings(items) == {
        "defense": {"margin": "0.05"},
        "recipe": {"epochs": "3", "name": "a=b"},
        "suite": {"examples": "100"},
        "attack.pgd_20": {"steps": "50"},
    }


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ("defense.margin", "has no value"),
        ("=3", "has no value"),
        ("margin=3", "overrides 'margin'.*try: --set defense.margin="),
        ("defence.margin=3", "overrides 'defence'.*try: --set defense.margin="),
        ("defense=3", "does not say which parameter"),
        ("recipe.=3", "does not say which parameter"),
        ("attack.pgd_20=3", "which column and parameter"),
    ],
)
def test_settings_that_make_no_sense_are_one_sentence(item: str, told: str) -> None:
    with pytest.raises(BadValue, match=told):
        parse_settings([item])


def test_a_setting_is_given_once() -> None:
    with pytest.raises(BadValue, match=r"gives recipe\.epochs twice"):
        parse_settings(["recipe.epochs=3", "recipe.epochs=4"])


def test_every_option_states_its_default() -> None:
    import click

    context = click.Context(bench)
    for name in COMMANDS:
        command = bench.get_command(context, name)
        assert command is not None
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                told = parameter.show_default or "[default: " in str(parameter.help) or parameter.required
                assert told, f"bench {name} {parameter.opts[0]}"


def test_comments_beside_fields_are_their_documentation() -> None:
    assert field_comments(Knowledge)["max_queries"] == "per example; None: unlimited"
