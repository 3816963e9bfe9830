"""The examples, imported as they import each other; in every process."""

import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
for folder in (EXAMPLES, EXAMPLES / "integrations"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
