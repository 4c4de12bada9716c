"""Sections of the page that case studies and plug-ins bring: content from chains, and a template of their own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from collapsar.judging.plugins import load_cases

if TYPE_CHECKING:
    from collapsar.study.chains import Chain  # reads folders with pandas, which a table of sections does not need


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page.

    Attributes:
        name: Its own; the place in the page is that of all added sections, in their order.
        package: Whose folder `templates` holds the template.
        template: The template's file; it sees the names of its content, and `arms`.
        content: Of the pictured chains of each arm, what the template shows; None if there is nothing.
    """

    name: str
    package: str
    template: str
    content: "Callable[[Sequence[Sequence[Chain]]], dict[str, Any] | None]"


_added: dict[str, Section] = {}


def add_section(section: Section) -> None:
    """Add a section to the pages that are made from now on; one of the same name is replaced."""
    _added[section.name] = section


def added_sections() -> list[Section]:
    """Those of the case studies and of plug-ins."""
    load_cases()
    return list(_added.values())
