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
        self._sloped = torch.zeros(n, dtype=torch.bool, device=device)
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
        return (self.backwards > 0) & ~self._sloped

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

    def affordable(self, rows: Tensor, limit: int) -> Tensor | None:
        """[m] bool: what of a query stays within the limit, copies of a row counted one by one; None: all."""
        if rows is not self._rows:
            self._crowd = int(torch.bincount(rows).max()) if len(rows) else 1
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
            self._sloped[self._rows[self._open_sloped]] = True
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
        """Look for successes among the answers since the last time."""
        asked, self._asked = self._asked, []
        if len(asked) > 1 and not bool(torch.stack([query.suspects for query in asked]).any()):
            return  # the host has waited once for all of them
        later = 0  # charged to these rows after the query that is looked at
        total = sum(query.forwards for query in asked)
        for query in asked:
            later += query.forwards
            if query.x._version == query.version:
                self._confirm(query, total - later)
            else:
                self._every = 1  # this attack writes into its images: look before it can

    def _confirm(self, query: _Asked, later: int) -> None:
        ledger, rows = self.ledger, query.rows
        suspects = query.suspects.nonzero().squeeze(1)
        if len(suspects) == 0:
            return
        if ledger.changes:
            suspects = suspects[~ledger.broken[rows[suspects]]]
        candidates = rows[suspects]
        if ledger.nearest:
            self._keep_nearest(query.x[suspects], candidates, later)
            return
        verdict = self._referee.judge(query.x[suspects], ledger.x[candidates])
        wrong = fools(verdict.classes, ledger.y[candidates]) & ~verdict.invalid
        if self._referee.draws > 1:
            wrong = self._keep_surest(verdict, wrong, candidates, later)
        fresh, found = candidates[wrong], suspects[wrong]
        if len(fresh) == 0:
            return
        ledger.broken[fresh] = ledger.found[fresh] = True
        ledger.witness[fresh] = verdict.x[wrong]
        ledger.witness_class[fresh] = verdict.classes[wrong]
        first, now = ledger.first_success[fresh], ledger.forwards[fresh] - later
        ledger.first_success[fresh] = torch.where(first == NEVER, now, first)
        ledger.logits[fresh] = query.logits[found]
        if query.loss is not None:
            ledger.loss[fresh] = query.loss[found].to(ledger.loss.dtype)
        ledger.changes += 1

    def _keep_surest(self, verdict: Verdict, wrong: Tensor, rows: Tensor, later: int) -> Tensor:
        """Of images [m] that won a vote, those that fool more draws than what their examples had are kept.

        A vote that is won may be luck, and among many queries one is lucky: so an attack goes on until every
        draw of two votes is fooled. Returns of which images [m] that is so.
        """
        ledger = self.ledger
        order = verdict.agreed.argsort(stable=True)
        order = order[(wrong & (verdict.agreed > ledger.agreed[rows]))[order]]
        kept = order[_last_of_each(rows[order], len(ledger.y))]
        fresh = rows[kept]
        ledger.witness[fresh], ledger.witness_class[fresh] = verdict.x[kept], verdict.classes[kept]
        ledger.agreed[fresh], ledger.found[fresh] = verdict.agreed[kept], True
        first = fresh[ledger.first_success[fresh] == NEVER]
        ledger.first_success[first] = ledger.forwards[first] - later
        sure = (wrong & (verdict.agreed == 1)).nonzero().squeeze(1)
        again = self._referee.judge(verdict.x[sure], ledger.x[rows[sure]])
        decided = (again.agreed == 1) & fools(again.classes, ledger.y[rows[sure]])
        return torch.zeros_like(wrong).index_fill_(0, sure[decided], True)

    def _keep_nearest(self, x: Tensor, rows: Tensor, later: int) -> None:
        """Of images [m, C, H, W], those that are nearer than what their examples had and that fool."""
        ledger, referee = self.ledger, self._referee
        x = project(x.to(ledger.x.dtype).nan_to_num(), ledger.x[rows], referee.budget)
        length = referee.distance(x, ledger.x[rows])
        order = length.argsort(descending=True, stable=True)  # of several of an example the nearest is last
        order = order[(length < ledger.length[rows])[order]]
        if len(order) == 0:
            return
        x, rows, length = x[order], rows[order], length[order]
        verdict = referee.judge(x, ledger.x[rows])
        wrong = fools(verdict.classes, ledger.y[rows]).nonzero().squeeze(1)
        kept = wrong[_last_of_each(rows[wrong], len(ledger.y))]
        fresh = rows[kept]
        ledger.witness[fresh], ledger.witness_class[fresh] = verdict.x[kept], verdict.classes[kept]
        ledger.length[fresh], ledger.found[fresh] = length[kept], True
        first = fresh[ledger.first_success[fresh] == NEVER]
        ledger.first_success[first] = ledger.forwards[first] - later


def _last_of_each(rows: Tensor, n: int) -> Tensor:
    """[m] bool: whether no later place holds the same of n rows."""
    place = torch.arange(len(rows), device=rows.device)
    last = torch.full((n,), -1, dtype=torch.int64, device=rows.device).scatter_reduce_(0, rows, place, "amax")
    return last[rows] == place
