"""`collapsar-report DIR...`: the page over all runs at and below the folders, or the table, or files for a paper."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from collapsar.errors import UsageError
from collapsar.report.page import write_report
from collapsar.report.tables import comparison_table


def main(argv: list[str] | None = None) -> int:
    """Runs the command; 0 if all was written, 2 with one line on stderr where the input cannot be used."""
    options = _parser().parse_args(argv)
    try:
        _report(options)
    except (UsageError, OSError) as error:
        sys.stderr.write(f"collapsar-report: {' '.join(str(error).split())}\n")
        return 2
    return 0


def _report(options: argparse.Namespace) -> None:
    if options.text:
        Console().print(comparison_table(options.folders))
        return
    output = options.output or options.folders[0] / "report.html"
    sys.stdout.write(f"{write_report(options.folders, output)}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="collapsar-report", description="One page over all runs below the folders.")
    parser.add_argument("folders", metavar="DIR", nargs="+", type=Path, help="a run folder, or a folder above some")
    parser.add_argument("-o", dest="output", metavar="FILE", type=Path, help="the page (default: report.html in DIR)")
    parser.add_argument("--text", action="store_true", help="print the comparison table instead")
    return parser


if __name__ == "__main__":
    sys.exit(main())
