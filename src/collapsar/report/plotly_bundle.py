"""Plotly's script for the page: taken from the `plotly` package, compressed, and unpacked by the reader's browser."""

import gzip
from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from collapsar.report.templating import script_source

SCRIPT = "plotly/package_data/plotly.min.js"
LEVEL = 6  # higher levels save 3 kB of 2 MB


@dataclass(frozen=True, kw_only=True)
class PackedScript:
    """A script as the page carries it.

    Attributes:
        notice: Name, version, copyright and licence, from the head of the script.
        text: The script, gzip in base64.
        source: Hash of the unpacked script, for the content security policy.
    """

    notice: str
    text: str
    source: str


@cache
def packed_plotly() -> PackedScript:
    """The script of the installed version, read without importing the package, to save time and memory."""
    script = Path(str(metadata.distribution("plotly").locate_file(SCRIPT))).read_bytes()
    notice = script[: script.index(b"*/")].decode().strip("/*\n")
    return PackedScript(
        notice="; ".join(line.strip("* ") for line in notice.splitlines()),
        text=b64encode(gzip.compress(script, LEVEL, mtime=0)).decode(),
        source=script_source(script),
    )
