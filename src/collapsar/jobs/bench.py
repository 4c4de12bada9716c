"""The command `collapsar-bench`: runs `scripts/benchmarks` of a checkout, which no wheel holds."""

import sys
from importlib import import_module
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"


def main() -> int:
    """Run the benchmarks; returns their exit code, or 2 with one line on stderr if this is no checkout."""
    if not (SCRIPTS / "benchmarks").is_dir():
        sys.stderr.write("collapsar-bench needs a checkout of the repository: git clone it, then scripts/bench\n")
        return 2
    sys.path.insert(0, str(SCRIPTS))
    return int(import_module("benchmarks.__main__").main())


if __name__ == "__main__":
    sys.exit(main())
