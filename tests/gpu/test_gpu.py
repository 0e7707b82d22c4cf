"""What only a GPU shows: training, attacks and verdicts there, beside those of the CPU."""

import dataclasses

import pytest
import torch

from bench.api import Deployed
from bench.attacks.losses import cross_entropy
from bench.core.threat import WHITE_BOX
from bench.data.load import load
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.ledger import Ledger
from bench.evaluate.numerics import PLAIN, Numerics
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import Referee
from bench.nn.architectures import network
from bench.plan import Request, plan_run
from bench.records.store import Store
from bench.runner.options import Options
from bench.runner.run import run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def record(folder, device, **settings):
    request = Request(
        "pgd_at", data="digits", suite="smoke", settings={"recipe": {"epochs": "5", **settings}}
    )
    return run(plan_run(request), Options(Store(folder), device=device))


def test_a_gpu_trains_and_attacks_like_a_cpu(tmp_path):
    on_cpu, on_gpu = record(tmp_path / "cpu", "cpu"), record(tmp_path / "gpu", "cuda")
    assert on_gpu.provenance.device.startswith("cuda")
    assert abs(on_cpu.clean.value - on_gpu.clean.value) < 0.08
    assert on_gpu.worst_case.value > 0.2, "it learned to resist"


def test_the_same_seed_gives_the_same_columns_on_a_gpu(tmp_path):
    first, second = record(tmp_path / "a", "cuda"), record(tmp_path / "b", "cuda")
    same = [dataclasses.replace(column, seconds=0) for column in first.columns]
    assert same == [dataclasses.replace(column, seconds=0) for column in second.columns]


@pytest.mark.parametrize("precision", ["bf16", "fp16", "tf32"])
def test_a_precision_trains(precision, tmp_path):
    assert record(tmp_path, "cuda", precision=precision).worst_case.value > 0.2


@pytest.mark.parametrize(
    ("numerics", "least"),
    [(Numerics(), 0.999), (Numerics(precision="tf32"), 0.99), (Numerics(precision="bf16"), 0.9)],
)
def test_fast_gradients_point_where_plain_ones_do(numerics, least):
    data = load("synthetic").to("cuda")
    torch.manual_seed(0)
    net = network(data.task("wide_resnet_16_2")).cuda().eval()
    x, y = data.test.batch(torch.arange(32))
    deployed, batches = Deployed(net), Batches(32)

    def gradient(chosen):
        referee = Referee(deployed, data.budget, batches)
        access = Access(deployed, WHITE_BOX, {}, chosen)
        return MeteredOracle(access, referee, Ledger(x, y, 3), batches).climb(cross_entropy, x, y).gradient

    plain, fast = gradient(PLAIN).flatten(1), gradient(numerics).flatten(1)
    moved = plain.abs().amax(1) > 0
    assert torch.nn.functional.cosine_similarity(plain[moved], fast[moved], dim=1).min() > least


def test_running_out_of_memory_halves_the_batch():
    def hungry(x):
        if len(x) > 4:
            torch.empty(1 << 50, dtype=torch.uint8, device="cuda")
        return x + 1

    batches = Batches(64)
    x = torch.arange(64.0, device="cuda")
    assert torch.equal(batches.map(hungry, x), x + 1) and batches.size == 4
