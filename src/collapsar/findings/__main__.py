"""`collapsar-findings [NAME...]`: published claims, run and decided. The same command goes on where it was stopped."""

import argparse
import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from collapsar.foundations.errors import UsageError, exit_code_of

WIDTH = 140  # of the board without a terminal
DEFAULT = Path("outputs/findings")
TAKES = {"check": ("check",), "list": ("list", "names", "track"), "names": ("names", "output", "looks", "bundle")}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command: 0, 1 if a control or a bundle's check fails, 2 with one line if the input cannot be used."""
    command, advice = partial(_findings, _parser().parse_args(argv)), "; the same command continues"
    return exit_code_of(command, name="collapsar-findings", advice=advice)


def _findings(options: argparse.Namespace) -> int:
    """Do what the options name; slow imports stand where they are needed, so that --help answers at once."""
    from collapsar.findings.finding import load_findings

    if options.looks is not None and options.looks < 2:
        raise UsageError(f"--looks must be at least 2 seeds: got {options.looks}")
    _refuse_unused(options)
    if options.check:
        from collapsar.findings.bundles import check_bundle

        problems = check_bundle(options.check)
        sys.stdout.write("".join(f"{line}\n" for line in problems or ["the bundle is accepted"]))
        return 1 if problems else 0
    findings = load_findings(options.names, track=options.track or "cpu")
    if options.list:
        for each in findings:
            sys.stdout.write(f"{each.row:3} {each.name} ({each.tier}, {each.track}): {each.claim}\n")
        return 0
    from rich.console import Console

    from collapsar.findings.board import as_table, decide, write_board
    from collapsar.findings.bundles import check_place, write_bundle

    output = options.output or DEFAULT
    output.mkdir(parents=True, exist_ok=True)
    if options.bundle:
        check_place(options.bundle, findings)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rows, written = [], []
    for number, each in enumerate(findings, 1):
        logging.getLogger(__name__).info("finding %d of %d: %s", number, len(findings), each.claim)
        rows.append(decide(each, output, max_look=options.looks))
        written = write_board(rows, output)
    console = Console(width=None if Console().is_terminal else WIDTH)
    console.print(as_table(rows))
    if options.bundle:
        written += [write_bundle(row, options.bundle) for row in rows]
    sys.stdout.write("".join(f"{path}\n" for path in written))
    return 0 if all(row.controls_hold for row in rows) else 1


def _refuse_unused(options: argparse.Namespace) -> None:
    """Refuse what has no effect beside the first option of TAKES that is given."""
    given = [name for name, value in vars(options).items() if value not in (None, False, [])]
    mode = next((name for name in TAKES if name in given), "")
    unused = [name for name in given if mode and name not in TAKES[mode]]
    if unused:
        called = [{"names": "NAME"}.get(name, f"--{name}") for name in (*unused, mode)]
        raise UsageError(f"{', '.join(called[:-1])} has no effect with {called[-1]}: leave one of the two out")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="collapsar-findings",
        description="Published claims about model collapse, run and decided: reproduced, contradicted or undecided. "
        "What is stored is not run again. Exit code 1 if a control fails.",
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="findings of conf/finding (default: all)")
    parser.add_argument("--track", choices=("cpu", "gpu"), help="which ones, without names (default: cpu)")
    parser.add_argument("--list", action="store_true", help="list the findings, and run none")
    parser.add_argument("--output", metavar="DIR", type=Path, help=f"chains and board (default: {DEFAULT})")
    parser.add_argument("--looks", metavar="N", type=int, help="look at N seeds at most")
    parser.add_argument("--bundle", metavar="DIR", type=Path, help="pack each finding's chains into a folder below DIR")
    parser.add_argument("--check", metavar="BUNDLE", type=Path, help="check a bundle, and run one of its chains again")
    return parser


if __name__ == "__main__":
    sys.exit(main())
