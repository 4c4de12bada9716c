"""Templates of the page, and the files that it inlines: its own static ones, and plotly.js from its package."""

import gzip
import re
from base64 import b64encode
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib import metadata, resources
from pathlib import Path

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    Environment,
    FileSystemBytecodeCache,
    PackageLoader,
    StrictUndefined,
    Template,
    select_autoescape,
)
from markupsafe import Markup

from collapsar.foundations.words import counted
from collapsar.judging.metric_keys import title_of
from collapsar.report import wording

PLOTLY = "plotly/package_data/plotly.min.js"


@cache
def template(name: str, *, beside: str = "collapsar.report.page") -> Template:
    """A template that stands beside a module, or in the report's own folder of templates."""
    return environment(ChoiceLoader([PackageLoader(beside, "."), PackageLoader("collapsar.report")])).get_template(name)


def environment(loader: BaseLoader) -> Environment:
    """A jinja environment with the report's functions; it escapes values, and undefined names are errors."""
    made = Environment(
        loader=loader,
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # JSON for the page's script: jinja escapes <, > and &, so that it cannot end its element; numbers keep all digits.
    made.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    made.filters.update(breakable=breakable, with_asides=with_asides)
    with suppress(OSError, RuntimeError):  # no folder for temporary files that is safe: templates are compiled anew
        made.bytecode_cache = FileSystemBytecodeCache()
    made.globals.update(
        counted=counted,
        title_of=title_of,
        wording=wording,
        static=_static,
        source=lambda name: _script_source(_static(name).encode()),
    )
    return made


def breakable(name: str) -> Markup:
    """A name of settings that may wrap between its words; what is copied stays the same."""
    return Markup("<wbr>").join(re.split(r"(?<=[_=])(?=\w)|(?<=\.)(?=[a-z])", name))


def with_asides(text: str) -> Markup:
    """A sentence in which what stands in brackets is set back."""
    parts = re.split(r"(\([^()]*\))", text)  # every second one is in brackets
    aside = Markup('<span class="aside">{}</span>')
    return Markup("").join(aside.format(part) if place % 2 else breakable(part) for place, part in enumerate(parts))


@cache
def packed_plotly() -> dict[str, str]:
    """The script as gzip in base64, with its licence's notice and its source for the policy; read without an import."""
    script = Path(str(metadata.distribution("plotly").locate_file(PLOTLY))).read_bytes()
    notice = script[: script.index(b"*/")].decode().strip("/*\n")
    return {  # level 6: higher levels save 3 kB of 2 MB
        "notice": "; ".join(line.strip("* ") for line in notice.splitlines()),
        "text": b64encode(gzip.compress(script, 6, mtime=0)).decode(),
        "source": _script_source(script),
    }


def _script_source(script: bytes) -> Markup:
    """The hash by which a content security policy allows an inline script and no other."""
    return Markup(f"'sha256-{b64encode(sha256(script).digest()).decode()}'")


@cache
def _static(name: str) -> Markup:
    return Markup(resources.files("collapsar.report").joinpath("static", name).read_text(encoding="utf-8"))
