"""`make torture`: prints the matrix of inputs and outcomes; ends with 1 if anything is a fault."""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from pathlib import Path

from tests.torture import matrix


def main() -> int:
    """Print all tables."""
    warnings.simplefilter("error")
    faults = 0
    for title, (run, cases) in matrix.KINDS.items():
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            outcomes = run(Path(folder))
        print(*matrix.lines(f"{title} ({len(outcomes)})", outcomes), sep="\n")
        wrong = matrix.wrong(outcomes, cases())
        print(f"  {len(outcomes)} inputs, {len(wrong)} faults, {time.monotonic() - begun:.1f} s\n")
        for name, found in wrong.items():
            print(f"FAULT {name}: {found}", file=sys.stderr)
        faults += len(wrong)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
