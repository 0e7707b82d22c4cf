"""Factories of others on a machine without CUDA: what they want to put there stays on the CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


@contextlib.contextmanager
def on_cpu() -> Iterator[None]:
    """Inside, `.cuda()`, `.to("cuda")`, `device="cuda"` and `torch.load` give tensors on the CPU.

    >>> with on_cpu():
    ...     str(torch.nn.Linear(1, 1).cuda().weight.device)
    'cpu'
    """
    with _OnCpu(), mock.patch.object(torch, "load", _loading(torch.load)):
        yield


class _OnCpu(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is Tensor.cuda:
            return args[0]
        given = {name: _instead(value) for name, value in (kwargs or {}).items()}
        return func(*map(_instead, args), **given)


def _instead(value: Any) -> Any:
    """The CPU where a CUDA device is meant, else the same."""
    is_cuda = isinstance(value, (str, torch.device)) and str(value).partition(":")[0] == "cuda"
    return torch.device("cpu") if is_cuda else value


def _loading(load: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(load)
    def on_this_machine(f: Any, map_location: Any = None, *rest: Any, **options: Any) -> Any:
        return load(f, _instead(map_location) or "cpu", *rest, **options)

    return on_this_machine
