"""Files of a user's, and what collapsar makes of them without a command line."""

import csv
import io
from pathlib import Path

import yaml

from collapsar.cases.tables.table_file import TableFile
from collapsar.foundations.settings import config_folder

SETTINGS = yaml.safe_load((config_folder() / "data" / "table.yaml").read_text())
SETTINGS.pop("defaults")  # what comes with a table, which is no part of its source


def table_file(path: Path, *, target: str = "ill", **settings) -> TableFile:
    """The source of a file, with the settings that conf gives and these."""
    del (defaults := dict(SETTINGS))["_target_"]
    return TableFile(**defaults | {"path": str(path), "checksum": None, "target": target} | settings)


def write_text(path: Path, text: str, *, encoding: str = "utf-8") -> Path:
    """A file of this text, its line ends as they are."""
    path.write_bytes(text.encode(encoding))
    return path


def as_csv(header, rows, *, separator=",", quoting=csv.QUOTE_MINIMAL, line_end="\n") -> str:
    """Rows of texts as a CSV file has them."""
    text = io.StringIO()
    csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=line_end).writerows([header, *rows])
    return text.getvalue()


def with_column(name: str, cells, *, separator: str = ",") -> str:
    """A file of one column of these texts beside a target of two classes."""
    return as_csv([name, "ill"], [[cell, "yn"[place % 2]] for place, cell in enumerate(cells)], separator=separator)
