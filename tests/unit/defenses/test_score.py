"""SCORE: loss and gradients of the authors' own code, and its attack."""

import pytest
import torch

from bench.core.encoding import override
from bench.errors import BadValue
from defenses.score import Score, squared_distance

Y = torch.tensor([0, 1, 2, 3, 1])


@pytest.mark.parametrize(
    "score, loss, norms, first",  # trades_loss_LSE of the released code on the same logits
    [
        (Score(), 1.7118036747, (0.4335720837, 0.3380294442), (0.0159211271, -0.0395107530)),
        (
            Score(beta=4.0, label_smoothing=0.1, clip=0.3),
            0.9021685720,
            (0.4358955026, 0.2537665069),
            (-0.0723484755, 0.0),
        ),
    ],
)
def test_loss_and_gradients_are_those_of_the_released_code(waves, score, loss, norms, first):
    adv, clean = (waves(5, 4, phase=phase).requires_grad_() for phase in (0.1, 1.3))
    total = sum(score.terms(clean, adv, Y).values())
    total.backward()
    assert total.item() == pytest.approx(loss, rel=1e-6)
    assert [clean.grad.norm().item(), adv.grad.norm().item()] == pytest.approx(norms, rel=1e-5)
    assert [clean.grad[0, 0].item(), adv.grad[0, 0].item()] == pytest.approx(first, rel=1e-4, abs=1e-9)


def test_a_distance_is_at_most_two_and_zero_from_itself():
    a, b = torch.tensor([[90.0, 0.0]]), torch.tensor([[0.0, 90.0]])
    assert squared_distance(a, b).item() == pytest.approx(2) and squared_distance(a, a).item() == 0


def test_the_attack_makes_the_distance_larger(short, attacks):
    short(Score(steps=3))
    for made in attacks:
        with torch.no_grad():
            distance = squared_distance(made.net(made.x_adv), made.net(made.x))
        assert distance.mean() > 0 and (made.x_adv - made.x).abs().max() <= 8 / 255 + 1e-6


@pytest.mark.parametrize("settings", [{"beta": "-1"}, {"clip": "-1"}, {"label_smoothing": "1"}])
def test_values_out_of_range_are_one_sentence(settings):
    with pytest.raises(BadValue, match=next(iter(settings))):
        override(Score(), settings)
