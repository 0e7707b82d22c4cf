"""The ledger: what was spent on each example and what broke it; and the meter that writes it, made cheap.

A query is charged to many examples at once, and most queries in a row are charged to the same ones: so counts
are kept as plain numbers beside those rows and written to the tensors when other rows are asked about.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.attacks.geometry import project
from bench.core.outcomes import NEVER
from bench.evaluate.referee import Referee, Verdict, fools

CHECKED_EVERY = {"cuda": 8}
"""After how many queries successes are looked for, by kind of device: looking makes the host wait for a GPU.

What is found does not depend on it, only how soon: an example costs at most so many queries more.
"""


class Ledger:
    """What was spent on each of n examples, and the first confirmed success of each.

    With `nearest`, the nearest success of each instead; and none of them is called broken, so that attacks
    go on. Of a randomized defense the surest success is kept: the image that most draws are fooled by.
    """

    def __init__(self, x: Tensor, y: Tensor, num_classes: int, nearest: bool = False) -> None:
        n, device = len(x), x.device
        self.x, self.y, self.nearest = x, y, nearest
        self.first_success = torch.full((n,), NEVER, dtype=torch.int64, device=device)
        self.broken = torch.zeros(n, dtype=torch.bool, device=device)
        self.found = torch.zeros_like(self.broken)  # a success is confirmed
        self.told = torch.zeros_like(self.broken)  # the attack was told of it before it returned
        self.misled = torch.zeros_like(self.broken)  # answered for another image than was asked about
        self.shared = torch.zeros_like(self.broken)  # whose images lent networks could not tell from others'
        self.length = torch.full((n,), torch.inf, device=device)  # of the witness; only with `nearest`
        self.agreed = torch.zeros(n, device=device)  # share of draws that the witness fools
        self.exhausted = torch.zeros(n, dtype=torch.bool, device=device)  # have spent all their queries
        self.witness = x.clone()
        self.witness_class = y.clone()
        self.logits = torch.zeros(n, num_classes, device=device)  # last answers to those who get no others
        self.loss = torch.zeros(n, device=device)
        self.changes = 0  # how often `broken` or `exhausted` changed: views keep their index until then
        self._forwards = torch.zeros(n, dtype=torch.int64, device=device)
        self._backwards = torch.zeros(n, dtype=torch.int64, device=device)
        self._sloped = torch.zeros(n, dtype=torch.int64, device=device)  # charges with a gradient not zero
        self._rows: Tensor | None = None  # whom the open charges are for
        self._open_forwards = self._open_backwards = 0
        self._open_sloped: Tensor | None = None
        self._most = 0  # no example has been asked about more often
        self._crowd = 1  # how often the same row comes in those rows

    @property
    def forwards(self) -> Tensor:
        """[n] int64: queries charged to each example."""
        self._write()
        return self._forwards

    @property
    def backwards(self) -> Tensor:
        """[n] int64: gradients charged to each example."""
        self._write()
        return self._backwards

    @property
    def flat(self) -> Tensor:
        """[n] bool: gradients were asked for, and every one was exactly zero."""
        return (self.backwards > 0) & (self._sloped == 0)

    def charge(self, rows: Tensor, forwards: int, backwards: int = 0, sloped: Tensor | None = None) -> None:
        """Passes for each of the rows [m]; `sloped` [m]: where the gradient was not zero."""
        if rows is not self._rows:
            self._write()
            self._rows = rows
        self._open_forwards += forwards
        self._open_backwards += backwards
        self._most += forwards
        if sloped is not None:
            self._open_sloped = sloped if self._open_sloped is None else self._open_sloped | sloped

    def affordable(self, rows: Tensor, limit: int, crowd: int | None = None) -> Tensor | None:
        """[m] bool: what of a query stays within the limit, copies of a row counted one by one; None: all.

        `crowd`: no row comes more often; None: it is counted, which a GPU must be waited for.
        """
        if rows is not self._rows:
            self._crowd = crowd_of(rows) if crowd is None else crowd
        self._most += self._crowd - 1  # and one when it is charged
        if self._most < limit:
            return None
        ordered, order = rows.sort(stable=True)
        turn = torch.arange(len(rows), device=rows.device) - torch.searchsorted(ordered, ordered)
        return self.forwards[rows] + torch.empty_like(turn).index_copy_(0, order, turn) < limit

    def exhaust(self, limit: int) -> None:
        """Note whose queries are spent."""
        if self._most < limit:
            return
        exhausted = self.forwards >= limit
        if not torch.equal(exhausted, self.exhausted):
            self.exhausted = exhausted
            self.changes += 1

    def _write(self) -> None:
        if self._rows is None:
            return
        # an example may have been asked about several times in one query: index_add counts each
        count = torch.full_like(self._rows, self._open_forwards)
        self._forwards.index_add_(0, self._rows, count)
        if self._open_backwards:
            self._backwards.index_add_(0, self._rows, torch.full_like(self._rows, self._open_backwards))
        if self._open_sloped is not None:
            self._sloped.index_add_(0, self._rows, self._open_sloped.to(torch.int64))
        self._rows, self._open_forwards, self._open_backwards, self._open_sloped = None, 0, 0, None


@dataclass(frozen=True)
class _Asked:
    """A query whose answer has not been looked at."""

    rows: Tensor
    x: Tensor
    version: int  # of x: an attack that writes into its image has lost it
    logits: Tensor
    loss: Tensor | None
    suspects: Tensor  # [m] bool: misclassified, as far as the attacker's arithmetic goes
    forwards: int  # of each row, charged with this query


class Meter:
    """Looks through answers for successes, has the referee confirm them, and writes them down."""

    def __init__(self, referee: Referee, ledger: Ledger, looks: bool) -> None:
        self.ledger = ledger
        self._referee, self._looks = referee, looks
        self._every = CHECKED_EVERY.get(ledger.y.device.type, 1)
        self._asked: list[_Asked] = []
        self._labels: tuple[Tensor, Tensor] | None = None  # rows and their y, of the last query

    def watch(self, rows: Tensor, x: Tensor, logits: Tensor, loss: Tensor | None, forwards: int) -> None:
        """Keep the answers [m, K] to images x [m, C, H, W] until successes are looked for."""
        if not self._looks:
            return
        if self._asked and self._asked[-1].rows is not rows:
            self.settle()
        if self._labels is None or self._labels[0] is not rows:
            self._labels = rows, self.ledger.y[rows]
        suspects = logits.argmax(dim=1) != self._labels[1]
        self._asked.append(_Asked(rows, x, x._version, logits, loss, suspects, forwards))
        if len(self._asked) >= self._every:
            self.settle()

    def settle(self) -> None:
        """Look for successes among the answers since the last time, in one pass: a GPU is waited for once."""
        asked, self._asked = self._asked, []
        later, found = 0, []  # charged to these rows after the query that is looked at
        for query in reversed(asked):
            if query.x._version == query.version:
                found.append((query, later))
            else:
                self._every = 1  # this attack writes into its images: look before it can
            later += query.forwards
        if found:
            self._confirm([query for query, _ in found], [after for _, after in found])

    def _confirm(self, asked: list[_Asked], later: list[int]) -> None:
        """Judge the suspects of queries to the same rows, the latest first."""
        ledger, rows = self.ledger, asked[0].rows
        suspects = _one([query.suspects for query in asked])
        if ledger.changes:
            suspects = suspects & ~_one([ledger.broken[rows]] * len(asked))
        at = suspects.nonzero().squeeze(1)
        if len(at) == 0:
            return
        x = _one([query.x for query in asked])[at]
        candidates = _one([rows] * len(asked))[at]
        after = _one([rows.new_full(rows.shape, charged) for charged in later])[at]
        if ledger.nearest:
            self._keep_nearest(x, candidates, after)
            return
        verdict = self._referee.judge(x, ledger.x[candidates])
        wrong = fools(verdict.classes, ledger.y[candidates]) & ~verdict.invalid
        if self._referee.draws > 1:
            wrong = self._keep_surest(verdict, wrong, candidates, after)
        hit, first = _last_of_each(candidates, _places(wrong), len(ledger.y))
        ledger.broken[candidates] |= hit
        self._write_down(candidates, hit, verdict.x[first], verdict.classes[first])
        self._date(candidates, hit, after[first])
        answers = _one([query.logits for query in asked])[at][first].to(ledger.logits.dtype)
        ledger.logits[candidates] = torch.where(hit[:, None], answers, ledger.logits[candidates])
        losses = [ledger.loss[rows] if q.loss is None else q.loss.to(ledger.loss.dtype) for q in asked]
        ledger.loss[candidates] = torch.where(hit, _one(losses)[at][first], ledger.loss[candidates])
        ledger.changes += 1  # perhaps: to know it would be to wait

    def _write_down(self, rows: Tensor, hit: Tensor, x: Tensor, classes: Tensor) -> None:
        """The images and classes that count from now on, where there are such."""
        ledger = self.ledger
        ledger.witness[rows] = torch.where(hit[:, None, None, None], x, ledger.witness[rows])
        ledger.witness_class[rows] = torch.where(hit, classes, ledger.witness_class[rows])
        ledger.found[rows] |= hit

    def _date(self, rows: Tensor, hit: Tensor, later: Tensor) -> None:
        """When the first success of each was asked about: so many queries ago."""
        ledger, before = self.ledger, self.ledger.first_success[rows]
        now = ledger.forwards[rows] - later
        ledger.first_success[rows] = torch.where(hit & (before == NEVER), now, before)

    def _keep_surest(self, verdict: Verdict, wrong: Tensor, rows: Tensor, later: Tensor) -> Tensor:
        """Of images [m] that won a vote, those that fool more draws than what their examples had are kept.

        A vote that is won may be luck, and among many queries one is lucky: so an attack goes on until every
        draw of two votes is fooled. Returns of which images [m] that is so.
        """
        ledger = self.ledger
        surer = wrong & (verdict.agreed > ledger.agreed[rows])
        order = verdict.agreed.argsort(stable=True)
        rank = torch.empty_like(order).index_copy_(0, order, torch.arange(len(order), device=order.device))
        hit, most = _last_of_each(rows, rank.masked_fill(~surer, -1), len(ledger.y))
        kept = order[most]
        self._write_down(rows, hit, verdict.x[kept], verdict.classes[kept])
        ledger.agreed[rows] = torch.where(hit, verdict.agreed[kept], ledger.agreed[rows])
        hit, first = _last_of_each(rows, _places(surer), len(ledger.y))
        self._date(rows, hit, later[first])
        sure = (wrong & (verdict.agreed == 1)).nonzero().squeeze(1)
        again = self._referee.judge(verdict.x[sure], ledger.x[rows[sure]])
        decided = (again.agreed == 1) & fools(again.classes, ledger.y[rows[sure]])
        return torch.zeros_like(wrong).index_copy_(0, sure, decided)

    def _keep_nearest(self, x: Tensor, rows: Tensor, later: Tensor) -> None:
        """Of images [m, C, H, W], those that are nearer than what their examples had and that fool."""
        ledger, referee = self.ledger, self._referee
        x = project(x.to(ledger.x.dtype).nan_to_num(), ledger.x[rows], referee.budget)
        length = referee.distance(x, ledger.x[rows])
        order = length.argsort(descending=True, stable=True)  # of several of an example the nearest is last
        order = order[(length < ledger.length[rows])[order].nonzero().squeeze(1)]
        if len(order) == 0:
            return
        x, rows, length = x[order], rows[order], length[order]
        verdict = referee.judge(x, ledger.x[rows])
        wrong = fools(verdict.classes, ledger.y[rows])
        hit, nearest = _last_of_each(rows, _places(wrong), len(ledger.y))
        self._write_down(rows, hit, verdict.x[nearest], verdict.classes[nearest])
        ledger.length[rows] = torch.where(hit, length[nearest], ledger.length[rows])
        hit, first = _last_of_each(rows, order.masked_fill(~wrong, -1), len(ledger.y))
        self._date(rows, hit, later[first])


def crowd_of(rows: Tensor) -> int:
    """How often that row comes that comes most often; at least 1."""
    return int(torch.bincount(rows).max()) if len(rows) else 1


def _one(parts: list[Tensor]) -> Tensor:
    """One tensor after the other; a single one is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _places(held: Tensor) -> Tensor:
    """[m] int64: each place where something holds, -1 elsewhere."""
    return torch.arange(len(held), device=held.device).masked_fill_(~held, -1)


def _last_of_each(rows: Tensor, keys: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Of all places [m] that hold the same of n rows, the largest key.

    Whether there is one [m], for keys below 0 count for nothing; and that key [m], 0 where there is none.
    """
    largest = torch.full((n,), -1, dtype=torch.int64, device=rows.device)
    largest = largest.scatter_reduce_(0, rows, keys, "amax")[rows]
    return largest >= 0, largest.clamp(min=0)
