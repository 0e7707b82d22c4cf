"""What the tests of cards share is in a package of their own."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
