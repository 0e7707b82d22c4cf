"""Networks and images as strangers hold them in Python: evaluated, or refused in a sentence that mends it."""

from __future__ import annotations

import functools
import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import bench
from bench.errors import BadCheckpoint, BadData, BadValue, BenchError, UnknownName

EPS = 0.03
GIVEN = {"norm": "Linf", "eps": EPS, "suite": "smoke", "progress": False}


class TwoClasses(nn.Module):
    """The sign of w.x + b, whose worst case under Linf in the box is known."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(48, generator=torch.Generator().manual_seed(1)))
        self.dropped = nn.Dropout(0.5)  # shows whether it is asked in eval mode

    def forward(self, x):
        z = self.dropped(x.flatten(1)) @ self.w - 0.5 * self.w.sum()
        return torch.stack([-z, z], dim=1)


@pytest.fixture
def net():
    return TwoClasses()


@pytest.fixture
def x():
    return torch.rand(30, 3, 4, 4, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def y(net, x):
    right = net.eval()(x).argmax(1)
    net.train()
    right[:3] = 1 - right[:3]
    return right


def robust(net, x, y, eps=EPS):
    """[n] bool: what stands against the worst image in the box; every pixel goes as far as it may."""
    w, sign = net.w.detach().double(), (2 * y - 1).double()
    flat = x.double().flatten(1)
    worst = (flat - eps * sign[:, None] * w.sign()).clamp(0, 1)
    return sign * (worst @ w - 0.5 * w.sum()) > 0


def test_the_worst_case_is_the_closed_form_and_the_network_is_left_as_it_was(net, x, y):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    result = bench.evaluate(net, x, y, **GIVEN)
    expected = robust(net, x, y)
    assert 5 < int(expected.sum()) < 25, "a case that says something"
    assert result.worst_case.count == int(expected.sum()) and result.worst_case.n == 30
    assert result.worst_case.low < result.worst_case.value < result.worst_case.high
    assert result.record.clean.count == 27
    assert net.training and all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_images_are_those_that_fell_inside_the_budget(net, x, y):
    found = bench.evaluate(net, x, y, **GIVEN).images
    fell = (~robust(net, x, y)).nonzero().flatten().tolist()
    assert sorted(found.ids) == [row for row in fell if row > 2], "the first three are wrong by themselves"
    assert found.x.shape == (len(found), 3, 4, 4) and found.x.min() >= 0 and found.x.max() <= 1
    assert np.abs(found.x - x.numpy()[found.ids]).max() <= EPS + 1e-6
    answers = net.eval()(torch.from_numpy(found.x)).argmax(1)
    assert (answers.numpy() != found.labels).all() and (found.labels == y.numpy()[found.ids]).all()
    assert set(found.columns) <= {"noise", "fgsm", "pgd_10"}


def forms(x, y):
    """The same images in every form, and how a program gives them."""
    pairs = TensorDataset(x, y)
    return {
        "tensors": (x, y),
        "arrays": (x.numpy(), y.numpy()),
        "channels last": (x.permute(0, 2, 3, 1).numpy(), y.numpy()),
        "double precision, labels in a column": (x.double().numpy(), y.numpy()[:, None]),
        "lists": (x.tolist(), y.tolist()),
        "a dataset": (pairs, None),
        "a loader": (DataLoader(pairs, batch_size=7), None),
        "a list of batches": ([(x[:9], y[:9]), (x[9:], y[9:])], None),
        "a list of single images": (list(zip(x, y.tolist(), strict=True)), None),
    }


@pytest.mark.parametrize("form", forms(torch.zeros(2, 3, 4, 4), torch.zeros(2)))
def test_every_form_of_images_gives_the_same_verdicts(form, net, x, y):
    given = forms(x, y)[form]
    result = bench.evaluate(net, *given, **GIVEN)
    assert result.worst_case.count == int(robust(net, x, y).sum()), form


def test_bytes_are_pixels_over_255(net, x, y):
    pixels = (x * 255).round().to(torch.uint8)
    result = bench.evaluate(net, pixels.permute(0, 2, 3, 1).numpy(), y.numpy(), **GIVEN)
    assert result.worst_case.count == int(robust(net, pixels.float() / 255, y).sum())


def test_a_function_without_weights_is_a_network_too(net, x, y):
    w = net.w.detach()

    def closed_form(images):
        z = images.flatten(1) @ w - 0.5 * w.sum()
        return torch.stack([-z, z], dim=1)

    result = bench.evaluate(closed_form, x, y, **GIVEN)
    assert result.worst_case.count == int(robust(net, x, y).sum())
    assert result.record.defense.startswith("closed_form-") and result.record.training.parameters == 0
    other = bench.evaluate(lambda images: closed_form(images) * 2, x, y, **GIVEN)
    assert other.record.run_id != result.record.run_id, "answers are identity, too"


def test_identity_is_weights_and_answers(net, x, y, tmp_path):
    first = bench.evaluate(net, x, y, store=tmp_path, **GIVEN)
    again = bench.evaluate(TwoClasses(), x.clone(), y.clone(), store=tmp_path, **GIVEN)
    assert again.record == first.record, "the same content, in the same store: it answers"
    assert [one.record.run_id for one in bench.load_records(tmp_path)] == [first.record.run_id]
    with torch.no_grad():
        net.w[0] += 1
    assert bench.evaluate(net, x, y, store=tmp_path, **GIVEN).record.run_id != first.record.run_id
    assert first.worst_case.count == bench.evaluate(TwoClasses(), x, y, **GIVEN).worst_case.count


def test_a_result_is_a_table_a_frame_and_html(net, x, y):
    result = bench.evaluate(net, x, y, name="<b>mine</b>", **GIVEN)
    assert str(result).splitlines()[0] == "<b>mine</b> under smoke@1" and repr(result) == str(result)
    rows = result.frame().set_index("column")
    assert list(rows.index) == ["clean", "noise", "fgsm", "pgd_10", "worst case"]
    assert rows.loc["worst case", "robust_accuracy"] == result.worst_case.value
    page = result._repr_html_()
    assert "&lt;b&gt;mine&lt;/b&gt;" in page and "<b>mine" not in page
    (shown,) = pd.read_html(page, flavor="lxml") if _has_lxml() else (None,)
    assert shown is None or list(shown["column"])[-1] == "worst case"


def _has_lxml():
    try:
        import lxml  # noqa: F401
    except ImportError:
        return False
    return True


def test_an_audit_has_a_row_for_each_rule(net, x, y):
    audited = bench.evaluate(net, x, y, **GIVEN).audit()
    rows = audited.frame()
    assert set(rows["verdict"]) <= {"block", "warn", "open", "info", "pass"} and len(rows) > 30
    assert rows["command"].isna().all(), "no command finds what is in memory"
    assert "of 38" in str(audited).splitlines()[-1] and audited._repr_html_().count("<tr>") == len(rows) + 1


def test_a_store_that_nobody_asked_for_goes_with_the_result(net, x, y):
    result = bench.evaluate(net, x, y, **GIVEN)
    folder = Path(result.how.store.root)
    assert folder.is_dir()
    del result
    gc.collect()
    assert not folder.parent.exists()


MISTAKES = [
    ("no budget", {"norm": None, "eps": None}, "norm and eps are lacking, expected both", GIVEN),
    ("no radius", {"eps": None}, "eps is lacking, expected both", {"eps": "8/255"}),
    ("another norm", {"norm": "Linff"}, "--norm is 'Linff', expected one of Linf, L2", {"norm": "Linf"}),
    (
        "no such suite",
        {"suite": "smok"},
        "no suite is named 'smok'; did you mean 'smoke'",
        {"suite": "smoke"},
    ),
    (
        "no such attack",
        {"suite": None, "attacks": "pdg"},
        "no attack is named 'pdg'; did you mean 'pgd'",
        {"suite": None, "attacks": "pgd"},
    ),
    (
        "a suite whose attackers train",
        {"suite": "blackbox"},
        "own a network of their own (surrogate), which is trained, but there are test images alone",
        {"suite": "smoke"},
    ),
    ("a misspelt setting", {"settings": {"atack.fgsm.x": 1}}, "overrides 'atack'", {"settings": None}),
    ("no count", {"examples": 0}, "--examples is '0', expected a number of at least 1", {"examples": 5}),
]


@pytest.mark.parametrize(("case", "wrong", "told", "right"), MISTAKES, ids=[case[0] for case in MISTAKES])
def test_a_wrong_word_is_one_sentence_and_what_it_names_works(case, wrong, told, right, net, x, y):
    with pytest.raises(BenchError) as error:
        bench.evaluate(net, x, y, **{**GIVEN, **wrong})
    assert told in str(error.value) and "\n" not in str(error.value)
    assert bench.evaluate(net, x, y, **{**GIVEN, **right}).record.status == "complete"


class Tied(nn.Module):
    """Two layers with one weight, which a file of weights must not hold as one memory."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.last = nn.Linear(48, 48), nn.Linear(48, 48), nn.Linear(48, 2)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.last(self.two(self.one(x.flatten(1)).relu()))


NETWORKS = {
    "TorchScript": lambda net: torch.jit.script(net.eval()),
    "a trace": lambda net: torch.jit.trace(net.eval(), torch.rand(2, 3, 4, 4)),
    "compiled": lambda net: torch.compile(net, backend="eager"),
    "in parallel": nn.DataParallel,
    "tied weights": lambda net: Tied(),
    "BatchNorm in training mode": lambda net: nn.Sequential(nn.BatchNorm2d(3), net),
    "a partial": lambda net: functools.partial(net.eval().forward),
    "logits in a dict": lambda net: lambda x: {"logits": net.eval()(x), "features": x},
    "logits in a tuple": lambda net: lambda x: (net.eval()(x), x),
    "one logit": lambda net: lambda x: net.eval()(x)[:, 1:] - net(x)[:, :1],
    "double precision": lambda net: net.double(),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_of_every_kind_are_attacked(kind, net, x, y):
    result = bench.evaluate(NETWORKS[kind](net), x, y, **GIVEN)
    assert result.record.status == "complete"
    if kind not in ("tied weights", "BatchNorm in training mode"):
        assert result.worst_case.count == int(robust(net, x, y).sum())


def not_finite(net):
    with torch.no_grad():
        net.w[0] = float("nan")
    return net


NO_NETWORKS = [
    (
        "a name",
        lambda net: "resnet",
        r"the model is of type str, expected an nn\.Module, or a function",
        None,
    ),
    ("a class", lambda net: TwoClasses, "the model is the class TwoClasses, expected", lambda net: net),
    ("weights that are none", not_finite, "the network's w holds numbers that are not finite", None),
]


@pytest.mark.parametrize(("case", "wrong", "told", "right"), NO_NETWORKS, ids=[c[0] for c in NO_NETWORKS])
def test_what_is_no_network_is_refused_and_what_is_named_works(case, wrong, told, right, net, x, y):
    given = {**GIVEN, "device": "cpu"}
    with pytest.raises(BadValue, match=told):
        bench.evaluate(wrong(net), x, y, **given)
    if right is not None:
        assert bench.evaluate(right(TwoClasses().eval()), x, y, **given).record.status == "complete"


NO_IMAGES = [
    (
        "too bright",
        lambda x, y: (x * 200, y),
        r"expected pixels in \[0, 1\]; try: dividing by 255",
        lambda x, y: (x * 200 / 255, y),
    ),
    (
        "whole numbers",
        lambda x, y: ((x * 255).long(), y),
        r'pixels are int64, expected uint8.*try: x\.astype\("uint8"\)',
        lambda x, y: ((x * 255).long().numpy().astype("uint8").transpose(0, 2, 3, 1), y),
    ),
    ("too many classes", lambda x, y: (x, y + 4), "has label 4, expected 0 to 1", None),
    ("a label too few", lambda x, y: (x, y[:29]), "there are 30 images and 29 labels", None),
    (
        "no labels",
        lambda x, y: (x, None),
        "there are images and no labels, expected both",
        lambda x, y: (x, y),
    ),
    (
        "one hot",
        lambda x, y: (x, torch.eye(2)[y]),
        r"labels have shape \[30, 2\].*try: y\.argmax\(1\)",
        lambda x, y: (x, torch.eye(2)[y].argmax(1)),
    ),
    (
        "labels in floats",
        lambda x, y: (x, y.float()),
        r"labels are float32, expected integers from 0; try: y\.long\(\)",
        lambda x, y: (x, y.float().long()),
    ),
    ("a number", lambda x, y: (5, None), "x is of type int, expected arrays or tensors x and y", None),
    ("ragged", lambda x, y: ([[1.0], [1.0, 2.0]], [0, 1]), "expected an array or a tensor of numbers", None),
    ("no pairs", lambda x, y: ([x], None), "the loader gives of type Tensor, expected pairs", None),
    ("nothing", lambda x, y: (iter(()), None), "the loader gives no batch, expected pairs", None),
    ("no such data set", lambda x, y: ("digit", None), "did you mean 'digits'", None),
]


@pytest.mark.parametrize(("case", "wrong", "told", "right"), NO_IMAGES, ids=[c[0] for c in NO_IMAGES])
def test_what_are_no_images_is_refused_and_what_is_named_works(case, wrong, told, right, net, x, y):
    with pytest.raises(BenchError, match=told):
        bench.evaluate(net, *wrong(x, y), **GIVEN)
    if right is not None:
        assert bench.evaluate(net, *right(x, y), **GIVEN).record.status == "complete"


def test_images_of_another_size_are_refused(net, y):
    with pytest.raises(BadCheckpoint, match=r"the network cannot take images 1x28x28 \(.*\), expected"):
        bench.evaluate(net, torch.rand(4, 1, 28, 28), y[:4], device="cpu", **GIVEN)


def test_a_network_that_writes_into_its_images_changes_none_of_the_caller(net, x, y):
    def in_place(images):
        return net.eval()(images.sub_(0.5).add_(0.5))

    before = x.clone()
    result = bench.evaluate(in_place, x, y, **GIVEN)
    assert torch.equal(x, before) and result.worst_case.count == int(robust(net, x, y).sum())


def test_a_data_set_by_name_brings_its_budget_and_labels():
    digits = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    result = bench.evaluate(digits, "digits", suite="smoke", examples=20, progress=False)
    assert (result.record.data, result.record.budget, result.record.examples) == ("digits", "Linf 0.2", 20)
    with pytest.raises(BadValue, match="there are labels y, but 'digits' brings its own"):
        bench.evaluate(digits, "digits", [1, 2], suite="smoke")


def test_what_was_in_memory_is_told_apart_from_what_is_lost(net, x, y, tmp_path):
    kept = bench.evaluate(net, x, y, store=tmp_path, **GIVEN).record
    gc.collect()
    (lost,) = bench.load_records(tmp_path)
    assert lost.record == kept and lost.images.ids.size, "the record and its images need no network"
    with pytest.raises(BadData, match=r"names arrays that this process does not hold.*bench.evaluate"):
        lost.audit()


SCRIPT = """
import bench, torch
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
x = torch.rand(12, 1, 4, 4)
result = bench.evaluate(net, x, net(x).argmax(1), norm="L2", eps=0.5, suite="smoke")
print(result.worst_case.n)
"""


def test_a_script_needs_no_main_guard_and_tells_progress_on_stderr(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout == "12\n" and "smoke@1: 36 examples" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["script.py"], "nothing is stored unasked"


def test_importing_is_light_and_names_stay_functions():
    code = (
        "import sys, bench; light = {'torch', 'pandas', 'click', 'numpy'} & {*sys.modules}; assert not light"
        "; import bench.evaluate.prepared; assert bench.evaluate.__qualname__ == 'evaluate'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


NAMES = [
    ("fgsm", {}),
    ("pgd", {"steps": 20}),
    ("pgd_100x5", {}),  # a column of whitebox
    ("apgd_t", {"steps": 5}),  # a column of whitebox, whose attack is apgd_targeted
    ("apgd_targeted", {"steps": 5}),
    ("torchattacks:FGSM", {}),
]


@pytest.mark.parametrize(("name", "parameters"), NAMES, ids=[name for name, _ in NAMES])
def test_an_attack_gives_what_falls_and_leaves_what_stands(name, parameters, net, x, y):
    found = bench.attack(net, x, y, name, norm="Linf", eps=EPS, **parameters)
    falls = ~robust(net, x, y) & (net.eval()(x).argmax(1) == y)
    assert found.shape == x.shape and found.dtype == x.dtype and found is not x
    assert torch.equal((found != x).flatten(1).any(1), falls), "a gradient is the sign of w everywhere"
    assert (net(found).argmax(1)[falls] != y[falls]).all() and (found - x).abs().max() <= EPS + 1e-6


def test_an_attack_answers_in_the_form_that_it_was_given(net, x, y):
    pixels = (x * 255).round().to(torch.uint8)
    found = bench.attack(net, pixels.permute(0, 2, 3, 1).numpy(), y.numpy(), "fgsm", norm="Linf", eps="8/255")
    assert isinstance(found, np.ndarray) and found.shape == (30, 4, 4, 3) and found.dtype == np.float32
    same = bench.attack(net, pixels, y, "fgsm", norm="Linf", eps="8/255")
    assert same.dtype == torch.float32 and np.array_equal(same.permute(0, 2, 3, 1).numpy(), found)
    assert bench.attack(net, x[3:4], y[3:4], "pgd", norm="L2", eps=3, steps=3).shape == (1, 3, 4, 4)
    assert bench.attack(net, x.double(), y, "fgsm", norm="Linf", eps=0.5).dtype == torch.float64


def test_a_wrong_attack_is_one_sentence_and_what_it_names_works(net, x, y):
    given = {"norm": "Linf", "eps": EPS}
    with pytest.raises(UnknownName, match="no attack is named 'apgd_tt'; did you mean 'apgd_t'"):
        bench.attack(net, x, y, "apgd_tt", **given)
    with pytest.raises(BadValue, match="PGD has no parameter 'stesp'; did you mean 'steps'"):
        bench.attack(net, x, y, "pgd", stesp=3, **given)
    with pytest.raises(BadValue, match=r"attack\.pgd\.steps is 'many'"):
        bench.attack(net, x, y, "pgd", steps="many", **given)
    with pytest.raises(BadValue, match="norm and eps are lacking"):
        bench.attack(net, x, y, "pgd")
    with pytest.raises(BenchError, match=r"no column .* \(pgd: the defense answers without a derivative"):
        bench.attack(lambda images: net(images).detach(), x, y, "pgd", **given)
    assert bench.attack(net, x, y, "pgd", steps=3, **given).shape == x.shape


def test_results_on_the_same_images_are_compared_and_ranked_in_pairs(net, x, y):
    other = TwoClasses()
    with torch.no_grad():
        other.w[:24] = 0
    one, two = (bench.evaluate(n, x, y, name=name, **GIVEN) for n, name in ((net, "one"), (other, "two")))
    held = [robust(n, x, y) & (n.eval()(x).argmax(1) == y) for n in (net, other)]
    shown = bench.compare(one, two)
    worst = shown.frame().set_index("column").loc["worst case"]
    assert (worst["won"], worst["lost"]) == (int((held[0] & ~held[1]).sum()), int((held[1] & ~held[0]).sum()))
    assert str(shown).splitlines()[0] == "one against two" and "exact McNemar" in str(shown)
    assert "<table>" in shown._repr_html_()
    ranks = bench.board([one, two]).frame()
    expected = sorted((int(h.sum()) / 30 for h in held), reverse=True)
    assert list(ranks["smoke@1"]) == pytest.approx(expected, abs=1e-6)


def test_results_that_cannot_be_compared_are_told_why(net, x, y):
    one = bench.evaluate(net, x, y, **GIVEN)
    with pytest.raises(BadValue, match="lead to one record, expected at least two"):
        bench.compare(one)
    with pytest.raises(BadValue, match=r"differ in the eps \(0.03 and 0.2\)"):
        bench.compare(one, bench.evaluate(net, x, y, **{**GIVEN, "eps": 0.2}))
    with pytest.raises(BadValue, match="something of type str, expected results of"):
        bench.compare(one, "trades")
    with pytest.raises(BadValue, match="there is no result to rank"):
        bench.board([])
