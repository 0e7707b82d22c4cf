"""What a user's own file imports of the user's own is behind its results, too."""

import sys

import pytest

from bench.core.own import with_own_imports


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A file of one's own beside another, and a package that imports within itself."""
    files = {
        "nets_of_mine.py": "import json, numpy, bench.api\nfrom blocks_of_mine import SCALE\n",
        "blocks_of_mine.py": "def late():\n    import depths_of_mine\nSCALE = 1\n",
        "depths_of_mine.py": "import nets_of_mine  # round about\n",
        "unused_of_mine.py": "",
        "package_of_mine/__init__.py": "",
        "package_of_mine/nets.py": "from . import blocks\nfrom .deep.down import least\n",
        "package_of_mine/blocks.py": "from torch import nn\n",
        "package_of_mine/deep/__init__.py": "from ..top import most\n",
        "package_of_mine/deep/down.py": "least = 0\n",
        "package_of_mine/top.py": "most = 1\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0].endswith("_of_mine")]:
        del sys.modules[name]


def test_files_beside_a_file_are_followed_and_what_is_installed_is_not(mine):
    assert with_own_imports(["nets_of_mine"]) == ["nets_of_mine", "blocks_of_mine", "depths_of_mine"]


def test_a_package_is_followed_by_its_relative_imports(mine):
    assert set(with_own_imports(["package_of_mine.nets"])) == {
        *("package_of_mine", "package_of_mine.nets", "package_of_mine.blocks"),
        *("package_of_mine.deep", "package_of_mine.deep.down", "package_of_mine.top"),
    }


def test_our_own_modules_are_left_to_the_digest_of_sources():
    names = ["bench.train.fit", "defenses.pgd_at", "timm.models", "nowhere.at_all"]
    assert with_own_imports(names) == names
