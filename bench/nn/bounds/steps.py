"""A network as a list of steps that bounds can follow: affine ones, and ones that never fall.

Everything else (attention, products of features) ends in `NotBounded` with the name of the step, never in a
bound that does not hold.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from bench.core.errors_of_others import in_one_line

Kind = Literal["affine", "relu", "maximum", "rises"]
"""What bounds know of a step; one that rises, of one source, never falls where that does not."""


class NotBounded(Exception):
    """Why no bound can be computed through a network, in one clause."""


@dataclass(frozen=True)
class Step:
    """One step on a batch of images."""

    name: str
    sources: tuple[str, ...]  # the steps whose values it takes; "" is the images
    value: Tensor  # [n, ...] of the clean images
    apply: Callable[..., Tensor]  # values of the sources -> value
    kind: Kind
    spread: Callable[..., Tensor] | None = None  # of an affine step: radii of the sources -> radius


class Steps:
    """The steps of a network's `forward`, traced once; its weights stay the live ones.

    Raises:
        NotBounded: torch.fx cannot trace it.
    """

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        try:
            self._graph = fx.Tracer().trace(net)
        except Exception as error:  # tracing runs the network's own code with stand-ins: anything is raised
            raise NotBounded(f"torch.fx cannot trace it ({in_one_line(error)})") from error
        self._modules = dict(net.named_modules(remove_duplicate=False))

    def on(self, x: Tensor) -> Iterator[Step]:
        """The steps on images x [n, C, H, W], in order; the last makes the logits.

        A BatchNorm in train mode is the affine map of the clean images' own statistics, and counts them once.

        Raises:
            NotBounded: a step is none that bounds can follow.
        """
        held: dict[fx.Node, Any] = {}
        names: dict[fx.Node, str] = {}  # of what varies with the images
        for node in self._graph.nodes:
            if node.op == "placeholder":
                if names:
                    raise NotBounded("it takes more than images")
                held[node], names[node] = x, ""
            elif node.op == "get_attr":
                held[node] = self._attribute(str(node.target))
            elif node.op == "output":
                if node.args[0] not in names:
                    raise NotBounded("it answers more than logits")
            elif not any(source in names for source in node.all_input_nodes):
                held[node] = self._plain(node, held)
            else:
                step = self._step(node, held, names)
                held[node] = step.value if isinstance(step, Step) else step
                if isinstance(step, Step):
                    names[node] = step.name
                    yield step

    def _step(self, node: fx.Node, held: Mapping[fx.Node, Any], names: Mapping[fx.Node, str]) -> Any:
        """A step, or what depends on shapes alone."""
        target = self._modules[str(node.target)] if node.op == "call_module" else node.target
        if target is getattr or (node.op == "call_method" and target in ("size", "dim")):
            return self._plain(node, held)
        varying = [given for given in node.args if isinstance(given, fx.Node) and given in names]
        if len(varying) < sum(source in names for source in node.all_input_nodes):
            raise NotBounded(f"{_told(target)} takes several features in a way that bounds cannot follow")
        sources = tuple(names[source] for source in varying)
        values = [held[source] for source in varying]
        if isinstance(target, nn.Module):
            apply, spread = _of_module(target, values[0])
        else:
            apply = _function(node, held, names)
            spread = _spread(target, node, held, names, apply)
        kind = _kind(target) if spread is None else "affine"
        return Step(node.name, sources, apply(*values), apply, kind, spread)

    def _plain(self, node: fx.Node, held: Mapping[fx.Node, Any]) -> Any:
        args, kwargs = _held(node.args, held), _held(node.kwargs, held)
        if node.op == "call_module":
            return self._modules[str(node.target)](*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def _attribute(self, target: str) -> Any:
        path, _, name = target.rpartition(".")
        return getattr(self.net.get_submodule(path), name)


_RADII_TOO = (
    nn.Flatten,
    nn.Unflatten,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Identity,
    nn.PixelUnshuffle,
    nn.ZeroPad2d,
)
"""Linear layers without a negative weight: what they do to values, they do to radii."""

_NEVER_FALL = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.MaxPool2d)

_ADDS = (operator.add, operator.iadd, torch.add, "add", "add_")
_TAKES_OFF = (operator.sub, operator.isub, torch.sub, "sub", "sub_")
_SCALES = (operator.mul, operator.imul, operator.truediv, torch.mul, torch.div, "mul", "mul_", "div", "div_")
_SHAPES = (
    *(
        torch.flatten,
        torch.reshape,
        torch.permute,
        torch.transpose,
        torch.squeeze,
        torch.unsqueeze,
        torch.mean,
    ),
    *(F.pad, F.pixel_unshuffle, F.avg_pool2d, F.adaptive_avg_pool2d, operator.getitem),
    *("flatten", "view", "reshape", "permute", "transpose", "squeeze", "unsqueeze", "mean", "contiguous"),
)
_RECTIFY = (F.relu, torch.relu, torch.relu_, "relu", "relu_")
_MAXIMA = (F.max_pool2d, torch.max_pool2d)
_RISES = (*_RECTIFY, *_MAXIMA, F.relu6, torch.sigmoid, torch.tanh, "sigmoid", "tanh")


def _of_module(layer: nn.Module, value: Tensor) -> tuple[Callable[..., Tensor], Callable[..., Tensor] | None]:
    """What a layer does to values, and to radii."""
    if isinstance(layer, nn.Linear):
        return layer, lambda radius: F.linear(radius, layer.weight.abs())
    if isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros":
        return layer, lambda radius: layer._conv_forward(radius, layer.weight.abs(), None)
    if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
        scale, shift = _affine(layer, value)
        return (lambda given: given * scale + shift), (lambda radius: radius * scale.abs())
    if isinstance(layer, _RADII_TOO) or (
        isinstance(layer, (nn.Dropout, nn.Dropout2d)) and not layer.training
    ):
        return layer, layer
    if isinstance(layer, _NEVER_FALL) and getattr(layer, "negative_slope", 0) >= 0:
        return _kept(layer), None
    raise NotBounded(f"bounds cannot follow {_told(layer)}")


def _kind(target: Any) -> Kind:
    if target in _RECTIFY or isinstance(target, nn.ReLU):
        return "relu"
    return "maximum" if target in _MAXIMA or isinstance(target, nn.MaxPool2d) else "rises"


def _kept(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """A layer that may work in place, on a copy where it does."""
    return (lambda given: layer(given.clone())) if getattr(layer, "inplace", False) else layer


def _affine(norm: nn.BatchNorm1d | nn.BatchNorm2d, value: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift of a BatchNorm, to be broadcast over a batch; in train mode it notes statistics."""
    mean, variance = norm.running_mean, norm.running_var
    if norm.training or mean is None or variance is None:
        others = [0, *range(2, value.dim())]
        mean, variance = value.mean(others), value.var(others, unbiased=False)
        with torch.no_grad():
            norm(value)
    scale = torch.rsqrt(variance + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -mean * scale if norm.bias is None else norm.bias - mean * scale
    shape = (1, -1, *[1] * (value.dim() - 2))
    return scale.view(shape), shift.view(shape)


def _function(
    node: fx.Node, held: Mapping[fx.Node, Any], names: Mapping[fx.Node, str]
) -> Callable[..., Tensor]:
    """A function or method of what varies, everything else as it is."""

    def apply(*values: Tensor) -> Tensor:
        given = iter(values)
        args = [next(given) if _varies(part, names) else _held(part, held) for part in node.args]
        kwargs = _held(node.kwargs, held)
        if node.op == "call_method":
            name = str(node.target).removesuffix("_")  # out of place
            found: Tensor = getattr(args[0], name)(*args[1:], **kwargs)
        else:
            found = _OUT_OF_PLACE.get(node.target, node.target)(*args, **{**kwargs, **_no_place(kwargs)})
        return found

    return apply


_OUT_OF_PLACE: Mapping[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    torch.relu_: torch.relu,
}


def _held(given: Any, held: Mapping[fx.Node, Any]) -> Any:
    """Arguments of a node with what its sources came to."""
    return fx.node.map_arg(given, held.__getitem__)


def _varies(given: object, names: Mapping[fx.Node, str]) -> bool:
    return isinstance(given, fx.Node) and given in names


def _no_place(kwargs: Mapping[str, Any]) -> dict[str, bool]:
    return {"inplace": False} if "inplace" in kwargs else {}


def _spread(
    target: Any,
    node: fx.Node,
    held: Mapping[fx.Node, Any],
    names: Mapping[fx.Node, str],
    apply: Callable[..., Tensor],
) -> Callable[..., Tensor] | None:
    """What a function does to radii; None: it never falls."""
    varies = [_varies(given, names) for given in node.args[:2]]
    if target in _RISES:
        return None
    if target in _SHAPES:
        return apply
    if target in (*_ADDS, *_TAKES_OFF) and "alpha" not in node.kwargs:
        return lambda *radii: radii[0] + radii[1] if len(radii) == 2 else radii[0].expand_as(apply(*radii))
    if target in _SCALES and varies == [True, False] and not node.kwargs:
        factor = _held(node.args[1], held)
        divides = target in (operator.truediv, torch.div, "div", "div_")
        return lambda radius: radius / abs(factor) if divides else radius * abs(factor)
    if target in (operator.mul, torch.mul) and varies == [False, True]:
        factor = _held(node.args[0], held)
        return lambda radius: radius * abs(factor)
    raise NotBounded(f"bounds cannot follow {_told(target)}")


def _told(target: Any) -> str:
    """A step in a sentence."""
    if isinstance(target, nn.Module):
        return f"a layer {type(target).__name__}"
    name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
    return f"the step {name}"
