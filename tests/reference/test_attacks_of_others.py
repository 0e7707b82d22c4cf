"""Attacks of other libraries give through the oracle what they give on the bare network, at the same cost.

Where nobody learns of a success (a transfer to the network itself), images are the same to float precision.
Elsewhere examples stop costing anything once they are broken, so only their fate can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from bench.api import Attack, Deployed, Trial
from bench.attacks.others.adapter import seeded
from bench.core.threat import DECISIONS, SCORES, TRANSFER, WHITE_BOX, Budget, Knowledge, Norm, Source
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Cell, Chunk, play
from bench.evaluate.ledger import Ledger
from bench.evaluate.numerics import PLAIN
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import Referee
from bench.registry import ATTACKS

N = 24
EPS = 0.1
LINF, L2 = Budget(Norm.LINF, Fraction("0.1")), Budget(Norm.L2, Fraction("0.6"))
PINPOINT = Budget(Norm.LINF, Fraction("1/10000"))
"""A radius within which nothing breaks, so that every pass is made for everyone."""

Direct = Callable[[nn.Module, Tensor, Tensor, float], Tensor]
"""(network, images, labels, radius) -> what the library itself makes of them"""


Fitted = tuple[nn.Module, Tensor, Tensor]
"""A network, images that it knows and their labels."""


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    """A small CNN after 60 full-batch steps, and digits that it classifies correctly."""
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    y = torch.tensor(digits.target)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(12 * 64, 10)
        )
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(60):
        loss = nn.functional.cross_entropy(network(x[500:]), y[500:])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval().requires_grad_(False)
    right = (network(x).argmax(1) == y).nonzero().squeeze(1)[:N]
    return network, x[right], y[right]


def _torchattacks(name: str, **fields: Any) -> Direct:
    def run(network: nn.Module, x: Tensor, y: Tensor, radius: float) -> Tensor:
        library = pytest.importorskip("torchattacks")
        attack = getattr(library, name)(network, eps=radius, **fields)
        attack.set_device(x.device)
        made: Tensor = attack(x, y)
        return made

    return run


def _foolbox(name: str, **fields: Any) -> Direct:
    def run(network: nn.Module, x: Tensor, y: Tensor, radius: float) -> Tensor:
        library = pytest.importorskip("foolbox")
        model = library.PyTorchModel(network, bounds=(0, 1), device=x.device)
        made: Tensor = getattr(library.attacks, name)(**fields)(model, x, y, epsilons=radius)[1]
        return made

    return run


def _art(name: str, **fields: Any) -> Direct:
    def run(network: nn.Module, x: Tensor, y: Tensor, radius: float) -> Tensor:
        pytest.importorskip("art")
        import art.attacks.evasion
        from art.estimators.classification import PyTorchClassifier

        model = PyTorchClassifier(
            network, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0.0, 1.0), device_type="cpu"
        )
        attack = getattr(art.attacks.evasion, name)(model, eps=radius, verbose=False, **fields)
        return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))

    return run


def _advlib(name: str, **fields: Any) -> Direct:
    def run(network: nn.Module, x: Tensor, y: Tensor, radius: float) -> Tensor:
        library = pytest.importorskip("adv_lib.attacks")
        made: Tensor = getattr(library, name)(network, x, y, ε=radius, **fields)
        return made

    return run


FROM_THE_IMAGE: dict[str, tuple[dict[str, Any], Direct]] = {
    "torchattacks:PGD": (
        {"alpha": Fraction(1, 40), "steps": 8, "random_start": False},
        _torchattacks("PGD", alpha=1 / 40, steps=8, random_start=False),
    ),
    "torchattacks:MIFGSM": (
        {"alpha": Fraction(1, 40), "steps": 8, "decay": 0.5},
        _torchattacks("MIFGSM", alpha=1 / 40, steps=8, decay=0.5),
    ),
    "foolbox:LinfPGD": (
        {"rel_stepsize": Fraction(1, 10), "steps": 8, "random_start": False},
        _foolbox("LinfPGD", rel_stepsize=0.1, steps=8, random_start=False),
    ),
    "art:ProjectedGradientDescent": (
        {"eps_step": 0.025, "max_iter": 8},
        _art("ProjectedGradientDescent", eps_step=0.025, max_iter=8),
    ),
    "advlib:pgd_linf": (
        {"relative_step_size": Fraction(1, 8), "steps": 8, "random_init": False},
        _advlib("pgd_linf", relative_step_size=1 / 8, steps=8, random_init=False),
    ),
}
AT_RANDOM: dict[str, tuple[dict[str, Any], Direct]] = {
    "torchattacks:PGD": ({"alpha": Fraction(1, 40)}, _torchattacks("PGD", alpha=1 / 40)),
    "foolbox:LinfPGD": ({"rel_stepsize": Fraction(1, 10)}, _foolbox("LinfPGD", rel_stepsize=0.1)),
    "art:ProjectedGradientDescent": (
        {"eps_step": 0.025, "max_iter": 8, "num_random_init": 1},
        _art("ProjectedGradientDescent", eps_step=0.025, max_iter=8, num_random_init=1),
    ),
    "advlib:pgd_linf": (
        {"steps": 8, "relative_step_size": Fraction(1, 10)},
        _advlib("pgd_linf", steps=8, relative_step_size=0.1),
    ),
}
EVERY = [("image", *item) for item in FROM_THE_IMAGE.items()] + [
    ("random", *item) for item in AT_RANDOM.items()
]
every = pytest.mark.parametrize(
    ("name", "held"), [item[1:] for item in EVERY], ids=[f"{item[1]}-{item[0]}" for item in EVERY]
)


def _attack(name: str, **fields: Any) -> Attack:
    prefix = name.partition(":")[0]
    pytest.importorskip({"advlib": "adv_lib", "autoattack": "pyautoattack"}.get(prefix, prefix))
    attack: Any = replace(ATTACKS.get(name), **fields)  # type: ignore[type-var]
    return attack


def _oracle(network: nn.Module, x: Tensor, y: Tensor, knowledge: Knowledge, budget: Budget) -> MeteredOracle:
    deployed, batches = Deployed(network), Batches(10)
    access = Access(deployed, knowledge, {Source.SURROGATE: network}, PLAIN)
    return MeteredOracle(access, Referee(deployed, budget, batches), Ledger(x, y, 10), batches)


def _play(attack: Attack, knowledge: Knowledge, fitted: Fitted, budget: Budget) -> Cell:
    network, x, y = fitted
    arena = Arena(Deployed(network), budget, 10, {}, PLAIN, Batches(10), seed=0)
    return play(arena, Trial("it", attack, knowledge), Chunk(0, x, y, torch.arange(len(x))), 0)


@every
def test_images_are_those_of_the_library_alone(
    name: str, held: tuple[dict[str, Any], Direct], fitted: Fitted
) -> None:
    network, x, y = fitted
    fields, direct = held
    oracle = _oracle(network, x, y, TRANSFER, LINF)
    through = _attack(name, **fields)(oracle, x, y, LINF, torch.Generator().manual_seed(3))
    with seeded(torch.Generator().manual_seed(3)):
        alone = direct(network, x.clone(), y.clone(), EPS).detach()
    assert (alone - x).abs().max() > EPS / 2  # or nothing would be compared
    torch.testing.assert_close(through, alone, rtol=0, atol=1e-6)


@every
def test_what_the_library_breaks_alone_is_broken_through_the_oracle(
    name: str, held: tuple[dict[str, Any], Direct], fitted: Fitted
) -> None:
    network, x, y = fitted
    fields, direct = held
    oracle = _oracle(network, x, y, WHITE_BOX, LINF)
    candidate = _attack(name, **fields)(oracle, x, y, LINF, torch.Generator().manual_seed(3))
    ours = oracle.broken() | (network(candidate).argmax(1) != y)
    with seeded(torch.Generator().manual_seed(3)):
        alone = network(direct(network, x.clone(), y.clone(), EPS).detach()).argmax(1) != y
    assert 2 < alone.sum() < N - 2
    assert ours[alone].all()
    assert (ours & ~alone).sum() <= 2  # broken on the way, which the library forgets


class Counting(nn.Module):
    """Counts the images that pass, and the gradients that come back."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.forwards, self.backwards = network, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        logits: Tensor = self.network(x)
        if logits.requires_grad:
            logits.register_hook(self._returned)
        return logits

    def _returned(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


@every
def test_passes_are_counted_as_a_hook_counts_them(
    name: str, held: tuple[dict[str, Any], Direct], fitted: Fitted
) -> None:
    network, x, y = fitted
    fields, direct = held
    oracle = _oracle(network, x, y, WHITE_BOX, PINPOINT)
    _attack(name, **fields)(oracle, x, y, PINPOINT, torch.Generator().manual_seed(3))
    counting = Counting(network).eval()
    with seeded(torch.Generator().manual_seed(3)):
        direct(counting, x.clone(), y.clone(), PINPOINT.radius)
    ledger = oracle._ledger
    assert not ledger.broken.any() and counting.backwards >= 8 * N
    assert (ledger.forwards == counting.forwards / N).all()
    assert (ledger.backwards == counting.backwards / N).all()


GRADIENTS = (
    "torchattacks:PGD",
    "foolbox:LinfPGD",
    "art:FastGradientMethod",
    "advlib:pgd_linf",
    "autoattack:fab",
)


@pytest.mark.parametrize("name", GRADIENTS)
def test_scores_give_no_gradients(name: str, fitted: Fitted) -> None:
    cell = _play(_attack(name), SCORES, fitted, LINF)
    assert cell.outcomes is None
    assert cell.error == "AccessDenied: this knowledge gives no gradients, and the attack asked for one"


@pytest.mark.parametrize("name", ["foolbox:HopSkipJumpAttack", "art:HopSkipJump"])
def test_decisions_are_enough_for_attacks_on_decisions_until_queries_are_spent(
    name: str, fitted: Fitted
) -> None:
    network, x, y = fitted
    knows = replace(DECISIONS, max_queries=150)
    with torch.no_grad():
        answers = _oracle(network, x, y, knows, L2).lend()(x)
    assert torch.equal(answers, nn.functional.one_hot(y, 10).float())
    cell = _play(_attack(name), knows, (network, x[:6], y[:6]), L2)
    assert cell.error is None and cell.outcomes is not None
    np.testing.assert_array_less(cell.outcomes.forwards, 151)
    assert (cell.outcomes.forwards[cell.outcomes.robust] == 150).any()
    assert (cell.outcomes.backwards == 0).all()


def test_minimal_attacks_agree_under_l2(fitted: Fitted) -> None:
    """DDN finds the same distances through the oracle as alone, because no answer of it comes from a stop."""
    network, x, y = fitted
    library = pytest.importorskip("adv_lib.attacks")
    oracle = _oracle(network, x, y, TRANSFER, L2)
    through = _attack("advlib:ddn", steps=20)(oracle, x, y, L2, torch.Generator().manual_seed(0))
    alone = library.ddn(network, x.clone(), y.clone(), steps=20)
    torch.testing.assert_close(through, alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("component", ["apgd-ce", "square"])
def test_components_of_autoattack_have_names(component: str, fitted: Fitted) -> None:
    named: Any = ATTACKS.get(f"autoattack:{component}")
    assert named.component == component and named.version == "standard"
    assert named.needs == ("scores" if component == "square" else "gradients")
