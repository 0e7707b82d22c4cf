"""The pretend device refuses what a card refuses, and computes what a CPU computes."""

import copy
import pickle  # noqa: TID251 (as workers are sent what they are told)
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from pretend.device import Mixed
from torch import nn

CARD, OTHER = torch.device("cuda", 0), torch.device("cuda", 1)


def test_two_devices_in_one_operation_are_refused():
    x = torch.ones(3, device=CARD)
    for y in (torch.ones(3), torch.ones(3, device=OTHER)):
        with pytest.raises(Mixed, match="was given tensors on"):
            x + y
    assert (x + torch.tensor(2.0)).tolist() == [3, 3, 3], "a number of the CPU may meet a card"


def test_a_generator_of_another_device_is_refused():
    with pytest.raises(Mixed, match="generator of cpu"):
        torch.rand(3, device=CARD, generator=torch.Generator())
    mine, theirs = (torch.Generator(device).manual_seed(3) for device in (OTHER, "cpu"))
    drawn = torch.rand(3, device=OTHER, generator=mine)
    assert drawn.cpu().equal(torch.rand(3, generator=theirs))


def test_each_card_draws_from_a_stream_of_its_own():
    torch.manual_seed(0)
    on_cpu = torch.rand(3)
    torch.manual_seed(0)
    first = torch.rand(3, device=CARD)
    assert torch.rand(3).equal(on_cpu), "a draw on a card moves no other stream"
    with torch.random.fork_rng([CARD]):
        torch.rand(3, device=CARD)
    second = torch.rand(3, device=CARD)
    torch.manual_seed(0)
    assert torch.rand(3, device=CARD).cpu().equal(first.cpu())
    assert torch.rand(3, device=CARD).cpu().equal(second.cpu())


def test_numpy_is_refused():
    with pytest.raises(TypeError, match="can't convert cuda:1 device type tensor to numpy"):
        torch.ones(3, device=OTHER).numpy()


def test_gradients_are_those_of_a_cpu():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    there, x, y = copy.deepcopy(net).to(OTHER), torch.rand(5, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1])
    F.cross_entropy(net(x), y).backward()
    F.cross_entropy(there(x.to(OTHER)), y.to(OTHER)).backward()
    for one, other in zip(net.parameters(), there.parameters(), strict=True):
        assert other.grad.device == OTHER and torch.equal(one.grad, other.grad.cpu())


def test_a_thread_has_the_cards_too():
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: torch.ones(2, device=OTHER).device).result() == OTHER


def test_what_is_sent_to_other_processes_lies_on_the_cpu():
    with pytest.raises(Mixed, match="cuda:1 is sent to other processes"):
        pickle.dumps([torch.ones(2, device=OTHER)])
    assert pickle.dumps(torch.ones(2, device=OTHER).cpu())


def test_too_little_memory_is_told_as_a_card_does():
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(1 << 50, dtype=torch.uint8, device=CARD)
