"""The command `collapsar-bench`. What takes seconds to load is imported once the options are read."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from collapsar.foundations.errors import UsageError, printable


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; 2 with one line on stderr if a package is missing or the options make no sense."""
    options = _parser().parse_args(argv)
    try:
        options.run(options)
    except UsageError as error:
        sys.stderr.write(f"collapsar-bench: {printable(str(error))}\n")
        return 2
    return 0


def bench_metrics(options: argparse.Namespace) -> None:
    """Speed and memory of the metrics."""
    from rich.console import Console

    from benchmarks.metrics import make_cases, make_table

    cases = make_cases(num_samples=options.num_samples, feature_dim=options.feature_dim)
    Console().print(make_table(cases, repeats=options.repeats))


def bench_training(options: argparse.Namespace) -> None:
    """Speed and memory of training, and seconds to quality."""
    from benchmarks.processes import start_importing

    start_importing()
    from rich.console import Console

    from benchmarks.composed import Case
    from benchmarks.tables import training_tables
    from benchmarks.training import Effort, measure_everything

    overrides = tuple(options.overrides)
    cases = [Case(data=data, model=model, overrides=overrides) for data in options.data for model in options.models]
    effort = Effort(repeats=1 if options.quick else options.repeats, is_quick=options.quick)
    progress = Console(stderr=True, highlight=False)
    measured = measure_everything(cases, effort, tell=lambda line: progress.print(line, soft_wrap=True))
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1, allow_nan=False))
    for table in training_tables(measured):
        Console().print(table)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="collapsar-bench", description="speed and memory, ours beside the plain way")
    suites = parser.add_subparsers(required=True, metavar="metrics|training")
    metrics = suites.add_parser("metrics", help="speed and memory of the metrics")
    metrics.set_defaults(run=bench_metrics)
    metrics.add_argument("--num-samples", type=int, default=10_000, help="real, and as many synthetic, samples")
    metrics.add_argument("--feature-dim", type=int, default=64)
    metrics.add_argument("--repeats", type=int, default=3, help="runs of each side, in turn")
    training = suites.add_parser("training", help="images a second of training, and seconds to quality")
    training.set_defaults(run=bench_training)
    training.add_argument("--data", type=_names, default="mnist,cifar10", help="as in conf/data, with commas")
    training.add_argument("--models", type=_names, default="vae,gan", help="as in conf/model, with commas")
    training.add_argument("--repeats", type=int, default=3, help="processes for each way, in turn")
    training.add_argument(
        "--quick", action="store_true", help="few steps and no seconds to quality: a minute on two cores"
    )
    training.add_argument("--json", type=Path, metavar="PATH", help="write all numbers there")
    training.add_argument("overrides", nargs="*", help="further settings, as for collapsar: size=full")
    return parser


def _names(text: str) -> list[str]:
    return text.split(",")


if __name__ == "__main__":
    sys.exit(main())
