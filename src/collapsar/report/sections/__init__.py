"""The sections of the page in their order, and the door through which case studies and plug-ins add theirs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # pandas, which takes long and which a list of sections does not need
    from collapsar.study.chains import Chain
    from collapsar.study.study import Study

MAX_PICTURED_CHAINS = 24  # film strips and class heat maps take most of the page and of the time to make it


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page.

    Its template, `NAME.html.jinja`, stands beside the module of its content. It sees `study`, `arms` and the content:
    what a function of the `Study` gives, or None if there is nothing to show. In the content, an entry `title` replaces
    the heading; entries of `charts` go to the page's script.
    """

    name: str  # unique; also the id of the element
    title: str  # the heading
    content: str  # path of the function, `module:function`, imported when a page is made


SECTIONS = [
    Section(name="reels", title="What the models draw", content=f"{__name__}.films:reels"),
    Section(name="answer", title="The answer", content=f"{__name__}.answer:content"),
    Section(name="forest", title="Against the baseline", content=f"{__name__}.forest:content"),
    Section(name="worth", title="What samples are worth, in real ones", content=f"{__name__}.worth:content"),
    Section(name="comparison", title="Comparison", content=f"{__name__}.runs:comparison"),
    Section(name="curves", title="Through the generations", content=f"{__name__}.curves:content"),
    Section(name="losses", title="Training losses", content=f"{__name__}.losses:content"),
    Section(name="films", title="The same latents in every generation", content=f"{__name__}.films:film_strips"),
    Section(name="nearest", title="Nearest real images", content=f"{__name__}.films:nearest"),
    Section(name="classes", title="Classes", content=f"{__name__}.classes:class_shares"),
    Section(name="factors", title="Factors", content=f"{__name__}.classes:factor_shares"),
    Section(name="class-scores", title="Scores by class", content=f"{__name__}.classes:scores"),
    Section(name="paths", title="Precision, recall, survival", content=f"{__name__}.curves:paths"),
    Section(name="phase", title="Phase map", content=f"{__name__}.phase:maps"),
    Section(name="phase-curve", title="Phase curve", content=f"{__name__}.phase:curves"),
    Section(name="costs", title="Time and memory", content=f"{__name__}.runs:costs"),
    Section(name="settings", title="Settings", content=f"{__name__}.runs:settings"),
    Section(name="unfinished", title="Not finished, or left out", content=f"{__name__}.runs:unfinished"),
]


def add_section(section: Section, *, before: str = "classes") -> None:
    """Add a section to the pages made from now on; it replaces one of the same name."""
    names = [known.name for known in SECTIONS]
    if section.name in names:
        SECTIONS[names.index(section.name)] = section
    elif before in names:
        SECTIONS.insert(names.index(before), section)
    else:
        raise ValueError(f"before must be one of {', '.join(names)}: got {before!r}")


def panels(study: "Study", draw: "Callable[[Chain], Any]") -> dict[str, Any] | None:
    """Content for the macro `by_seed`: what `draw` makes of each arm's chains, with a width in `pixels`; None without.

    At most MAX_PICTURED_CHAINS are drawn, the first seeds of each arm before second ones.
    """
    ranked = sorted((rank, index) for index, arm in enumerate(study.arms) for rank in range(len(arm.chains)))
    kept = [index for _, index in ranked[:MAX_PICTURED_CHAINS]]
    shown = []
    for index, arm in enumerate(study.arms):
        drawn = [(chain.seed, draw(chain)) for chain in arm.chains[: kept.count(index)]]
        if pairs := [(seed, found) for seed, found in drawn if found is not None]:
            shown.append((index, pairs))
    if not shown:
        return None
    width = max(found.pixels for _, pairs in shown for _, found in pairs)
    return {"panels": shown, "panel_pixels": width, "num_pictured": len(kept)}
