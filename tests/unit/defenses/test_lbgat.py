"""LBGAT: loss and gradients of the authors' own code, who learns from what, and what is deployed."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from bench.core.encoding import override
from bench.errors import BadValue, UnknownName
from bench.plan import Request, plan_training
from bench.registry import DEFENSES
from defenses.lbgat import Lbgat

Y = torch.tensor([0, 1, 2, 3, 1])


@pytest.mark.parametrize(
    "beta, loss, norms, first",  # lbgat_loss of the released lbgat.py on the same logits
    [
        (0.0, 6.9141058922, (1.0544459820, 0.0, 1.1708315611), (-0.1417325884, 0.0, 0.0812039226)),
        (6.0, 10.8615055084, (2.3562111855, 1.5109257698, 1.1708315611), (-0.5752187, 0.5593584, 0.0812039)),
    ],
)
def test_loss_and_gradients_are_those_of_the_released_code(waves, beta, loss, norms, first):
    adv, clean, guide = (waves(5, 4, phase=phase).requires_grad_() for phase in (0.1, 1.3, 2.2))
    total = sum(Lbgat(beta=beta).terms(adv, clean, guide, Y).values())
    total.backward()
    found = [torch.zeros(5, 4) if part.grad is None else part.grad for part in (adv, clean, guide)]
    assert total.item() == pytest.approx(loss, rel=1e-6)
    assert [part.norm().item() for part in found] == pytest.approx(norms, rel=1e-5, abs=1e-9)
    assert [part[0, 0].item() for part in found] == pytest.approx(first, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("beta", [0.0, 6.0])
def test_the_student_sees_two_batches_in_a_step_and_the_guide_one(short, beta):
    """As released: BatchNorm's statistics of the clean images count even where nothing is learnt of them."""
    net = short(Lbgat(steps=1, beta=beta), steps=3)
    seen = [
        {int(value) for name, value in part.state_dict().items() if name.endswith("num_batches_tracked")}
        for part in (net.student, net.guide)
    ]
    assert seen == [{6}, {3}]


def test_both_learn_and_the_student_alone_is_attacked_and_deployed(short, attacks):
    net = short(Lbgat(steps=2), steps=2)
    assert len(attacks) == 2 and all(type(made.net) is type(net.student) for made in attacks)
    for made in attacks:
        with torch.no_grad():
            divergence = F.kl_div(
                made.net(made.x_adv).log_softmax(1), made.net(made.x).softmax(1), reduction="sum"
            )
        assert divergence > 0 and (made.x_adv - made.x).abs().max() <= 8 / 255 + 1e-6
    assert Lbgat().deploy(net).predict is net.student
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(net.eval()(x), net.student(x)), "so it can teach others"


def test_one_step_changes_student_and_guide(short):
    before, after = (short(Lbgat(steps=1), steps=steps) for steps in (2, 3))
    for part in ("student", "guide"):
        old, new = (dict(getattr(net, part).named_parameters()) for net in (before, after))
        assert any(not torch.equal(old[name], new[name]) for name in old), part


def test_the_guide_may_have_another_architecture_and_its_code_counts():
    wide = plan_training(Request("lbgat", settings={"defense": {"guide": "resnet18"}}))
    plain = plan_training(Request("lbgat"))
    assert "bench.nn.resnet" in wide.modules and "bench.nn.resnet" not in plain.modules
    assert wide.id != plain.id
    with pytest.raises(UnknownName, match="architecture is named 'resnet17'; did you mean 'resnet18'"):
        Lbgat(guide="resnet17")


def test_it_is_registered_as_published_and_says_what_is_out_of_range():
    assert DEFENSES.get("lbgat") == Lbgat() == replace(Lbgat(), beta=0.0, steps=10)
    with pytest.raises(BadValue, match=r"beta is -1\.0, expected a number of at least 0"):
        override(Lbgat(), {"beta": "-1"})
