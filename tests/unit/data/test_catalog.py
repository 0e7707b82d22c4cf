import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from bench.core.threat import Norm
from bench.data.catalog import CATALOG, PREFIXES, source
from bench.errors import UnknownName
from bench.nn.architectures import names


def test_budgets_are_the_customary_ones():
    eps = {name: CATALOG[name].budget.eps for name in CATALOG}
    assert eps["mnist"] == Fraction(3, 10)
    assert eps["cifar10"] == eps["cifar100"] == eps["svhn"] == Fraction(8, 255)
    assert {found.budget.norm for found in CATALOG.values()} == {Norm.LINF}


def test_every_source_is_complete():
    for found in [*CATALOG.values(), *PREFIXES.values()]:
        assert found.architecture in names()
        if found.image_shape is not None:
            assert len(found.mean) == len(found.std) == found.image_shape[0]


def test_a_typing_error_gets_a_guess():
    with pytest.raises(UnknownName, match="did you mean 'cifar10'"):
        source("cifra10")


def test_a_folder_is_reported_under_its_own_name(tmp_path):
    assert source(f"folder:{tmp_path}/cifar10-jpeg/").name == "folder:cifar10-jpeg"
    assert source(f"npz:{tmp_path}/mine.npz").name == "npz:mine"
    assert source("folder:.").name == f"folder:{Path.cwd().name}"


def test_a_prefix_needs_a_path():
    with pytest.raises(UnknownName, match="has no path; try: --data folder:PATH"):
        source("folder:")


def test_the_tables_are_known_without_torch():
    code = (
        "import sys; import bench.data.catalog, bench.nn.architectures as a; a.names(); "
        "a.module_of('wide_resnet_16_4'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
