"""Tiny ReLU networks and their exact robustness, by mixed integer programs that HiGHS solves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import nn

Array = NDArray[np.float64]
Truth = Literal["robust", "breakable", "open"]

CLOSE = 1e-5
"""Largest margins nearer to zero than that are left open: the solver's tolerance, and float32's."""


@dataclass(frozen=True)
class Layer:
    """An affine map; a ReLU lies between two of them."""

    weight: Array  # [out, in]
    bias: Array  # [out]


@dataclass(frozen=True)
class Box:
    """The lowest and the highest values of neurons, [n] each."""

    low: Array
    high: Array

    def through(self, layer: Layer) -> Box:
        """Of an affine map, by interval arithmetic."""
        up, down = layer.weight.clip(min=0), layer.weight.clip(max=0)
        return Box(
            up @ self.low + down @ self.high + layer.bias, up @ self.high + down @ self.low + layer.bias
        )

    def rectified(self) -> Box:
        """After a ReLU."""
        return Box(self.low.clip(min=0), self.high.clip(min=0))


def layers_of(network: nn.Sequential) -> list[Layer]:
    """Flatten and linear layers with ReLUs between them, in float64.

    Raises ValueError for any other network.
    """
    kinds = [type(module) for module in network]
    linear = [module for module in network if isinstance(module, nn.Linear)]
    if kinds != [nn.Flatten, *([nn.Linear, nn.ReLU] * len(linear))[:-1]]:
        raise ValueError("expected a flattened image, then linear layers with a ReLU between two of them")
    return [
        Layer(part.weight.detach().double().numpy(), part.bias.detach().double().numpy()) for part in linear
    ]


def truth(layers: Sequence[Layer], x: Array, y: int, eps: float) -> Truth:
    """Whether any image within eps (Linf) of x [d], and within [0, 1], is taken for another class than y."""
    box = Box((x - eps).clip(min=0), (x + eps).clip(max=1))
    found: Truth = "robust"
    for target in range(len(layers[-1].bias)):
        if target != y:
            most = largest_margin(layers, box, y, target)
            if most > CLOSE:
                return "breakable"
            if most > -CLOSE:
                found = "open"
    return found


def largest_margin(layers: Sequence[Layer], box: Box, y: int, target: int) -> float:
    """The largest that logit `target` less logit y can be over all images of a box.

    Neuron by neuron: a = max(0, z) is a >= 0, a >= z, a <= z - low (1 - d), a <= high d with d in {0, 1}
    (Tjeng, Xiao & Tedrake, ICLR 2019).

    Raises RuntimeError where the solver gives up.
    """
    program = _Program(box)
    for layer in layers[:-1]:
        program.add(layer)
    last = layers[-1]
    lead = last.weight[target] - last.weight[y]
    if not program.values.through(Layer(lead[None], np.zeros(1))).high[0] + last.bias[target] > last.bias[y]:
        return -1.0  # intervals prove it
    return program.maximum(lead) + float(last.bias[target] - last.bias[y])


class _Program:
    """The variables (inputs, then activations and switches of each layer) and what binds them."""

    def __init__(self, box: Box) -> None:
        self.values = box  # of the last layer
        self._bounds = [box]
        self._last = np.arange(len(box.low))  # the variables that hold the last layer
        self._rows: list[tuple[NDArray[np.int64], Array, float]] = []  # sum of values <= bound
        self._whole: list[int] = []
        self._count = len(box.low)

    def add(self, layer: Layer) -> None:
        """A layer and its ReLU."""
        before, n = self.values.through(layer), len(layer.bias)
        after = before.rectified()
        active = np.arange(self._count, self._count + n)
        switches = active + n
        for low, high, a, d, row, bias in zip(
            before.low, before.high, active, switches, layer.weight, layer.bias, strict=True
        ):
            self._bind(low, high, int(a), int(d), row, bias)
        self._bounds += [after, Box(np.zeros(n), np.ones(n))]
        self._whole += switches.tolist()
        self._count += 2 * n
        self._last, self.values = active, after

    def _bind(self, low: float, high: float, a: int, d: int, row: Array, bias: float) -> None:
        here = np.append(self._last, a)
        if high <= 0:
            return  # its bounds say that it is zero
        self._rows.append((here, np.append(row, -1.0), -bias))  # z <= a
        if low >= 0:
            self._rows.append((here, np.append(-row, 1.0), bias))  # a <= z
            return
        self._rows.append((np.append(here, d), np.append(-row, [1.0, -low]), bias - low))
        self._rows.append((np.array([a, d]), np.array([1.0, -high]), 0.0))

    def maximum(self, lead: Array) -> float:
        """The largest value of a sum over the last layer."""
        matrix = np.zeros((len(self._rows), self._count))
        for number, (columns, values, _) in enumerate(self._rows):
            matrix[number, columns] = values
        aim, whole = np.zeros(self._count), np.zeros(self._count)
        aim[self._last], whole[self._whole] = -lead, 1
        found = milp(
            aim,
            constraints=LinearConstraint(matrix, ub=[bound for _, _, bound in self._rows]),
            bounds=Bounds(
                np.concatenate([part.low for part in self._bounds]),
                np.concatenate([part.high for part in self._bounds]),
            ),
            integrality=whole,
            options={"mip_rel_gap": 0.0},
        )
        if not found.success:
            raise RuntimeError(f"HiGHS: {found.message}")
        return -float(found.fun)


def tiny(
    x: Array, y: NDArray[np.int64], widths: Sequence[int], seed: int, scale: float = 1.0
) -> nn.Sequential:
    """Random hidden layers, and a last one fitted to images x [n, d] of classes y by least squares.

    All weights are multiples of 1/64, so they are the same on every processor. A large `scale` of the logits
    saturates cross-entropy, whose gradients vanish; the classes stay what they were.
    """
    random = np.random.default_rng(seed)
    modules: list[nn.Module] = [nn.Flatten()]
    held = x
    for width in widths:
        weight = _rounded(random.normal(size=(width, held.shape[1])) * np.sqrt(2 / held.shape[1]))
        bias = _rounded(-(held @ weight.T).mean(axis=0))
        modules += [_linear(weight, bias), nn.ReLU()]
        held = np.maximum(held @ weight.T + bias, 0)
    goal = np.eye(int(y.max()) + 1)[y] - 0.5
    known = np.column_stack([held, np.ones(len(held))])
    solved = np.linalg.solve(known.T @ known + np.eye(known.shape[1]), known.T @ goal)
    modules.append(_linear(scale * _rounded(solved[:-1].T), scale * _rounded(solved[-1])))
    return nn.Sequential(*modules)


def _rounded(values: Array) -> Array:
    return np.round(values * 64) / 64


def _linear(weight: Array, bias: Array) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
    return layer


def truths(network: nn.Sequential, x: Array, y: Sequence[int], eps: float) -> Iterator[Truth]:
    """Of every image of x [n, d]."""
    layers = layers_of(network)
    for image, label in zip(x, y, strict=True):
        yield truth(layers, image, int(label), eps)
