"""Templates of the report, and the files of its static folder that they inline."""

from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape
from markupsafe import Markup


def template(name: str) -> Template:
    """A template in which every value is escaped and every name must be given."""
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("collapsar.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(static=_static)
    return environment


@cache
def _static(name: str) -> Markup:
    """A file of the package's own static folder, to be inlined as it is."""
    return Markup(resources.files("collapsar.report").joinpath("static", name).read_text(encoding="utf-8"))
