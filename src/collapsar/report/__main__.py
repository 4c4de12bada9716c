"""`collapsar-report DIR...`: the page over all runs at and below the folders, or the table, or files for a paper."""

import argparse
import sys
from functools import partial
from pathlib import Path

from collapsar.foundations.errors import UsageError, exit_code_of

WIDE = 140  # characters of a table in a file: no cell is cut


def main(argv: list[str] | None = None) -> int:
    """Run the command: 0 if all was written, 2 with one line on stderr if the input cannot be used."""
    return exit_code_of(partial(_report, _parser().parse_args(argv)), name="collapsar-report")


def _report(options: argparse.Namespace) -> None:
    """Write what the options name; slow imports stand where they are needed, so that --help answers at once."""
    from collapsar.report import exports
    from collapsar.report.page import write_page
    from collapsar.study.study import read_study

    if len({file.stem for file in options.imported}) < len(options.imported):
        raise UsageError("--import needs files of different names: each gives its name to a folder of chains")
    for file in options.imported:
        exports.import_csv(file, options.folders[0])
    study = read_study(options.folders)
    written = []
    if options.text:
        from rich.console import Console

        from collapsar.report.tables import origin, report_tables

        console = Console()
        console.width = console.width if console.is_terminal else max(console.width, WIDE)
        console.print(report_tables(study), origin(study), sep="\n\n")
    if options.csv:
        written += exports.write_csv(study, options.csv)
    if options.parquet:
        written.append(exports.write_parquet(study.arms, options.parquet))
    if options.dataset:
        written += exports.write_dataset(study, options.dataset)
    if options.figures:
        from collapsar.report.paper import write_figures

        written += write_figures(study, options.figures)
    if options.output or not (options.text or written):
        written.append(write_page(study, options.output or options.folders[0] / "report.html"))
    sys.stdout.write("".join(f"{path}\n" for path in written))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="collapsar-report",
        description="One HTML page over all runs at and below the folders. With --text, --csv, --parquet, --dataset or "
        "--figures these are made instead, and the page too if -o names it.",
    )
    parser.add_argument("folders", metavar="DIR", nargs="+", type=Path, help="a run folder, or a folder above some")
    parser.add_argument("-o", dest="output", metavar="FILE", type=Path, help="the page (default: DIR/report.html)")
    parser.add_argument("--text", action="store_true", help="print the comparison table")
    rows = "one row a chain, generation and metric, as CSV; beside it FILE_effects.csv and FILE_provenance.json"
    parser.add_argument("--csv", metavar="FILE", type=Path, help=rows)
    parser.add_argument("--parquet", metavar="FILE", type=Path, help="the same as Parquet")
    dataset = "the same as a data set: Parquet with a Croissant description"
    parser.add_argument("--dataset", metavar="DIR", type=Path, help=dataset)
    table = "put other people's chains below DIR first: a CSV of generation, seed, arm, metric and value"
    parser.add_argument("--import", dest="imported", metavar="FILE", type=Path, action="append", default=[], help=table)
    parser.add_argument("--figures", metavar="DIR", type=Path, help="figures for a paper, as SVG and PNG")
    return parser


if __name__ == "__main__":
    sys.exit(main())
