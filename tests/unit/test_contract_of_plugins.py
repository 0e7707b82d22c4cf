"""What the harness asks of plug-ins stands in bench.api, with defaults; a misspelling is refused."""

from __future__ import annotations

import ast
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import ClassVar, get_args

import pytest

import bench
import defenses
from bench.api import Attack, Defense, FeatureLoss, Needs, Oracle, Suite, SuspicionLoss, Trial, admit, nested
from bench.attacks.aware import Selective, Trust, Weighted
from bench.attacks.combine import Cascade, Restarts
from bench.attacks.ddn import DDN
from bench.attacks.feature_matching import Resemblance
from bench.attacks.fgsm import FGSM
from bench.attacks.losses import LOSSES, TARGETED_LOSSES
from bench.attacks.norms import norms_of
from bench.attacks.pgd import PGD
from bench.audit.convergence import _Watching
from bench.core.digest import content_id
from bench.core.encoding import decode, describe, encode
from bench.core.listing import LISTED, place
from bench.core.threat import LINF_L2, WHITE_BOX, Norm
from bench.errors import BadValue
from bench.evaluate.adaptive import climbs_own_loss
from bench.evaluate.detectors import Detector
from bench.evaluate.nearest import goes_on
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.unstopped import Unstopped
from bench.registry import ATTACKS, SUITES
from bench.train.inner import InnerOracle

CONTRACTS = (Attack, Defense, Detector, FeatureLoss, SuspicionLoss, Suite, Trial)


def asked() -> set[str]:
    """All names that the harness may read off plug-ins."""
    names = {name for contract in CONTRACTS for name in {*vars(contract), *contract.__annotations__}}
    return {name for name in names if not name.startswith("_")} | {"loss"}


def guesses(folder: Path) -> Iterator[str]:
    """Where one of these is read with a default, so that a misspelling would go unseen."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr" and len(node.args) == 3:
                name = node.args[1]
                if isinstance(name, ast.Constant) and name.value in asked():
                    yield f"{path.name}:{node.lineno} {ast.unparse(node)}"


def test_nothing_of_the_contract_is_read_with_a_default(tmp_path):
    (tmp_path / "seen.py").write_text('getattr(attack, "norms", None)\n', encoding="utf-8")
    assert len(list(guesses(tmp_path))) == 1, "the test would see one"
    for package in (bench, defenses):
        assert list(guesses(Path(str(package.__file__)).parent)) == []


@pytest.mark.parametrize("name", ATTACKS.names())
def test_every_attack_declares_what_is_asked(name):
    attack = ATTACKS.get(name)
    assert isinstance(attack, Attack) and dataclasses.is_dataclass(attack)
    assert attack.norms and all(isinstance(norm, Norm) for norm in attack.norms)
    assert attack.needs in get_args(Needs), "ours say what they need"
    for mark in ("of_features", "of_suspicion", "minimal", "climbs_adaptive_loss"):
        assert isinstance(getattr(attack, mark), bool)
    fields = {item.name for item in dataclasses.fields(attack)}
    assert {*attack.about, *attack.absolute} <= fields
    assert not fields & set(vars(Attack)), "what is declared is no parameter, so it is in no id"


@pytest.mark.parametrize("kind", [MeteredOracle, InnerOracle, Unstopped, _Watching])
def test_every_oracle_answers_all_that_is_declared(kind):
    promised = {name for name, value in vars(Oracle).items() if callable(value) and not name.startswith("_")}
    assert promised == {"only", "broken", "witnesses", "logits", "labels", "features", "climb", "lend"}
    assert promised <= set(dir(kind))


def test_losses_say_by_their_class_what_they_are_called_with():
    assert isinstance(Resemblance(), FeatureLoss)
    assert all(isinstance(loss, SuspicionLoss) for loss in (Selective(), Weighted(), Trust()))
    plain = [*LOSSES.values(), *TARGETED_LOSSES.values()]
    assert plain and not any(isinstance(loss, (FeatureLoss, SuspicionLoss)) for loss in plain)


def test_every_suite_is_listed_and_nothing_else():
    names = [name for name in SUITES.names() if "@" not in name]
    assert sorted(listed.name for listed in LISTED) == names
    assert len({listed.short for listed in LISTED}) == len(LISTED)
    for name in SUITES.names():
        suite = SUITES.get(name)
        assert suite.listing.name == name.partition("@")[0] and "listing" not in encode(suite)
    assert sorted(["of_others@1", *names], key=place)[-2:] == ["smoke", "of_others@1"]


@dataclass(frozen=True)
class Plain:
    """An attack that does not inherit."""

    steps: int = 3

    def __call__(self, oracle, x, y, budget, generator):
        return x


def test_a_class_that_does_not_inherit_gets_the_defaults_and_stays_itself():
    before = encode(Plain()), describe(Plain())
    trial = Trial("plain", Plain(), WHITE_BOX)
    assert trial.attack.norms == LINF_L2 and trial.attack.needs is None and not trial.attack.minimal
    assert not goes_on(trial.attack, WHITE_BOX) and not climbs_own_loss(trial.attack)
    assert (
        (encode(Plain()), describe(Plain()))
        == before
        == (
            {"is": f"{Plain.__module__}:Plain", "steps": 3},
            "Plain(steps=3)",
        )
    )


def misspelt(**held: object) -> object:
    return dataclass(frozen=True)(type("Mine", (Plain,), held))()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("norm", "norms"),
        ("Norms", "norms"),
        ("need", "needs"),
        ("is_minimal", "minimal"),
        ("of_feature", "of_features"),
        ("suspicion", "of_suspicion"),
        ("unfits", "unfit"),
        ("climbs_adaptive_losses", "climbs_adaptive_loss"),
    ],
)
def test_a_misspelling_is_refused_by_one_sentence(name, meant):
    sentence = f"the attack Mine declares `{name}`, did you mean `{meant}`?"
    for made in (lambda mine: mine, Restarts, lambda mine: Cascade((FGSM(), mine))):
        with pytest.raises(BadValue) as refused:
            Trial("mine", made(misspelt(**{name: True})), WHITE_BOX)
        assert str(refused.value) == sentence


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(BadValue, match=r"declares needs = 'gradient', expected one of gradients, scores"):
        admit(misspelt(needs="gradient"))
    with pytest.raises(BadValue, match=r"declares norms = \('Linf',\), expected values of Norm"):
        admit(misspelt(norms=("Linf",)))


def test_fields_methods_and_other_names_are_the_attacks_own_affair():
    @dataclass(frozen=True)
    class Free(Plain):
        rounds: ClassVar[int] = 3
        norm: str = "mine"  # a parameter

        def need(self) -> None: ...

    assert Trial("free", Free(), WHITE_BOX).attack.norms == LINF_L2


def test_attacks_made_of_attacks_have_what_all_of_them_have():
    @dataclass(frozen=True)
    class Square:
        """A loss with parameters, called with two things: no attack."""

        scale: float = 1.0

        def __call__(self, logits, y): ...

    @dataclass(frozen=True)
    class WithLoss(Attack):
        norms: ClassVar[tuple[Norm, ...]] = (Norm.L1,)
        loss: Square = field(default_factory=Square)

        def __call__(self, oracle, x, y, budget, generator):
            return x

    assert norms_of(Restarts(DDN())) == (Norm.L2,)
    assert norms_of(WithLoss()) == (Norm.L1,)
    own = PGD(loss="adaptive")
    assert [type(part).__name__ for part in nested(Cascade((FGSM(), Restarts(own))))] == [
        *("Cascade", "FGSM", "Restarts", "PGD")
    ]
    assert climbs_own_loss(Restarts(own)) and not climbs_own_loss(Restarts(PGD(step_size=Fraction(1, 4))))


def test_every_published_run_keeps_its_name():
    records = sorted((Path(bench.__file__).parents[1] / "leaderboards").rglob("*.json"))
    named = [found for path in records if "run_id" in (found := json.loads(path.read_text(encoding="utf-8")))]
    assert len(named) > 20
    for record in named:
        assert content_id(record["spec"]) == record["run_id"]
        suite = record["spec"]["suite"]
        assert decode(encode(decode(suite))) == decode(suite)
