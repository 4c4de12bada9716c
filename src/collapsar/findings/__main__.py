"""`collapsar-findings [NAME...]`: published claims, run and decided. The same command goes on where it was stopped."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from collapsar.foundations.errors import UsageError, printable

WIDTH = 140  # of the board without a terminal


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command: 0, 1 if a control or a bundle's check fails, 2 with one line if the input cannot be used."""
    options = _parser().parse_args(argv)
    try:
        return _findings(options)
    except (UsageError, OSError) as error:
        sys.stderr.write(f"collapsar-findings: {printable(str(error))}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("collapsar-findings: interrupted; the same command continues\n")
        return 130


def _findings(options: argparse.Namespace) -> int:
    """Do what the options name; slow imports stand where they are needed, so that --help answers at once."""
    from collapsar.findings.finding import load_findings

    if options.looks is not None and options.looks < 2:
        raise UsageError(f"--looks must be at least 2 seeds: got {options.looks}")
    if options.check:
        from collapsar.findings.bundles import check_bundle

        problems = check_bundle(options.check)
        sys.stdout.write("".join(f"{line}\n" for line in problems or ["the bundle is accepted"]))
        return 1 if problems else 0
    findings = load_findings(options.names, track=options.track)
    if options.list:
        for each in findings:
            sys.stdout.write(f"{each.row:3} {each.name} ({each.tier}, {each.track}): {each.claim}\n")
        return 0
    from rich.console import Console

    from collapsar.findings.board import as_table, decide, write_board

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rows, written = [], []
    for number, each in enumerate(findings, 1):
        logging.getLogger(__name__).info("finding %d of %d: %s", number, len(findings), each.claim)
        rows.append(decide(each, options.output, max_look=options.looks))
        written = write_board(rows, options.output)
    console = Console(width=None if Console().is_terminal else WIDTH)
    console.print(as_table(rows))
    if options.bundle:
        from collapsar.findings.bundles import write_bundle

        written += [write_bundle(row, options.bundle) for row in rows]
    sys.stdout.write("".join(f"{path}\n" for path in written))
    return 0 if all(row.controls_hold for row in rows) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="collapsar-findings",
        description="Published claims about model collapse, run and decided: reproduced, contradicted or undecided. "
        "What is stored is not run again. Exit code 1 if a control fails.",
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="findings of conf/finding (default: all)")
    parser.add_argument(
        "--track", choices=("cpu", "gpu"), default="cpu", help="which ones, without names (default: cpu)"
    )
    parser.add_argument("--list", action="store_true", help="list the findings, and run none")
    default = Path("outputs/findings")
    parser.add_argument("--output", metavar="DIR", type=Path, default=default, help=f"chains and board ({default})")
    parser.add_argument("--looks", metavar="N", type=int, help="look at N seeds at most")
    parser.add_argument("--bundle", metavar="DIR", type=Path, help="pack each finding's chains into a folder below DIR")
    parser.add_argument("--check", metavar="BUNDLE", type=Path, help="check a bundle, and run one of its chains again")
    return parser


if __name__ == "__main__":
    sys.exit(main())
