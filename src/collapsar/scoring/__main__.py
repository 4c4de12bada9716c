"""`collapsar-score SYNTHETIC... REAL`: every metric of samples against real ones, with floor and interval, no chain."""

import argparse
import logging
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collapsar.foundations.errors import UsageError, exit_code_of

if TYPE_CHECKING:
    from collapsar.scoring.scores import Score


def main(argv: list[str] | None = None) -> int:
    """Run the command: 0 if all was measured, 2 with one line on stderr for unusable input, 1 for a breakdown."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    return exit_code_of(partial(_score, **vars(_parser().parse_args(argv))), name="collapsar-score")


def _score(*, samples: list[str], json: str | None, csv: str | None, html: str | None, **options: Any) -> None:
    *synthetic, real = samples
    if not synthetic:
        raise UsageError("give SYNTHETIC and REAL: folders, files, or for REAL the name of a data set")
    if json == csv == "-":
        raise UsageError("--json and --csv cannot both be -: name a file for one")
    from collapsar.scoring import score  # here, so that --help answers at once

    _show(score(synthetic, real, **options), json=json, csv=csv, html=html)


def _show(score: "Score", *, json: str | None, csv: str | None, html: str | None) -> None:
    from rich.console import Console

    if "-" not in (json, csv):
        Console().print(score.table())
    for file, write in ((json, score.to_json), (csv, lambda: score.to_frame().to_csv(index=False))):
        if file == "-":
            sys.stdout.write(write())
        elif file is not None:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).write_text(write(), encoding="utf-8")
            sys.stderr.write(f"{file}\n")
    if html is not None:
        sys.stderr.write(f"{score.to_html(html)}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="collapsar-score",
        usage="collapsar-score SYNTHETIC [SYNTHETIC ...] REAL [options]",
        description="Every metric of synthetic samples against real ones, with floor and interval; nothing is trained "
        "unless --stick train says so. Samples are a folder of images (subfolders are classes), a file .npz, .npy, "
        ".pt, .csv or .parquet, or a run folder or generation of collapsar. REAL may also be the name of a data set, "
        "such as mnist or digits.",
    )
    parser.add_argument("samples", metavar="SYNTHETIC ... REAL", nargs="+")
    stick = "the frozen classifier to compare features of: that of a data set, such as mnist or cifar10, or train to"
    stick += " train one on labelled real samples (default: that of the data set REAL, else none)"
    parser.add_argument("--stick", metavar="NAME", help=stick)
    space = "a feature space in place of the stick and the default ones: inception, dinov2, self_supervised, pca"
    parser.add_argument("--space", metavar="NAME", action="append", default=[], help=f"{space}; may be repeated")
    parser.add_argument("--evaluation", metavar="NAME", default="standard", help="which metrics: quick, standard, full")
    parser.add_argument("--train", metavar="TRAIN", help="the real samples that the generator saw, for memorisation")
    parser.add_argument("--resize", metavar="N", type=int, help="cut images to squares and resize them to N pixels")
    whole = "all generations of a run folder, not only the last one"
    parser.add_argument("--all", action="store_true", dest="has_all_generations", help=whole)
    parser.add_argument("--unlabelled", action="store_false", dest="is_labelled", help="ignore subfolders and labels")
    setting = "a setting, such as evaluation.num_neighbours=3, or data.target=COLUMN of a table; may be repeated"
    parser.add_argument("--set", dest="settings", metavar="KEY=VALUE", action="append", default=[], help=setting)
    for form, what in (("json", "all values as JSON"), ("csv", "one row a metric as CSV")):
        parser.add_argument(f"--{form}", metavar="FILE", help=f"{what}; - prints it in place of the table")
    parser.add_argument("--html", metavar="FILE", help="a page with samples, classes and memorisation")
    return parser


if __name__ == "__main__":
    sys.exit(main())
