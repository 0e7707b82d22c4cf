"""BatchNorm folded into the convolution before it, for the many eval-mode passes of an attack."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

Settings = tuple[tuple[str, str, object], ...]
Borrowed = tuple[nn.Module, str, object]


class Folded(nn.Module):
    """A network's eval-mode `forward` with every BatchNorm that alone follows a convolution folded into it.

    All other weights and buffers are the live network's own; folded ones follow it at `refresh()`. It is
    traced once, and again when one of the plain Python attributes that its `forward` may read has changed.
    """

    def __init__(self, net: nn.Module, channels_last: bool = False) -> None:
        super().__init__()
        self._source = (net,)  # in a tuple: the network is no submodule of its own copy
        self._channels_last = channels_last
        self._trace()

    @property
    def pairs(self) -> int:
        """How many BatchNorms are folded."""
        return len(self._pairs)

    def refresh(self) -> None:
        """Recompute the folded weights from the live network."""
        replaced = any(getattr(owner, name) is not tensor for owner, name, tensor in self._borrowed)
        if replaced or _settings(self._source[0]) != self._settings:
            self._trace()
            return
        for pair in self._pairs:
            pair.refresh()

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K] of images x [n, C, H, W]."""
        if self._channels_last and x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        logits: Tensor = self._graph(x)
        return logits

    def train(self, mode: bool = True) -> Folded:
        """There is no other mode than eval."""
        return super().train(False)

    def _trace(self) -> None:
        net = self._source[0]
        self._settings = _settings(net)
        self._graph, self._pairs, self._borrowed = _fold_graph(net, self._channels_last)
        self.eval()
        for pair in self._pairs:
            pair.refresh()


def fold(net: nn.Module, example: Tensor, channels_last: bool = False) -> nn.Module:
    """The folded network, or the network itself, set to eval mode, where folding is impossible or idle.

    Impossible: `torch.fx` cannot trace it, or on the `example` images [n, C, H, W] the traced copy disagrees
    with the network in logits or input gradient (randomness, gradients switched off inside, hidden state).
    Idle: no BatchNorm follows a convolution.
    """
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    devices = [example.device] if example.device.type == "cuda" else []
    with torch.random.fork_rng(devices):  # a randomized network must not notice that it was tried
        try:
            folded = Folded(net, channels_last)
        except Exception:  # tracing runs the network's own code with stand-ins: anything may be raised
            return net
        if not folded.pairs or not _agree(net, folded, example):
            return net
    for module, training in modes:
        module.training = training
    return folded


@dataclass(frozen=True)
class _Pair:
    conv: nn.Conv2d  # live
    norm: nn.BatchNorm2d  # live
    both: nn.Conv2d

    @torch.no_grad()
    def refresh(self) -> None:
        mean, variance = self.norm.running_mean, self.norm.running_var
        if mean is None or variance is None or self.both.bias is None:
            raise ValueError("only a BatchNorm with running statistics can be folded")
        scale = torch.rsqrt(variance + self.norm.eps)
        if self.norm.weight is not None:
            scale = scale * self.norm.weight
        shift = -mean if self.conv.bias is None else self.conv.bias - mean
        torch.mul(self.conv.weight, scale.view(-1, 1, 1, 1), out=self.both.weight)
        self.both.bias.copy_(shift * scale)
        if self.norm.bias is not None:
            self.both.bias.add_(self.norm.bias)


def _fold_graph(net: nn.Module, channels_last: bool) -> tuple[fx.GraphModule, list[_Pair], list[Borrowed]]:
    modes = [(module, module.training) for module in net.modules()]
    net.eval()  # functional dropout and the like are fixed by the trace
    try:
        graph = fx.Tracer().trace(net)
    finally:
        for module, training in modes:
            module.training = training
    if any(node.op == "get_attr" and not _is_state(net, str(node.target)) for node in graph.nodes):
        raise ValueError("a tensor that is neither parameter nor buffer would be fixed by the trace")
    live = dict(net.named_modules(remove_duplicate=False))
    root = nn.Module()
    pairs: list[_Pair] = []
    for node in list(graph.nodes):
        if node.op != "call_module" or not isinstance(live.get(str(node.target)), nn.BatchNorm2d):
            continue
        before = node.args[0] if len(node.args) == 1 else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        conv, norm = live[str(before.target)], live[str(node.target)]
        if not (_foldable(conv, nn.Conv2d) and _foldable(norm, nn.BatchNorm2d)) or norm.running_mean is None:
            continue
        both = _empty_like(conv, channels_last)
        name = f"folded_{len(pairs)}"
        root.add_module(name, both)
        pairs.append(_Pair(conv, norm, both))
        before.target = name
        node.replace_all_uses_with(before)
        graph.erase_node(node)
    borrowed = _lend(net, root, graph)
    return fx.GraphModule(root, graph), pairs, borrowed


def _is_state(net: nn.Module, target: str) -> bool:
    path, _, name = target.rpartition(".")
    try:
        owner = net.get_submodule(path)
    except AttributeError:
        return False
    return name in owner._parameters or name in owner._buffers


def _foldable(module: nn.Module, kind: type[nn.Module]) -> bool:
    # a subclass (a parametrization is one) or a hook may compute something else
    return type(module) is kind and not module._forward_hooks and not module._forward_pre_hooks


def _empty_like(conv: nn.Module, channels_last: bool) -> nn.Conv2d:
    both = copy.copy(conv)
    if not isinstance(both, nn.Conv2d):
        raise TypeError(f"expected a Conv2d, not {type(conv).__name__}")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    weight = torch.empty_like(both.weight, memory_format=layout, requires_grad=False)
    bias = torch.empty(both.out_channels, device=weight.device, dtype=weight.dtype)
    # buffers, so that nobody trains them; plain attributes win over the shared parameter table
    both._parameters, both._buffers = {}, {"weight": weight, "bias": bias}
    return both


def _lend(net: nn.Module, root: nn.Module, graph: fx.Graph) -> list[Borrowed]:
    """Give the graph's root what its nodes name, each leaf module in an eval-mode view with shared weights.

    Returns the tensors that the graph reads directly, with their owner and name.
    """
    borrowed: list[Borrowed] = []
    for node in graph.nodes:
        if node.op not in ("call_module", "get_attr") or str(node.target).startswith("folded_"):
            continue
        path, _, name = str(node.target).rpartition(".")
        owner = root
        for part in path.split(".") if path else []:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        source = net.get_submodule(path)
        if node.op == "call_module":
            owner._modules[name] = _eval_view(source.get_submodule(name))
        elif name in source._parameters:
            owner._parameters[name] = source._parameters[name]
            borrowed.append((source, name, source._parameters[name]))
        else:
            owner._buffers[name] = source._buffers[name]
            borrowed.append((source, name, source._buffers[name]))
    return borrowed


def _eval_view(module: nn.Module) -> nn.Module:
    view = copy.copy(module)  # the tables of parameters and buffers are the live module's own
    view._modules = {
        name: None if child is None else _eval_view(child) for name, child in module._modules.items()
    }
    view.training = False
    return view


def _settings(net: nn.Module) -> Settings:
    plain = (bool, int, float, str, type(None))
    return tuple(
        (path, name, value)
        for path, module in net.named_modules()
        for name, value in module.__dict__.items()
        if name != "training" and isinstance(value, plain)
    )


def _agree(net: nn.Module, folded: nn.Module, example: Tensor) -> bool:
    with torch.enable_grad():
        ours, theirs = (_answer(module, example.detach().float()) for module in (folded, net))
    return all(
        torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max().clamp(min=1e-6)))
        for a, b in zip(ours, theirs, strict=True)
    )


def _answer(net: nn.Module, example: Tensor) -> tuple[Tensor, Tensor]:
    x = example.clone().requires_grad_()
    logits: Tensor = net(x)
    weights = torch.linspace(-1, 1, logits[0].numel(), device=x.device)
    total = (logits.float().flatten(1) * weights).sum()
    (gradient,) = torch.autograd.grad(total, x, allow_unused=True) if total.requires_grad else (None,)
    return logits.detach(), torch.zeros_like(x) if gradient is None else gradient
