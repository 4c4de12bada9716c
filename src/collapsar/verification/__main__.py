"""The command `collapsar-verify`. It reads the options first, because the other imports take seconds."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from collapsar.foundations.errors import check_not_negative, exit_code_of


def main(argv: Sequence[str] | None = None) -> int:
    """Print and write the checks; return 0 if every law holds, 1 if one is broken, 2 if they cannot be written."""
    parser = argparse.ArgumentParser(
        prog="collapsar-verify", description="Does the loop do what the closed forms say? Exit code 1 if it does not."
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all chains (default: 0)")
    parser.add_argument("-o", "--output", type=Path, default=Path("verify.json"), help="where the JSON list goes")
    return exit_code_of(partial(_verify, parser.parse_args(argv)), name="collapsar-verify")


def _verify(options: argparse.Namespace) -> int:
    check_not_negative(**{"--seed": options.seed})
    from rich.console import Console

    from collapsar.verification.protocols import protocols
    from collapsar.verification.verify import as_table, verify

    options.output.touch()  # before the chains run
    console = Console()
    checks = verify(protocols, seed=options.seed, console=console)
    options.output.write_text(json.dumps([asdict(check) for check in checks], indent=1) + "\n")
    console.print(as_table(checks))
    broken = [check for check in checks if not check.passed]
    console.print(f"{len(checks) - len(broken)} of {len(checks)} laws hold; {options.output}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
