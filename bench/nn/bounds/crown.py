"""Linear relaxations through a network: CROWN.

Zhang, Weng, Chen, Hsieh, Daniel, "Efficient Neural Network Robustness Certification with General Activation
Functions", NeurIPS 2018, arXiv 1811.00866. A linear function of a step's values is bounded from below by one
of the images, step by step from the end: an affine step hands coefficients on through its transpose, a ReLU
that may be on either side of 0 lies between two lines. Its ends are bounded the same way, and by intervals,
whichever is tighter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.core.threat import Budget, Norm
from bench.nn.bounds.intervals import Span, box_around, through
from bench.nn.bounds.steps import NotBounded, Step, Steps

ROWS = 64
"""How many linear functions are bounded at once."""


HandOn = Callable[[Tensor, Tensor], tuple[Tensor | None, Tensor]]
"""Coefficients [S, n, ...] of a step from 0 on, and up to 0 -> those of its source; what it adds [S, n]."""


class Bounds:
    """Lower bounds of linear functions of a network's logits, over all images within a budget.

    `tight`: by linear relaxations; else by intervals, except for the affine steps at the end.

    Raises:
        NotBounded: a step is none that bounds can follow.
    """

    def __init__(self, steps: Steps, x: Tensor, budget: Budget, tight: bool = True) -> None:
        self._x, self._budget, self._tight = x, budget, tight
        self._box = box_around(x, budget)
        self._steps: list[Step] = []
        self._spans: dict[str, Span] = {"": self._box}
        self._ends: dict[str, HandOn] = {}  # by the ends of what a step's values lie between
        self._relaxed: dict[str, HandOn] = {}  # by lines
        for step in steps.on(x):
            self._take(step)
        if not self._steps or self._steps[-1].value.dim() != 2:
            raise NotBounded("it answers no logits [n, K]")

    @property
    def logits(self) -> Tensor:
        """[n, K], of the clean images."""
        return self._steps[-1].value

    @property
    def neurons(self) -> int:
        """Values of one image that go through steps which are not affine."""
        sources = [step.sources[0] for step in self._steps if step.kind != "affine"]
        return sum(self._spans[source].low[0].numel() for source in sources)

    def margins(self, y: Tensor) -> Tensor:
        """Lower bounds [n] of the logit of y [n] less the largest other, over the budget."""
        classes = self._steps[-1].value.shape[1]
        others = torch.eye(classes, dtype=self._x.dtype, device=self._x.device)
        rows = F.one_hot(y, classes).to(self._x)[None] - others[:, None]  # [K, n, K]
        end = len(self._steps)
        least = self._least(end, rows, self._ends)
        if self._tight:
            least = torch.maximum(least, self._least(end, rows, self._relaxed))
        return least.scatter(0, y[None], torch.inf).amin(0)

    @property
    def _is_exact(self) -> bool:
        """Whether intervals are exact so far: the box is the budget, and every step was affine."""
        return self._budget.norm is Norm.LINF and all(step.kind == "affine" for step in self._steps)

    def _take(self, step: Step) -> None:
        """Note what a step's values lie between."""
        if step.kind != "affine":
            if self._tight and not self._is_exact:
                self._tighten(step.sources[0])
            span = self._spans[step.sources[0]]
            self._ends[step.name], self._relaxed[step.name] = _between(step, span), _relaxed(step, span)
        self._steps.append(step)
        self._spans[step.name] = through(step, *(self._spans[source] for source in step.sources))

    def _tighten(self, name: str) -> None:
        """Bound those of a step's values by relaxations that intervals leave on either side of 0."""
        span = self._spans[name]
        unstable = ((span.low < 0) & (span.high > 0)).flatten(1).any(0).nonzero().squeeze(1)
        if not name or not len(unstable):
            return
        low, high = span.low.flatten(1).clone(), span.high.flatten(1).clone()
        end = 1 + [step.name for step in self._steps].index(name)
        for places in torch.split(unstable, ROWS):
            rows = torch.zeros(len(places), *low.shape, dtype=low.dtype, device=low.device)
            rows[torch.arange(len(places)), :, places] = 1.0
            rows = rows.view(len(places), *span.low.shape)
            least = self._least(end, torch.cat([rows, -rows]), self._relaxed)
            ends = least[: len(places)].T, -least[len(places) :].T
            low[:, places] = torch.maximum(low[:, places], ends[0])
            high[:, places] = torch.minimum(high[:, places], ends[1])
        high = torch.maximum(low, high)  # roundings of two bounds that meet
        self._spans[name] = Span(low.view_as(span.low), high.view_as(span.high))

    def _least(self, end: int, rows: Tensor, how: Mapping[str, HandOn]) -> Tensor:
        """Lower bounds [S, n] of the sums of rows [S, n, ...] times the values of the last of `end` steps."""
        bounded = rows.new_zeros(rows.shape[:2])
        left = {self._steps[end - 1].name: rows}
        for step in reversed(self._steps[:end]):
            held = left.pop(step.name, None)
            if held is None:
                continue
            if step.kind == "affine":
                handed, constant = _back(step, [self._spans[source] for source in step.sources], held)
            else:
                one, constant = how[step.name](held.clamp(min=0), held.clamp(max=0))
                handed = [] if one is None else [one]
            bounded = bounded + constant
            for source, more in zip(step.sources, handed, strict=False):
                left[source] = left[source] + more if source in left else more
        if "" in left:
            bounded = bounded + least_within(left[""], self._x, self._budget, self._box)
        return bounded


def least_within(rows: Tensor, x: Tensor, budget: Budget, box: Span) -> Tensor:
    """Lower bounds [S, n] of rows [S, n, C, H, W] times images within a budget around x; under Linf exact."""
    at_x = (rows * x).flatten(2).sum(2)
    falls = (rows.clamp(min=0) * (box.low - x) + rows.clamp(max=0) * (box.high - x)).flatten(2)
    if budget.norm is Norm.L0:
        most = min(int(budget.eps), falls.shape[2])
        return at_x + falls.topk(most, dim=2, largest=False).values.sum(2)
    in_box = falls.sum(2)
    if budget.norm is Norm.LINF:
        return at_x + in_box
    order = 2 if budget.norm is Norm.L2 else torch.inf  # the dual norm
    in_ball = -float(budget.eps) * rows.flatten(2).norm(order, dim=2)
    return at_x + torch.maximum(in_box, in_ball)


def _back(step: Step, spans: Sequence[Span], rows: Tensor) -> tuple[list[Tensor], Tensor]:
    """Coefficients of an affine step's sources, and the constant [S, n], by its transpose."""
    with torch.enable_grad():
        zeros = [torch.zeros_like(span.low).requires_grad_() for span in spans]
        constant = step.apply(*zeros)
        handed = torch.autograd.grad(
            constant, zeros, rows.expand(len(rows), *constant.shape), is_grads_batched=True
        )
    return list(handed), (rows * constant.detach()).flatten(2).sum(2)


def _between(step: Step, span: Span) -> HandOn:
    """A step that never falls lies between what it makes of both ends."""
    ends = through(step, span)

    def hand_on(above: Tensor, below: Tensor) -> tuple[None, Tensor]:
        return None, (above * ends.low + below * ends.high).flatten(2).sum(2)

    return hand_on


def _relaxed(step: Step, span: Span) -> HandOn:
    """How a step that never falls hands coefficients on by lines, where it has any."""
    if step.kind == "relu":
        return _rectified(span)
    return _at_most(step, span) if step.kind == "maximum" else _between(step, span)


def _at_most(step: Step, span: Span) -> HandOn:
    """A maximum is at least what is largest where all are lowest, and at most the highest of all."""
    highest = step.apply(span.high)

    def hand_on(above: Tensor, below: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            at = span.low.detach().clone().requires_grad_()
            (handed,) = torch.autograd.grad(step.apply(at), at, above, is_grads_batched=True)
        return handed, (below * highest).flatten(2).sum(2)

    return hand_on


def _rectified(span: Span) -> HandOn:
    """A ReLU lies above the nearer of 0 and the identity, and below the chord between its ends."""
    low, high = span.low, span.high
    crosses = (low < 0) & (high > 0)
    chord = torch.where(
        crosses, high / (high - low).clamp(min=torch.finfo(low.dtype).tiny), (low >= 0).to(low)
    )
    at_zero = torch.where(crosses, -low * chord, 0.0)
    under = torch.where(crosses, (high > -low).to(low), (low >= 0).to(low))

    def hand_on(above: Tensor, below: Tensor) -> tuple[Tensor, Tensor]:
        return above * under + below * chord, (below * at_zero).flatten(2).sum(2)

    return hand_on
