"""What one training step of each defense demands of its networks, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, cast

from torch import nn

from bench.api import Defense
from bench.plan import parse_defense


@dataclass(frozen=True)
class Formula:
    """Passes in units of the batch: 3 is one pass of three times the images. K are the attack's steps."""

    attacks: int = 0  # on the batch: each K forwards and backwards to images
    looks: tuple[int, ...] = ()  # forwards in eval mode, without gradients
    pool: str | None = None  # the field with the number P of images that the last look sees besides
    trains: tuple[tuple[int, ...], ...] = ((1,),)  # forwards in train mode, by the backward that they share
    passing: tuple[int, ...] = ()  # forwards in train mode, without gradients: BatchNorm's statistics alone
    taught: Mapping[str, int] = field(default_factory=dict)  # role -> what that fixed network looks at
    counted: int = 1  # the step that is looked at; the first, 0, also checks the folded copy of the network
    purifier: bool = False  # what trains is a purifier, and what is attacked the classifier behind it

    def texts(self) -> dict[str, str]:
        """The formula of each field of `Passes`, for people.

        >>> Formula(attacks=2, looks=(1,), trains=((3,),), taught={"teacher": 2}).texts()["forwards"]
        '2K + 1 + 3'
        """
        climbs = {0: [], 1: ["K"]}.get(self.attacks, [f"{self.attacks}K"])
        looks = [str(look) for look in self.looks]
        if self.pool:
            looks[-1] += " + P/B"
        trains = [str(size) for sizes in self.trains for size in sizes]
        passing = [str(size) for size in self.passing]
        own = [*([] if self.purifier else climbs), *looks, *trains, *passing]
        texts = {
            "forwards": own,
            "classifier_forwards": climbs if self.purifier else [],
            "parent_forwards": [str(look) for look in self.taught.values()],
            "backwards_to_images": climbs,
            "backwards_to_weights": trains,
        }
        return {name: " + ".join(parts) or "0" for name, parts in texts.items()}


_PGD = Formula(attacks=1)
_AGKD_BML = Formula(attacks=2, looks=(1,), trains=((3,),), taught={"teacher": 2})
_PAIR = Formula(attacks=1, trains=((2,),))
_TLA = Formula(attacks=1, looks=(1,), pool="pool", trains=((1, 1, 1, 1),))

FORMULAS: Mapping[str, Formula] = {
    "aalp": _PAIR,
    "agkd_bml": _AGKD_BML,
    "agkd_bml_7": _AGKD_BML,
    "agkd_bml_paper": _AGKD_BML,
    "agkd_bml_released": _AGKD_BML,
    "alp": _PAIR,
    "alp_100": _PAIR,
    "alp_plain": _PAIR,
    "ard": Formula(attacks=1, passing=(1,), taught={"teacher": 1}),
    "at_awp": Formula(attacks=1, trains=((1,), (1,)), passing=(1, 1)),  # x' once more, and x
    "awp": Formula(attacks=1, trains=((1,), (1,))),  # around pgd_at: the weights are attacked, too
    "bilateral": Formula(attacks=1, looks=(1,)),
    "clp": Formula(),
    "dbp": Formula(attacks=1, trains=((2,),), taught={"adversarial": 1, "restoring": 1}, purifier=True),
    "dbp_teacher_adversarial": Formula(attacks=1, purifier=True),
    "dbp_teacher_restoring": Formula(purifier=True),
    "dbp_undistilled": Formula(attacks=1, trains=((2,),), purifier=True),
    # whichever network is drawn is attacked: in this step, as in the first, the one that trains
    "ensemble_at": Formula(attacks=1, trains=((1, 1),), counted=3),
    "fast_at": _PGD,
    "fdml": Formula(attacks=1, looks=(1,), trains=((3,),), taught={"teacher": 1}),
    "feature_scattering": Formula(attacks=1, looks=(1,)),
    "free_at": Formula(),  # what reaches the images is a by-product
    "gaussian": Formula(),
    "ibp": Formula(trains=((1, 1, 1),)),  # the images, the centres and the radii of their boxes
    "ikl_at": Formula(attacks=1, looks=(1,), trains=((1, 1),)),
    "lbgat": Formula(
        attacks=1, looks=(1,), trains=((1, 1),), passing=(1,)
    ),  # x', the guide's x; the student's
    "lsq": Formula(),
    "m_pgd": _PAIR,
    "mart": Formula(attacks=1, trains=((1, 1),)),
    "n_fgsm": _PGD,
    "pgd_at": _PGD,
    "score": Formula(attacks=1, looks=(1,), trains=((1, 1),)),
    "standard": Formula(),
    "tla": _TLA,
    "tla_from_at": _TLA,
    "tla_rn": Formula(attacks=1, trains=((1, 1, 1, 1),)),
    "tla_sa": _TLA,
    "trades": Formula(attacks=1, looks=(1,), trains=((1, 1),), passing=(1,)),
    "trades_awp": Formula(attacks=1, looks=(1,), trains=((1, 1), (1, 1)), passing=(1, 1)),
}
"""By name; a defense that is not here trains nothing."""

SAME = (
    ("agkd_bml", "agkd_bml_7", "agkd_bml_paper", "agkd_bml_released"),
    ("alp", "alp_100", "alp_plain", "m_pgd"),
    ("tla", "tla_from_at", "tla_sa"),
)
"""Names of one class and one formula: the first is measured for all."""


def measured() -> list[str]:
    """One name for each formula of each class."""
    others = {name for names in SAME for name in names[1:]}
    return [name for name in FORMULAS if name not in others]


def markdown() -> list[str]:
    """The formulas as lines of a table, for the README beside this file."""
    lines = []
    for name in measured():
        names = next((others for others in SAME if others[0] == name), (name,))
        texts = FORMULAS[name].texts()
        forwards = texts["forwards"]
        if texts["classifier_forwards"] != "0":
            forwards += f"; {texts['classifier_forwards']} of the classifier"
        cells = (
            ", ".join(f"`{other}`" for other in names),
            forwards,
            texts["parent_forwards"],
            texts["backwards_to_images"],
            texts["backwards_to_weights"],
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def defense_of(name: str, steps: int | None = None) -> Defense:
    """A registered defense, with as many attack steps where it counts them."""
    plain = parse_defense(name, {}).defense
    if steps is None:
        return plain
    base: Any = getattr(plain, "base", None)
    if base is not None:
        return replace(cast(Any, plain), base=replace(base, steps=steps))
    return parse_defense(name, {"steps": str(steps)}).defense if hasattr(plain, "steps") else plain


def attack_steps(defense: Defense) -> int:
    """K: of the defense, of what it is made of, or the one of attacks that have a single step."""
    found: int = getattr(getattr(defense, "base", defense), "steps", 1)
    return found


def attacked_in(defense: Defense) -> str:
    """The mode of the network while its images are crafted."""
    found: str = getattr(getattr(defense, "base", defense), "attack_mode", "eval")
    return found


def pooled(formula: Formula, defense: Defense) -> int:
    """P: the images that the last look sees besides the batch."""
    found: int = getattr(defense, formula.pool) if formula.pool else 0
    return found


def trained(net: nn.Module) -> nn.Module:
    """The part of a defense's modules that trains."""
    purifier = getattr(net, "purifier", None)
    return purifier if isinstance(purifier, nn.Module) else net


def passed(net: nn.Module) -> nn.Module:
    """The network that one pass goes through: of two that train together, one."""
    student = getattr(net, "student", None)
    return student if isinstance(student, nn.Module) else net


@dataclass(frozen=True)
class Passes:
    """Passes of a training step, in units of its batch."""

    forwards: Fraction | int  # of the network that trains
    parent_forwards: Fraction | int  # of fixed networks, such as a teacher
    backwards_to_images: Fraction | int  # those that compute no gradient of a weight
    backwards_to_weights: Fraction | int
    classifier_forwards: Fraction | int = 0  # of the fixed classifier behind a purifier


def expected(formula: Formula, defense: Defense, batch: int) -> Passes:
    """What the formula says of this defense's own K and P."""
    climbs = formula.attacks * attack_steps(defense)
    looks = sum(formula.looks) + Fraction(pooled(formula, defense), batch)
    trains = sum(sum(sizes) for sizes in formula.trains)
    return Passes(
        forwards=looks + trains + sum(formula.passing) + (0 if formula.purifier else climbs),
        parent_forwards=sum(formula.taught.values()),
        backwards_to_images=climbs,
        backwards_to_weights=trains,
        classifier_forwards=climbs if formula.purifier else 0,
    )
