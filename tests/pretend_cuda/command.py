"""The command `bench` on two pretend cards: python tests/pretend_cuda/command.py run --device cuda ..."""

import atexit

from pretend.device import pretend

_cards = pretend(cards=2)
_cards.__enter__()  # for as long as the process lives
atexit.register(_cards.__exit__, None, None, None)

if __name__ == "__main__":
    from bench.cli.main import main

    main()
