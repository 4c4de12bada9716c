"""The command `collapsar-bench`. What takes seconds to load is imported once the options are read."""

import argparse
import sys
from collections.abc import Sequence

from collapsar.errors import UsageError


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1 where a package to compare with is missing or the options make no sense."""
    options = _parser().parse_args(argv)
    from rich.console import Console

    from collapsar.bench.metrics import make_cases, make_table

    try:
        cases = make_cases(num_samples=options.num_samples, feature_dim=options.feature_dim)
        table = make_table(cases, repeats=options.repeats)
    except UsageError as error:
        Console(stderr=True).print(f"collapsar-bench: {error}", highlight=False)
        return 1
    Console().print(table)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="collapsar-bench", description="speed and memory of the metrics")
    parser.add_argument("suite", choices=["metrics"])
    parser.add_argument("--num-samples", type=int, default=10_000, help="real, and as many synthetic, samples")
    parser.add_argument("--feature-dim", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side, in turn")
    return parser


if __name__ == "__main__":
    sys.exit(main())
