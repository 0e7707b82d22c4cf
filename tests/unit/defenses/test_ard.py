"""ARD: both terms by hand, the limit of a high temperature, and a teacher that stays as it was."""

import copy
import math
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F

from bench.core.encoding import override
from bench.errors import BadValue
from bench.registry import DEFENSES
from defenses.ard import Ard

Y = torch.tensor([0])


def logits(*probabilities, temperature=1.0):
    """Logits whose softmax at this temperature is given."""
    return temperature * torch.tensor([[math.log(p) for p in probabilities]])


def test_the_distillation_by_hand():
    student, teacher = logits(0.8, 0.2, temperature=30.0), logits(0.5, 0.5, temperature=30.0)
    kl = 0.5 * math.log(0.5 / 0.8) + 0.5 * math.log(0.5 / 0.2)  # the teacher is the first argument
    terms = Ard().terms(student, None, teacher, Y)
    assert set(terms) == {"distillation"}, "alpha = 1 has no use for labels"
    assert terms["distillation"].item() == pytest.approx(900 * kl, rel=1e-5)
    half = Ard(alpha=0.5, t=30.0).terms(student, logits(0.1, 0.9), teacher, Y)
    assert half["distillation"].item() == pytest.approx(450 * kl, rel=1e-5)
    assert half["clean"].item() == pytest.approx(-0.5 * math.log(0.1), rel=1e-5)


def test_the_released_reduction_is_torchs_and_k_times_smaller():
    torch.manual_seed(0)
    student, teacher, y = torch.randn(6, 10), torch.randn(6, 10), torch.arange(6)
    released, paper = (
        Ard(t=4.0, reduction=reduction).terms(student, None, teacher, y)["distillation"].item()
        for reduction in ("elements", "batch")
    )
    p, q = (teacher / 4).softmax(1), (student / 4).log_softmax(1)
    assert released == pytest.approx(16 * F.kl_div(q, p, reduction="none").mean().item(), rel=1e-5)
    assert paper == pytest.approx(16 * F.kl_div(q, p, reduction="batchmean").item(), rel=1e-5)
    assert paper == pytest.approx(10 * released, rel=1e-5)


def test_at_a_high_temperature_it_is_half_the_variance_of_the_logits_difference():
    """Hinton, Vinyals, Dean (2015): matching softened answers becomes matching centred logits."""
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    variance = (teacher - student).var(dim=1, correction=0).mean().item() / 2
    term = Ard(t=100.0).terms(student, None, teacher, Y.expand(4))["distillation"].item()
    assert term == pytest.approx(variance, rel=0.03)


def test_the_gradient_reaches_the_student_alone():
    torch.manual_seed(0)
    student, teacher = (torch.randn(4, 5, requires_grad=True) for _ in range(2))
    Ard(t=3.0).terms(student, None, teacher, Y.expand(4))["distillation"].backward()
    closed = 3 * ((student.detach() / 3).softmax(1) - (teacher.detach() / 3).softmax(1)) / 4
    assert torch.allclose(student.grad, closed, atol=1e-6) and teacher.grad is None


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_the_teacher_stays_as_it_was(alpha, short, fresh):
    before = copy.deepcopy(fresh.state_dict())
    student = short(Ard(alpha=alpha, steps=1), steps=3, teacher=fresh)
    after = fresh.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert all(parameter.grad is None for parameter in fresh.parameters()) and not fresh.training
    assert any(not torch.equal(before[key], value) for key, value in student.state_dict().items())


def test_the_student_itself_is_attacked_with_the_true_labels(short, fresh, attacks):
    short(Ard(), teacher=fresh)
    assert len(attacks) == 2
    for made in attacks:
        with torch.no_grad():
            before, after = (F.cross_entropy(made.net(x), made.labels[0]) for x in (made.x, made.x_adv))
        assert after > before
        assert (made.x_adv - made.x).abs().max() <= 8 / 255 + 1e-6


def test_clean_images_are_forwarded_only_for_labels(passes):
    assert passes(Ard(steps=3, clean_forward=False)) == (3 + 1, 1, 3, 1)
    assert passes(Ard(steps=3)) == (3 + 2, 1, 3, 1), "and for BatchNorm's statistics, as released"
    assert passes(Ard(steps=3, alpha=0.5)) == (3 + 2, 1, 3, 2)


def test_it_is_registered_with_the_published_figures():
    registered = DEFENSES.get("ard")
    assert registered == Ard(alpha=1.0, t=30.0, steps=10, step_size=Fraction(1, 4))
    assert registered.requires == {"teacher": "pgd_at"}
    assert override(registered, {"teacher": "trades"}).requires == {"teacher": "trades"}


@pytest.mark.parametrize(
    "settings", [{"steps": "0"}, {"alpha": "0"}, {"alpha": "1.5"}, {"t": "0"}, {"reduction": "sum"}]
)
def test_values_out_of_range_are_one_sentence(settings):
    with pytest.raises(BadValue, match=next(iter(settings))):
        override(Ard(), settings)
