"""Square Attack: its schedule, its shapes, and the queries it may ask."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from bench.attacks.square import (
    Square,
    _bump,
    _l2_search,
    _linf_search,
    _odd_side,
    _rings,
    _stripes,
    share_after,
)
from bench.core.threat import SCORES, Budget, Norm

LINF, L2 = Budget(Norm.LINF, Fraction("0.1")), Budget(Norm.L2, Fraction("0.5"))


def test_the_schedule_is_the_papers() -> None:
    for query, halvings in ((1, 0), (10, 0), (11, 1), (51, 2), (201, 3), (501, 4), (1001, 5), (9999, 9)):
        assert share_after(query, 10_000, 0.8) == 0.8 / 2**halvings
    assert share_after(251, 5_000, 0.8) == 0.8 / 2**4  # stretched: query 251 of 5,000 is 502 of 10,000


def test_no_more_queries_than_allowed_and_none_once_broken(problem, seeded) -> None:
    tiny = Budget(Norm.LINF, Fraction("1/10000"))
    oracle = problem.oracle(knowledge=SCORES)
    Square(queries=37)(oracle, problem.x, problem.y, tiny, seeded(0))
    assert oracle.forwards.max().item() == 37
    huge = Budget(Norm.LINF, Fraction(1))
    oracle = problem.oracle(knowledge=SCORES)
    Square(queries=5000)(oracle, problem.x, problem.y, huge, seeded(0))
    assert oracle.hit.all() and oracle.forwards.max().item() < 1000


def test_one_query_asks_about_the_stripes(make_oracle, seeded) -> None:
    x, y = torch.full((3, 2, 4, 6), 0.5), torch.zeros(3, dtype=torch.int64)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
    x_adv = Square(queries=1)(make_oracle(network, y, 2), x, y, LINF, seeded(0))
    assert torch.allclose((x_adv - x).abs(), torch.tensor(0.1))
    assert (x_adv == x_adv[:, :, :1]).all()  # columns are constant
    assert not (x_adv == x_adv[:, :, :, :1]).all() and not (x_adv[0] == x_adv[1]).all()


def test_linf_changes_one_square_in_each_image_to_corners_of_the_ball(seeded) -> None:
    x = torch.full((50, 3, 8, 8), 0.5)
    generator = seeded(0)
    start, search = _stripes(x, LINF, generator), _linf_search(x, LINF, generator)
    candidate = search(start, 9 / 64)
    changed = (candidate != start).any(1)  # [n, H, W], somewhere inside a 3 x 3 square
    assert changed.flatten(1).any(1).all()  # a proposal is never the image itself
    for image in changed:
        rows, columns = image.any(1).nonzero(), image.any(0).nonzero()
        assert rows.max() - rows.min() < 3 and columns.max() - columns.min() < 3
    assert len({tuple(image.flatten().tolist()) for image in changed}) > 25  # every image has its own
    assert torch.allclose((candidate - x).abs(), torch.tensor(0.1))


def test_a_single_channel_never_wastes_a_query(seeded) -> None:
    x = torch.full((200, 1, 8, 8), 0.5)
    generator = seeded(0)
    start, search = _stripes(x, LINF, generator), _linf_search(x, LINF, generator)
    candidate = search(start, 1 / 64)  # one pixel: half of all random signs would change nothing
    assert ((candidate != start).flatten(1).sum(1) == 1).all()


def test_rings_by_hand() -> None:
    # side 3: n = 1; the rim has 1 / 2^2, the middle 1 / 2^2 + 1 / 1^2
    assert _rings(3, 3).tolist() == [[0.25] * 3, [0.25, 1.25, 0.25], [0.25] * 3]


@pytest.mark.parametrize("side", [1, 2, 3, 5, 8])
def test_bumps_have_length_one_and_two_signs(side: int) -> None:
    bump = _bump(side, torch.device("cpu"))
    assert bump.shape == (side, side)
    assert bump.norm().item() == pytest.approx(1)
    assert (bump[: side // 2] > 0).all() and (bump[side // 2 :] < 0).all()


@pytest.mark.parametrize(
    ("side", "limit", "odd"), [(1, 9, 3), (4, 9, 5), (8, 8, 7), (5, 9, 5), (3, 2, 1), (1, 1, 1)]
)
def test_sides_are_odd_and_fit(side: int, limit: int, odd: int) -> None:
    assert _odd_side(side, limit) == odd


def test_l2_spends_the_whole_budget_and_moves_mass(seeded) -> None:
    x = torch.full((40, 3, 10, 10), 0.5)  # far from the box
    generator = seeded(0)
    best, search = _stripes(x, L2, generator), _l2_search(x, L2, generator)
    assert (best - x).flatten(1).norm(dim=1).tolist() == pytest.approx([0.5] * 40, abs=1e-4)
    for _ in range(20):
        candidate = search(best, 0.1)
        # a proposal between two empty squares moves nothing: there is no mass
        assert (candidate != best).flatten(1).any(1).float().mean() > 0.8
        best = candidate
    assert (best - x).flatten(1).norm(dim=1).max().item() <= 0.5 + 1e-5
    assert (best - x).flatten(1).norm(dim=1).min().item() >= 0.45


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 2), (3, 1, 9), (1, 28, 28)])
@pytest.mark.parametrize("budget", [LINF, L2], ids=["Linf", "L2"])
def test_odd_shapes_work(shape: tuple[int, int, int], budget: Budget, make_mlp, make_oracle, seeded) -> None:
    network = make_mlp(num_classes=3, shape=shape)
    x = torch.rand(2, *shape, generator=seeded(0))
    y = network(x).argmax(1)
    x_adv = Square(queries=20)(make_oracle(network, y, 3), x, y, budget, seeded(0))
    assert x_adv.shape == x.shape and x_adv.isfinite().all()
