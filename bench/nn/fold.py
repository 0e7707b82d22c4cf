"""BatchNorm folded into the convolution before it, for the many eval-mode passes of an attack."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from bench.nn.tf32 import tf32

Settings = tuple[tuple[str, str, object], ...]
Borrowed = tuple[nn.Module, str, object]

LEAST_COSINE = 0.999
"""The cosine of their angle, and the ratio of their lengths, from which two gradients are called the same."""


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


class NotFolded(Exception):
    """Why a network is used as it is, in one sentence; `idle`: it has no pair that could be folded."""

    def __init__(self, reason: str, idle: bool = False) -> None:
        super().__init__(reason)
        self.idle = idle


def folded(net: nn.Module, examples: Tensor, channels_last: bool = False) -> Folded:
    """The folded network, which was seen to agree with the network on the `examples` [n, C, H, W].

    Raises:
        NotFolded: `torch.fx` cannot trace it, the traced copy disagrees with it in logits or input gradients
            (randomness, gradients switched off inside, hidden state), or no BatchNorm follows a convolution.
            The network is left in eval mode.
    """
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    if not any(isinstance(module, nn.BatchNorm2d) for module in net.modules()):
        raise NotFolded("it has no BatchNorm", idle=True)
    devices = [examples.device] if examples.device.type == "cuda" else []
    with torch.random.fork_rng(devices):  # a randomized network must not notice that it was tried
        try:
            copied = Folded(net, channels_last)
        except Exception as error:  # tracing runs the network's own code with stand-ins: anything is raised
            told = " ".join(str(error).split())
            raise NotFolded(f"torch.fx cannot trace it ({type(error).__name__}: {told})") from error
        if not copied.pairs:
            raise NotFolded("no BatchNorm alone follows a convolution", idle=True)
        _require_agreement(net, copied, examples)
    for module, training in modes:
        module.training = training
    return copied


def fold(net: nn.Module, examples: Tensor, channels_last: bool = False) -> nn.Module:
    """The folded network, or the network itself, set to eval mode, where `folded` raises."""
    try:
        return folded(net, examples, channels_last)
    except NotFolded:
        return net


class _Tracer(fx.Tracer):
    """Goes into every module but torchvision's transforms, which look at the type of what they are given."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is called in the graph as it is."""
        if type(m).__module__.startswith("torchvision.transforms"):
            return True
        return super().is_leaf_module(m, module_qualified_name)


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
        graph = _Tracer().trace(net)
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


@tf32(False)
def _require_agreement(net: nn.Module, copied: nn.Module, examples: Tensor) -> None:
    """Raise NotFolded where the copy is another function than the network, as far as the examples show.

    Both are asked in float32, whatever precision is used around. Logits must be close for every example.
    Gradients must be for most: a ReLU at its kink may turn those of an example or two by a rounding of its
    input, a fault in the copy turns those of all. They are compared by cosine and length, for a copy that
    lost a path may keep the direction.
    """
    x = examples.detach().float()
    with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
        (ours, our_slopes), (theirs, their_slopes) = _answer(copied, x), _answer(net, x)
    if not bool(theirs.isfinite().all()):
        raise NotFolded("its own answers are not finite")
    scale = float(theirs.abs().max().clamp(min=1e-6))
    apart = float((ours - theirs).abs().max())
    if not torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4 * scale):
        raise NotFolded(f"the folded copy's logits differ from its own by up to {apart:.2g}")
    if 2 * int(_alike(our_slopes, their_slopes).sum()) <= len(x):
        raise NotFolded("the folded copy's input gradients differ from its own on most images")


def _alike(ours: Tensor, theirs: Tensor) -> Tensor:
    """[n] bool: where two gradients [n, D] have the same direction and length, or are both zero."""
    one, other = ours.double(), theirs.double()  # squares of small gradients vanish in float32
    lengths = torch.stack([one.norm(dim=1), other.norm(dim=1)])
    shorter, longer = lengths.amin(0), lengths.amax(0)
    same_way = (one * other).sum(1) >= LEAST_COSINE * shorter * longer
    return same_way & (shorter >= LEAST_COSINE * longer)


def _answer(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [n, K] and input gradients [n, D] of one weighted sum of them, float32."""
    x = x.clone().requires_grad_()
    logits: Tensor = net(x).float()
    weights = torch.linspace(-1, 1, logits[0].numel(), device=x.device)
    total = (logits.flatten(1) * weights).sum()
    (gradient,) = torch.autograd.grad(total, x, allow_unused=True) if total.requires_grad else (None,)
    return logits.detach(), (torch.zeros_like(x) if gradient is None else gradient).float().flatten(1)
