"""`bench audit`, as its users type it, on a linear classifier whose robust accuracy is known."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.records.record import Record
from bench.records.seal import seal
from bench.records.store import read_record

Bench = Callable[..., Any]
EPS = "0.1"


@pytest.fixture
def bench(bench: Bench, linear_data: str) -> Bench:
    """The command; an audit is told where the data lie, for records do not know."""

    def call(*words: object) -> Any:
        return bench(*words, *(("--data", linear_data) if words[0] == "audit" else ()))

    return call


@pytest.fixture(scope="module")
def trained(linear: str, linear_data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one run of the linear classifier."""
    from bench.cli.main import main

    store = tmp_path_factory.mktemp("store")
    words = ("run", "--defense", linear, "--data", linear_data, "--suite", "smoke", "--examples", "120")
    with pytest.raises(SystemExit) as left:
        main([*words, "--eps", EPS, "--store", str(store)])
    assert left.value.code == 0
    return store


def record_in(store: Path) -> Record:
    (path,) = store.glob("*/record.json")
    return read_record(path)


def verdicts(record: Record) -> dict[str, str]:
    return {check.rule: check.verdict for check in record.audit}


def test_an_audit_is_told_and_kept(bench: Bench, trained: Path, robust_count: Callable[[float], int]) -> None:
    run_id = record_in(trained).run_id
    told = bench("audit", run_id[:6], "--store", trained)
    assert told.code == 0, told.err
    record = record_in(trained)
    assert len(record.audit) == 38
    found = verdicts(record)
    assert {
        found[rule]
        for rule in ("P1", "P2", "P4", "P5", "P6", "P7", "P8", "A1", "A3", "A6", "A21", "S1", "S8")
    } == {"pass"}
    assert {rule for rule, verdict in found.items() if verdict == "open"} >= {"A11", "A12", "S3"}
    detail = next(check.detail for check in record.audit if check.rule == "A3")
    assert detail.startswith(f"{robust_count(float(EPS))} of 120")
    counts = re.fullmatch(r"(\d+) warn, 0 block, (\d+) open of 38", told.out.splitlines()[-1])
    assert counts is not None
    assert int(counts[2]) == list(found.values()).count("open")
    first, *_ = re.findall(r"^(block|warn|open|info|pass) ", told.out, re.MULTILINE)
    assert first in ("warn", "open"), "the worst comes first"
    assert "bench run --defense" in told.out


@pytest.mark.parametrize("suite", ["fast@1", "fast", pytest.param("autoattack", marks=pytest.mark.slow)])
def test_more_steps_are_compared_with_the_run_itself(
    bench: Bench, linear: str, linear_data: str, tmp_path: Path, robust_count: Callable[[float], int], suite
) -> None:
    """A run without PGD: what its columns left is the truth here, and nothing more can be broken."""
    given = ("--examples", "all", "--eps", EPS, "--store", tmp_path / "runs")
    assert bench("run", "--defense", linear, "--data", linear_data, "--suite", suite, *given).code == 0
    assert bench("audit", "--all", "--store", tmp_path / "runs").code == 0
    checks = {check.rule: check for check in record_in(tmp_path / "runs").audit}
    told = f"which has no PGD, left {robust_count(float(EPS))} of 120 examples; PGD of 100 steps breaks 0"
    assert told in checks["A7"].detail
    assert {checks[rule].verdict for rule in ("A5", "A6", "A7", "A8", "A9", "A13")} == {"pass"}


def test_a_second_audit_computes_nothing_again(
    bench: Bench, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench("audit", "--all", "--store", trained)
    before = record_in(trained).audit

    def never(*_: Any) -> None:
        raise AssertionError("it was computed again")

    monkeypatch.setattr("bench.audit.audit._looked", never)
    assert bench("audit", "--all", "--store", trained).code == 0
    assert record_in(trained).audit == before


def test_what_other_code_found_is_computed_again(
    bench: Bench, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.audit import audit

    bench("audit", "--all", "--store", trained)
    (path,) = trained.glob("*/record.json")
    held = json.loads(path.read_text())
    code = {check["code"] for check in held["audit"]} - {None}
    assert len(code) == 1
    for check in held["audit"]:
        if check["rule"] == "A7":
            check |= {"verdict": "warn", "detail": "an older rule", "code": "0" * 12}
    path.write_text(seal(json.dumps(held)))
    stages, looked = [], audit._looked

    def noted(stage: audit.Stage, *rest: Any) -> Any:
        stages.append(stage.rules)
        return looked(stage, *rest)

    monkeypatch.setattr(audit, "_looked", noted)
    assert bench("audit", "--all", "--store", trained).code == 0
    assert stages == [("A7",)] and verdicts(record_in(trained))["A7"] == "pass"


def test_shifts_of_these_weights_close_their_rule(
    bench: Bench, linear: str, linear_data: str, tmp_path: Path
) -> None:
    """What was measured of other weights, or of corruptions alone, is told and does not."""

    def rule() -> Any:
        assert bench("audit", "--all", "--store", store).code == 0
        (check,) = [check for check in record_in(store).audit if check.rule == "A22"]
        return check

    store = tmp_path / "runs"
    given = ("--data", linear_data, "--examples", "20", "--store", store)
    bench("run", "--defense", linear, "--attack", "noise", *given, "--eps", EPS)
    bench("shift", f"{linear}[weights_seed=1]", *given)
    found = rule()
    assert found.verdict == "info" and found.command.startswith("bench shift ")
    assert "--eps" not in found.command
    bench("shift", linear, "--only", "contrast", *given)
    assert rule().detail.startswith("1 corruption measured, no rotations")
    bench("shift", linear, "--only", "poses", *given)
    found = rule()
    assert (found.verdict, found.detail) == ("pass", "also measured: 1 corruption and 775 poses")


def test_an_interrupted_audit_goes_on(bench: Bench, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.audit import audit

    stages, looked = [], audit._looked

    def twice(stage: audit.Stage, *rest: Any) -> Any:
        if len(stages) == 2:
            raise KeyboardInterrupt
        stages.append(stage.rules)
        return looked(stage, *rest)

    monkeypatch.setattr(audit, "_looked", twice)
    assert bench("audit", "--all", "--again", "--store", trained).code == 130
    held = verdicts(record_in(trained))
    assert set(held) == {rule for rules in stages for rule in rules}
    monkeypatch.setattr(audit, "_looked", looked)
    assert bench("audit", "--all", "--store", trained).code == 0
    assert len(record_in(trained).audit) == 38


def test_a_run_that_was_computed_again_meanwhile_is_not_put_back(
    bench: Bench, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record goes while the audit looks, as under `bench run --rerun`: it stays gone."""
    from bench.audit import audit

    store = shutil.copytree(trained, tmp_path / "store")
    (path,) = store.glob("*/record.json")
    looked = audit._looked

    def gone(*given: Any) -> Any:
        path.unlink(missing_ok=True)
        return looked(*given)

    monkeypatch.setattr(audit, "_looked", gone)
    told = bench("audit", path.parent.name, "--again", "--store", store)
    assert told.code == 2 and "was computed again while it was audited" in told.err
    assert not path.exists()


def test_stored_audits_are_shown_without_torch(trained: Path, bench: Bench) -> None:
    bench("audit", "--all", "--store", trained)
    script = (
        "import sys\nfrom bench.cli.main import main\n"
        "try: main(['audit', '--all', '--stored', '--json', '--store', sys.argv[1]])\n"
        "except SystemExit as left: assert not left.code, left.code\n"
        "assert 'torch' not in sys.modules, 'torch was loaded'"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(trained)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)[0]["audit"]) == 38


def test_an_audit_that_blocks_is_exit_code_1(bench: Bench, trained: Path, tmp_path: Path) -> None:
    bench("audit", "--all", "--store", trained)
    text = next(trained.glob("*/record.json")).read_text()
    spoilt = json.loads(text)
    spoilt["audit"][0]["verdict"] = "block"
    store = tmp_path / "store"
    (store / spoilt["run_id"]).mkdir(parents=True)
    (store / spoilt["run_id"] / "record.json").write_text(seal(json.dumps(spoilt)))
    told = bench("audit", "--all", "--stored", "--store", store)
    assert told.code == 1
    assert "1 block" in told.out.splitlines()[-1]


def test_a_record_shows_its_audit(bench: Bench, trained: Path) -> None:
    bench("audit", "--all", "--store", trained)
    told = bench("show", "record", record_in(trained).run_id, "--store", trained)
    assert "audit of" in told.out and told.out.rstrip().endswith("of 38")
    assert "| open | A12 |" in bench("audit", "--all", "--stored", "--markdown", "--store", trained).out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no run was named"),
        (("pgd_at", "--all"), "exclude each other"),
        (("--all", "--json", "--markdown"), "exclude each other"),
        (("pgd_at",), "bench run --defense pgd_at"),
        (("zzzzzz",), "no run in"),
        (("--all", "--device", "tpu"), "the device is 'tpu'"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    bench: Bench, trained: Path, words: tuple[str, ...], said: str
) -> None:
    told = bench("audit", *words, "--store", trained)
    assert told.code == 2
    assert said in told.err and "Traceback" not in told.err


def test_an_empty_store_names_the_command_to_begin_with(bench: Bench, tmp_path: Path) -> None:
    told = bench("audit", "trades", "--store", tmp_path / "none")
    assert (told.code, "bench run --defense trades" in told.err) == (2, True)


def test_last_weights_that_were_changed_are_refused(
    bench: Bench, linear: str, linear_data: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    words = ("--suite", "smoke", "--examples", "120", "--eps", EPS, "--checkpoint", "last", "--store", store)
    assert bench("run", "--defense", linear, "--data", linear_data, *words).code == 0
    record = record_in(store)
    assert record.training is not None
    assert bench("audit", record.run_id, "--store", store).code == 0
    weights = store / "models" / record.training.training_id / "last.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    told = bench("audit", record.run_id, "--again", "--store", store)
    assert (told.code, "was changed after its training" in told.err) == (2, True)


def test_other_weights_are_refused(bench: Bench, trained: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(trained, store)
    record = record_in(store)
    assert record.training is not None
    weights = store / "models" / record.training.training_id / "best.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    told = bench("audit", record.run_id, "--store", store)
    assert (told.code, "has changed since" in told.err) == (2, True)
    weights.unlink()
    told = bench("audit", record.run_id, "--store", store)
    assert (told.code, "--stored" in told.err) == (2, True)
