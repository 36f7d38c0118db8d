"""The plain supernet lies beside the experiment that times it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "experiments" / "fasterseg_step"))
