"""`python -m bench` is the command `bench`."""

import os
import sys


def _leave_this_folder() -> None:
    """Import nothing from the current folder, as the command `bench` does not: Python puts it first.

    Bench's own source stays where it is run from there.
    """
    first = os.path.realpath(sys.path[0])
    if first == os.path.realpath(".") and not os.path.realpath(__file__).startswith(f"{first}{os.sep}"):
        del sys.path[0]


if __name__ == "__main__":
    _leave_this_folder()
    from bench.cli.main import main

    main()
