"""The life of a run on a card: it goes on if it was stopped, weights and images travel, workers share it."""

import pytest
import torch
from cards.command import bench
from cards.everything import planned
from safetensors.torch import load_file

from bench.core.progress import Silent
from bench.plan import Request, plan_run
from bench.records.store import Store, read_record
from bench.runner.options import Options
from bench.runner.run import run
from bench.runner.verify import verify
from bench.runner.weights import build_trained, fit, load_data

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

SHORT = ("--data", "synthetic", "--set", "recipe.epochs=1", "--set", "recipe.validation_examples=8")


class Impatient(Silent):
    """Stops a training in its second epoch."""

    def advance(self, amount=1, **figures):
        if figures.get("epoch") == 2:
            raise KeyboardInterrupt


def options(folder, device="cuda", progress=None):
    return Options(Store(folder), device=device, progress=progress or Silent())


def weights(trained):
    return load_file(trained.folder / "last.safetensors")


def test_a_training_that_was_interrupted_ends_as_one_that_was_not(tmp_path):
    spec = planned("pgd_at", epochs="3")
    straight = fit(spec, options(tmp_path / "a"))
    with pytest.raises(KeyboardInterrupt):
        fit(spec, options(tmp_path / "b", progress=Impatient()))
    again = fit(spec, options(tmp_path / "b"))
    for name, tensor in weights(straight).items():
        torch.testing.assert_close(weights(again)[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


def test_weights_travel_from_the_cpu_to_a_card_and_back(tmp_path):
    spec = planned("pgd_at")
    on_cpu = options(tmp_path, "cpu")
    trained = fit(spec, on_cpu)
    net = build_trained(spec, trained, load_data(spec, on_cpu), "last").cuda().cpu()
    there = {name: tensor.cuda() for name, tensor in net.state_dict().items()}
    for name, tensor in weights(trained).items():
        assert there[name].is_cuda and torch.equal(there[name].cpu(), tensor), name


def test_the_images_of_a_card_fool_on_the_cpu(tmp_path):
    request = Request("standard", data="digits", suite="smoke", settings={"recipe": {"epochs": "2"}})
    spec = plan_run(request)
    found = run(spec, options(tmp_path))
    assert found.evidence.images > 0
    assert found.evidence.again.count == found.worst_case.count
    proofs = [*verify(found, options(tmp_path, "cpu"), cells=1)]
    assert proofs and not [proof for proof in proofs if proof.holds is False]


def test_detectors_are_fitted_and_attacked_on_a_card(tmp_path):
    words = ("--examples", "16", "--fit-examples", "40", "--fpr", "0.1", "--attack", "fgsm")
    words += ("--detector", "max_softmax", "--detector", "mahalanobis")
    assert "AUROC" in bench(tmp_path, "detect", "pgd_at", *SHORT, *words, "--device", "cuda")


def test_two_workers_on_one_card_find_what_one_process_finds(tmp_path):
    words = ("run", "--defense", "pgd_at", *SHORT, "--suite", "smoke", "--examples", "24")
    words += ("--set", "suite.chunk=12", "--device", "cuda:0")
    records = []
    for workers in ("1", "2"):
        bench(tmp_path / workers, *words, "--workers", workers)
        records.append(read_record(next((tmp_path / workers).rglob("record.json"))))
    one, two = records
    assert [column.robust for column in one.columns] == [column.robust for column in two.columns]
