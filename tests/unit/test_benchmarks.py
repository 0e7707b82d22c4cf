"""The passes of a training step by formula, and whether the benchmarks' own arithmetic is right."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.api import Deployed
from bench.attacks.pgd import PGD
from bench.nn.architectures import network
from bench.records.store import read_record
from bench.records.verdicts import worst_case_of
from bench.registry import DEFENSES
from bench.train.inner import attack_network
from bench.train.loop import fit_classifier
from defenses.agkd_bml import AgkdBml
from defenses.pgd_at import PgdAt

ROOT = Path(__file__).parents[2]


@pytest.fixture
def module(monkeypatch):
    """A module of the folder `benchmarks`, which is not installed."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: import_module(f"benchmarks.{name}")


@dataclass(frozen=True)
class Wasteful:
    """PGD training whose attack is the naive loop of 10 steps."""

    paper = "none"
    reconstruction = None
    attack: object

    @property
    def requires(self):
        return {}

    def build(self, task):
        return network(task)

    def fit(self, net, context):
        def step(model, batch):
            net.eval()
            x_adv = self.attack(net, batch.x, batch.y, context.budget, context.generator)
            net.train()
            return {"adversarial": F.cross_entropy(model(x_adv), batch.y)}

        fit_classifier(net, context, step)

    def deploy(self, net):
        return Deployed(net)


def convolutions(net):
    return sum(isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) for module in net.modules())


class Counter(TorchDispatchMode):
    """Images through convolutions, of whatever network."""

    forwards = to_images = to_weights = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default:
            self.forwards += len(args[0])
        elif func is torch.ops.aten.convolution_backward.default:
            self.to_weights += len(args[0]) * args[-1][1]
            self.to_images += len(args[0]) * (not args[-1][1])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("steps", [1, 4])
def test_a_pgd_training_step_makes_k_plus_one_passes_and_one_of_them_for_weights(module, steps):
    found = module("passes").passes_of_a_step(PgdAt(steps=steps), {})
    assert (found.forwards, found.backwards_to_images, found.backwards_to_weights) == (steps + 1, steps, 1)
    assert found.parent_forwards == 0


@pytest.mark.parametrize(
    "defense, forwards, teacher, to_images, to_weights",
    [
        (AgkdBml(steps=3), 3 + 3 + 1 + 3, 2, 3 + 3, 3),  # two attacks, the target class, x1' x1 x2'
        (AgkdBml(steps=3, negative="clean"), 3 + 1 + 3, 2, 3, 3),  # one attack
        (AgkdBml(steps=3, agkd=False), 3 + 3 + 1 + 3, 0, 3 + 3, 3),  # nobody asks the teacher
    ],
)
def test_an_agkd_bml_step_makes_the_passes_of_its_formula(
    module, defense, forwards, teacher, to_images, to_weights
):
    passes, training = module("passes"), module("training")
    parents = {"teacher": training.random_network(training.task(passes.ARCHITECTURE, passes.SIDE))}
    found = passes.passes_of_a_step(defense, parents)
    assert (found.forwards, found.parent_forwards) == (forwards, teacher)
    assert (found.backwards_to_images, found.backwards_to_weights) == (to_images, to_weights)


def test_every_defense_makes_the_passes_of_its_formula(module):
    formulas, passes, training = module("formulas"), module("passes"), module("training")
    of = training.task(passes.ARCHITECTURE, passes.SIDE)
    for name, formula in formulas.FORMULAS.items():
        defense = formulas.defense_of(name, 2)
        found = passes.passes_of_a_step(defense, training.parents_of(defense, of), formula.counted)
        assert found == formulas.expected(formula, defense, passes.BATCH), name


def test_every_registered_defense_has_a_formula_or_trains_nothing(module):
    formulas, passes, training = module("formulas"), module("passes"), module("training")
    of = training.task(passes.ARCHITECTURE, passes.SIDE)
    idle = sorted(set(DEFENSES.names()) - set(formulas.FORMULAS))
    assert idle == ["bit_depth", "dbp_none", "ensemble", "jpeg", "loaded", "random_resize", "total_variation"]
    assert set(formulas.FORMULAS) <= set(DEFENSES.names())
    for name in ("dbp_none", "ensemble"):
        defense = formulas.defense_of(name)
        assert passes.passes_of_a_step(defense, training.parents_of(defense, of)) == formulas.Passes(
            0, 0, 0, 0
        )


@pytest.mark.parametrize(
    "name, steps, forwards, teachers, to_images, to_weights, classifier",
    [  # written out from the papers' steps, not from the table
        ("trades", 3, 1 + 3 + 3, 0, 3, 2, 0),  # clean logits, the attack, x, x' and x for BatchNorm again
        ("trades_awp", 3, 1 + 3 + 2 * 3, 0, 3, 4, 0),
        ("at_awp", 3, 3 + 1 + 1 + 2, 0, 3, 2, 0),  # x' is looked at once more, and x afterwards
        ("mart", 3, 3 + 2, 0, 3, 2, 0),
        ("alp", 4, 4 + 2, 0, 4, 2, 0),
        ("tla", 2, 2 + 1 + Fraction(500, 6) + 4, 0, 2, 4, 0),  # 500 candidates, then x', A, A1, B
        ("fdml", 3, 3 + 1 + 3, 1, 3, 3, 0),  # the confused class, then x', x, c; the teacher sees x
        ("ard", 5, 5 + 1 + 1, 1, 5, 1, 0),  # the clean images move statistics alone
        ("awp", 3, 3 + 1 + 1, 0, 3, 2, 0),  # the weights' ascent, then their descent
        ("fast_at", 1, 1 + 1, 0, 1, 1, 0),
        ("dbp", 3, 2, 2, 3, 2, 3),  # S sees x' and x, each teacher one of them; f is attacked
        ("standard", 1, 1, 0, 0, 1, 0),
        ("lbgat", 3, 1 + 3 + 3, 0, 3, 2, 0),  # clean logits, the attack; x', x and the guide's x, two learn
        ("ikl_at", 3, 1 + 3 + 2, 0, 3, 2, 0),
        ("score", 3, 1 + 3 + 2, 0, 3, 2, 0),
        ("free_at", 1, 1, 0, 0, 1, 0),  # what reaches the images costs no pass
        ("ensemble_at", 1, 1 + 2, 0, 1, 2, 0),
    ],
)
def test_formulas_are_what_the_papers_steps_add_up_to(
    module, name, steps, forwards, teachers, to_images, to_weights, classifier
):
    formulas = module("formulas")
    defense = formulas.defense_of(name, steps)
    found = formulas.expected(formulas.FORMULAS[name], defense, 6)
    assert found == formulas.Passes(forwards, teachers, to_images, to_weights, classifier)


@pytest.mark.parametrize("name", ["pgd_at", "agkd_bml", "dbp", "tla", "awp", "mart", "trades", "lbgat"])
def test_the_bare_passes_of_a_defense_are_those_of_its_formula(module, name):
    """What a step's time is divided by: exactly the passes that it is allowed, and no more."""
    formulas, passes, training = module("formulas"), module("passes"), module("training")
    of, formula = training.task(passes.ARCHITECTURE, passes.SIDE), formulas.FORMULAS[name]
    defense = formulas.defense_of(name, 2)
    x, y = training.random_images(of, passes.BATCH).batch(torch.arange(passes.BATCH))
    net, parents = training.built(defense, of), training.parents_of(defense, of)
    bare = module("defenses").bare_passes(formula, defense, net, parents, x, y)
    counted = Counter()
    with counted:
        bare()
    allowed = formulas.expected(formula, defense, passes.BATCH)
    one = formulas.passed(formulas.trained(net))
    unit = passes.BATCH * convolutions(one)
    attacked = passes.BATCH * convolutions(getattr(net, "classifier", one))
    assert counted.to_weights == unit * allowed.backwards_to_weights
    assert counted.to_images == attacked * allowed.backwards_to_images
    assert counted.forwards == (
        unit * (allowed.forwards + allowed.parent_forwards) + attacked * allowed.classifier_forwards
    )


def test_the_counter_finds_a_loop_that_pays_for_weights_at_every_attack_step(module):
    found = module("passes").passes_of_a_step(Wasteful(module("training_step").naive_attack), {})
    assert (found.forwards, found.backwards_to_images, found.backwards_to_weights) == (11, 0, 11)


def test_the_naive_loop_finds_the_images_of_the_product(module):
    training, naive = module("training"), module("training_step").naive_attack
    of = training.task("small_cnn", 8)
    net = training.random_network(of)
    x, y = training.random_images(of, 16).batch(torch.arange(16))
    theirs = naive(net, x, y, of.budget, Generator().manual_seed(3))
    ours = attack_network(
        net, PGD(steps=10), x, y, budget=of.budget, generator=Generator().manual_seed(3), num_classes=10
    )
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert (theirs - x).abs().max() > 0.9 * of.budget.radius


def test_ratios_are_paired_by_round_and_the_order_turns_round(module, monkeypatch):
    timing = module("timing")
    clock, log = [0.0], []
    monkeypatch.setattr(
        timing, "time", SimpleNamespace(perf_counter=lambda: clock[0], process_time=lambda: clock[0] / 2)
    )
    slow = iter([1.0, 10.0, 1.0])  # the machine is ten times slower in the second round

    def work(name, seconds):
        def run():
            log.append(name)
            clock[0] += seconds * pace[len(log)]

        return run

    pace = {1 + 2 * i + j: factor for i, factor in enumerate(slow) for j in range(2)}
    settings = timing.Settings(torch.device("cpu"), batch=1, rounds=3, bf16=False, say=lambda message: None)
    watch = timing.take_turns({"ours": work("ours", 3.0), "bare": work("bare", 2.0)}, settings)
    assert log == ["ours", "bare", "bare", "ours", "ours", "bare"]
    row = watch.row("name", "ours", "bare", bar=1.6)
    assert (row.value, row.low, row.high, row.cpu) == pytest.approx((1.5, 1.5, 1.5, 1.5))
    assert row.held is True
    assert watch.row("name", "ours", "bare", bar=1.4).held is False
    assert watch.row("name", "ours", "bare").held is None


def test_the_table_says_what_was_missed_and_what_was_not_measured(module):
    row = module("timing").Row
    rows = [
        row("a", "ours", "theirs", 1.2, 1.1, 1.3, 1.25, bar=1.05),
        row("b", "ours", "theirs", None, bar=0.4, note="no bf16 arithmetic here"),
        row("c", "forwards", "K + 1", 12, bar=11, exact=True),
        row("d", "ours", "theirs", 1.4, 0.8, 1.5, 1.02, bar=1.05),
    ]
    _, first, second, third, fourth = module("run").table(rows).splitlines()
    assert first.split() == ["a", "ours", "theirs", "1.20", "1.10-1.30", "1.25", "<=", "1.05", "missed"]
    assert second.endswith("<= 0.40  no bf16 arithmetic here")
    assert third.split() == ["c", "forwards", "K", "+", "1", "12", "=", "11", "missed"]
    assert fourth.endswith("1.02  <= 1.05  missed; noisy: read cpu")


def test_the_readme_states_the_formulas(module):
    """Each class and formula once, with every name that shares them."""
    formulas = module("formulas")
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for line in formulas.markdown():
        assert line in text.splitlines(), line


def test_the_readme_states_what_the_records_of_the_cascade_hold(module):
    cascade = module("cascade")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8").splitlines()
        if re.search(r"\| [0-9a-f]{12}(, [0-9a-f]{12})+ \|$", line)
    ]
    folder = ROOT / "benchmarks" / "records" / "cascade"
    named = []
    for title, *told, records in rows:
        reference, *runs = [read_record(folder / f"{name}.json") for name in records.split(", ")]
        named += [record.run_id for record in (reference, *runs)]
        assert reference.suite == "autoattack@1" and len({run.suite for run in runs}) == 1
        assert all(run.defense in title and run.architecture in title for run in (reference, *runs))
        if runs[0].suite == "fast@1":
            eps, n, aa, fast, _, *shares = told
            assert (eps, n, aa, fast, *shares) == cascade.figures(reference, *runs), title
        else:
            assert tuple(told) == cascade.over_seeds(reference, runs), title
    assert {*named} == {path.stem for path in folder.glob("*.json")}, "every record has its row"


def test_the_readme_says_how_many_counts_of_the_truth_hold():
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    rows = json.loads((ROOT / "benchmarks" / "records" / "truth.json").read_text(encoding="utf-8"))["rows"]
    assert f"{sum(row['held'] for row in rows)} of {len(rows)} counts hold" in text
    broken = [row["value"] for row in rows if row["what"].endswith("proved robust")]
    assert len(broken) == len(rows) // 2 and not any(broken)


def test_whitebox_is_never_kinder_than_fast_by_more_than_it_says():
    """Each pair of records on the same weights, images and seed, with its row in the README."""
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    records = ROOT / "benchmarks" / "records"
    fast = [read_record(path) for path in sorted((records / "cascade").glob("*.json"))]
    wholes = [read_record(path) for path in sorted((records / "whitebox").glob("*.json"))]
    assert len(wholes) == 3
    for whole in wholes:
        (beside,) = [
            found
            for found in fast
            if (found.suite, found.seed, found.defense) == ("fast@2", whole.seed, whole.defense)
        ]
        assert whole.worst_case.value <= beside.worst_case.value + whole.doubt.at_most
        both = worst_case_of(beside) & worst_case_of(whole)
        told = [
            *(
                f"{100 * share:.1f}"
                for found in (beside, whole)
                for share in (found.worst_case.value, found.doubt.at_most)
            ),
            f"{100 * both.mean():.1f}",
            *(
                " + ".join(
                    f"{sum(getattr(column, kind) or 0 for column in found.columns):.0f}"
                    for kind in ("forwards", "backwards")
                )
                for found in (beside, whole)
            ),
        ]
        assert f" | {' | '.join(told)} | {whole.run_id} |" in text


@pytest.mark.parametrize(
    "name", sorted(path.name for path in (ROOT / "benchmarks/records").glob("two_cores*"))
)
def test_the_readme_states_what_was_measured(module, name):
    """Every row of the records with its figures, and no figures of other records."""
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert f"records/{name}" in text
    held = json.loads((ROOT / "benchmarks" / "records" / name).read_text(encoding="utf-8"))["rows"]
    row = module("timing").Row
    rows = [row(**{key: value for key, value in line.items() if key != "held"}) for line in held]
    assert [found.held for found in rows] == [line["held"] for line in held]
    lines = module("run").markdown(rows)
    assert lines and set(lines) <= set(text.splitlines())
    counts = [found for found in rows if found.exact]
    assert all(found.held for found in counts)
    assert not counts or f"All {len(counts)} counts" in text


def test_a_step_adds_at_most_25_kernels_and_the_host_waits_once_in_eight(module, monkeypatch):
    kernels = module("kernels")
    monkeypatch.setitem(kernels.ledgers.CHECKED_EVERY, "cpu", 8)
    for name, make, backward in kernels.OURS:
        found = kernels.per_step(lambda steps, make=make: kernels.ours(make(steps)))
        assert sum(found.values()) - (2 if backward else 1) <= kernels.MOST, name
        waits = sum(count for op, count in found.items() if any(wait in op for wait in kernels.WAITS))
        assert waits <= 1 / 4, name


def test_the_command_prints_counts_as_json_and_progress_elsewhere():
    command = [sys.executable, "-m", "benchmarks.run", "--only", "passes", "--json"]
    command += ["--defense", "pgd_at", "--defense", "agkd_bml", "--defense", "dbp"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    counts = {row["what"]: row["value"] for row in found["rows"]}
    assert [counts[f"pgd_at K=10: {kind}"] for kind in KINDS] == [11, 10, 1]
    assert [counts[f"agkd_bml K=10: {kind}"] for kind in KINDS] == [24, 20, 3]
    assert counts["agkd_bml K=10: teachers' forwards"] == 2
    assert counts["dbp K=10: classifier's forwards"] == 10
    assert all(row["held"] for row in found["rows"])
    assert found["setting"]["threads"] >= 1
    assert "pgd_at" in done.stderr


KINDS = ("forwards", "backwards to images", "backwards to weights")
