"""Templates of the report, and the files of its static folder that they inline."""

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib import resources

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template, select_autoescape
from markupsafe import Markup


def template(name: str, *, package: str = "collapsar.report") -> Template:
    """A template of a package, in which every value is escaped and every name must be given."""
    return _environment(package).get_template(name)


def script_source(script: bytes) -> str:
    """How a content security policy names an inline script: by its content, so that no other one runs."""
    return f"'sha256-{b64encode(sha256(script).digest()).decode()}'"


@cache
def _environment(package: str) -> Environment:
    """Templates of a package, which may use the report's own."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("collapsar.report")]),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(static=_static, source=lambda name: Markup(script_source(_static(name).encode())))
    return environment


@cache
def _static(name: str) -> Markup:
    """A file of the package's own static folder, to be inlined as it is."""
    return Markup(resources.files("collapsar.report").joinpath("static", name).read_text(encoding="utf-8"))
