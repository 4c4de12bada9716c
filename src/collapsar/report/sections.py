"""Sections of the page that case studies and plug-ins add: each makes content from chains and has its own template."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from collapsar.judging.plugins import load_cases

if TYPE_CHECKING:
    from collapsar.study.chains import Chain  # imports pandas, which sections alone do not need


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page.

    Attributes:
        name: Unique; sections stand on the page in the order in which they were added.
        package: The package whose folder `templates` holds the template.
        template: The template's file; it sees its content, `arms`, `chains`, `num_pictured` and `wording`.
        content: Makes the content from the pictured chains of each arm; None if there is nothing to show.
    """

    name: str
    package: str
    template: str
    content: "Callable[[Sequence[Sequence[Chain]]], dict[str, Any] | None]"


_added: dict[str, Section] = {}


def add_section(section: Section) -> None:
    """Add a section to the pages that are made from now on; it replaces one of the same name."""
    _added[section.name] = section


def added_sections() -> list[Section]:
    """Sections of the case studies and of plug-ins."""
    load_cases()
    return list(_added.values())


def per_arm(
    pictured: "Sequence[Sequence[Chain]]", draw: "Callable[[Chain], Any]"
) -> "list[tuple[int, list[tuple[Chain, Any]]]]":
    """What `draw` makes of each arm's chains, with the arm's index; arms without a drawing are left out."""
    drawn = [
        (index, [(chain, found) for chain in chains if (found := draw(chain)) is not None])
        for index, chains in enumerate(pictured)
    ]
    return [(index, pairs) for index, pairs in drawn if pairs]
