"""`python -m tests.negative_controls` means ours: a wheel that we need installs a package `tests`, too.

A folder without `__init__.py` yields to any package of its name, wherever that lies on the path; a module
does not. Ours has no `__init__.py`, so that pytest never takes the one for the other.
"""

from pathlib import Path

__path__ = [str(Path(__file__).with_suffix(""))]
