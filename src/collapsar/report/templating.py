"""Templates of the report, and the files of its static folder that they inline."""

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib import resources

from jinja2 import BaseLoader, ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template, select_autoescape
from markupsafe import Markup

from collapsar.records.words import counted


@cache
def template(name: str, *, package: str = "collapsar.report") -> Template:
    """A template of a package; it may include the report's own. Values are escaped, undefined names are errors."""
    return environment(ChoiceLoader([PackageLoader(package), PackageLoader("collapsar.report")])).get_template(name)


def script_source(script: bytes) -> str:
    """The hash by which a content security policy allows an inline script and no other."""
    return f"'sha256-{b64encode(sha256(script).digest()).decode()}'"


def environment(loader: BaseLoader) -> Environment:
    """A jinja environment with the report's rules and functions."""
    made = Environment(
        loader=loader,
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(
        counted=counted, static=_static, source=lambda name: Markup(script_source(_static(name).encode()))
    )
    return made


@cache
def _static(name: str) -> Markup:
    """A file of the package's own static folder, inlined without escaping."""
    return Markup(resources.files("collapsar.report").joinpath("static", name).read_text(encoding="utf-8"))
