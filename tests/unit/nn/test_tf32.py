"""What may round to TF32 is chosen for each piece of work, whatever the program around it had chosen."""

from fractions import Fraction

import pytest
import torch
from torch import nn

from bench.api import Deployed, Trial
from bench.attacks.pgd import PGD
from bench.core.threat import WHITE_BOX, Budget, Norm
from bench.evaluate import diagnostics
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.numerics import Numerics
from bench.nn.tf32 import switches, tf32
from bench.runner import card

NEITHER, BOTH = {"matmul": False, "convolutions": False}, {"matmul": True, "convolutions": True}


class Watching(nn.Module):
    """A linear network that notes what might have rounded its products."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(16, 3)
        self.seen = []

    def forward(self, x):
        self.seen.append(switches())
        return self.linear(x.flatten(1))


@pytest.fixture
def rounding():
    """A program that has allowed TF32 everywhere, as many do in their first line."""
    with tf32(True):
        torch.backends.cudnn.allow_tf32 = True
        yield


def chosen():
    precision = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision
    return switches(), torch.get_float32_matmul_precision(), precision


@pytest.mark.parametrize("matmul", ["highest", "high", "medium"])
def test_afterwards_all_is_as_it_was(matmul):
    usual = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(matmul)
    try:
        before = chosen()
        for allowed, expected in ((False, NEITHER), (True, BOTH)):
            with tf32(allowed):
                assert switches() == expected
                with tf32(not allowed):
                    assert switches() != expected
                assert switches() == expected
            assert chosen() == before
    finally:
        torch.set_float32_matmul_precision(usual)


def test_switches_that_a_program_has_mixed_are_left_as_they_were():
    conv = torch.backends.cudnn.conv
    usual = conv.fp32_precision
    conv.fp32_precision = "ieee"  # and rnn is not: torch refuses to read allow_tf32 from here on
    try:
        with tf32(False):
            assert switches() == NEITHER
        assert conv.fp32_precision == "ieee"
        assert torch.backends.cudnn.rnn.fp32_precision == "tf32"
    finally:
        conv.fp32_precision = usual


def test_attacks_verdicts_and_checks_are_in_full_precision(rounding):
    net = Watching().eval()
    x = torch.rand(8, 1, 4, 4)
    arena = Arena(
        Deployed(net), Budget(Norm.LINF, Fraction(1, 10)), 3, {}, Numerics(), Batches(8), seed=0, images=x
    )
    chunk = Chunk(0, x, net(x).argmax(1), torch.arange(8))
    assert net.seen.pop() == BOTH
    play(arena, Trial("pgd", PGD(steps=2), WHITE_BOX), chunk, 0)
    arena.referee.classify(x)
    diagnostics.from_network(Deployed(net), x)
    assert len(net.seen) > 8 and all(seen == NEITHER for seen in net.seen)
    assert switches() == BOTH


def test_the_driver_is_told(tmp_path, monkeypatch):
    told = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n"
    monkeypatch.setattr(card, "DRIVER", tmp_path / "version")
    assert card.driver() == "unknown"
    card.DRIVER.write_text(told)
    assert card.driver() == "550.54.15"
