"""The command `bench` on two pretend cards: python tests/pretend_cuda/command.py run --device cuda ...

    python tests/pretend_cuda/command.py -m pytest -m gpu tests/gpu

runs any other module on them. Workers run this file before they are given work, so they have the cards, too.
"""

import atexit
import runpy
import sys

from pretend.device import pretend

_cards = pretend(cards=2)
_cards.__enter__()  # for as long as the process lives
atexit.register(_cards.__exit__, None, None, None)

if __name__ == "__main__":
    if sys.argv[1:2] == ["-m"]:
        sys.argv[:] = sys.argv[2:]
        runpy.run_module(sys.argv[0], run_name="__main__")
    else:
        from bench.cli.main import main

        main()
