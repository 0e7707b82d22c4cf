"""The contract page: what a deployed defense says of itself."""

from __future__ import annotations

import pytest
from torch import nn

from bench.api import Deployed, Trait

NET = nn.Flatten()
WHOLE = nn.Sequential(nn.Identity(), NET)


@pytest.mark.parametrize(
    ("deployed", "traits"),
    [
        (Deployed(NET), set()),
        (Deployed(WHOLE, classifier=NET), {Trait.PREPROCESSING}),
        (Deployed(WHOLE, classifier=NET, purifier=nn.Sigmoid()), {Trait.PREPROCESSING}),
        (Deployed(WHOLE, classifier=NET, purifier=nn.Identity()), set()),  # nothing is done to the images
        (Deployed(NET, attackable=NET), {Trait.NON_DIFFERENTIABLE}),
        (Deployed(NET, randomized=True), {Trait.RANDOMIZED}),
        (Deployed(NET, suspicion=lambda x: x.flatten(1).sum(1)), {Trait.DETECTOR}),
        (
            Deployed(NET, detector=lambda x: x.flatten(1).any(1), declared=(Trait.ENSEMBLE,)),
            {Trait.DETECTOR, Trait.ENSEMBLE},
        ),
    ],
)
def test_a_defense_is_what_its_fields_say_and_what_it_declares(deployed, traits):
    assert deployed.traits == traits
