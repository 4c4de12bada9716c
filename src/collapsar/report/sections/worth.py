"""What pools are worth in real samples: a sentence for each arm, also in the terminal, and a figure."""

import math
from typing import Any

from collapsar.judging.metric_keys import title_of
from collapsar.study.study import Study
from collapsar.study.worth import RealCurve

WIDTH, HEIGHT = 420, 200  # of the figure's box, in the units of its SVG


def content(study: Study) -> dict[str, Any] | None:
    """The curves that rate an arm with a later generation, each with its axes; None without one."""
    drawn = [_drawn(curve, study) for curve in study.real_curves if sentences(curve)]
    return {"drawn": drawn, "width": WIDTH, "height": HEIGHT, "number_text": number_text} if drawn else None


def sentences(curve: RealCurve) -> dict[str, str]:
    """What the last pool of each arm with a later generation is worth, by the name of the arm, which it follows."""
    found, title = {}, title_of(curve.metric)
    for arm, rated in curve.rated:
        longest = max((chain.records for chain in arm.counted), key=len)
        for generation, size in [(one.generation, one.pool["size"]) for one in longest if one.generation in rated][-1:]:
            worth = rated[generation][1]
            ends = dict.fromkeys(number_text(end, curve) for end in worth.ends)  # beyond the curve both may be one
            bounds = f" [{', '.join(ends)}]" if len(ends) > 1 else ""
            real = (
                f"{number_text(worth.mean, curve)} real ones{bounds} by {title if title.isupper() else title.lower()}"
            )
            found[arm.name] = f"the {size:,} samples in the pool of generation {generation} are worth {real}"
    return found


def number_text(num_real: float, curve: RealCurve) -> str:
    """A number of real samples or, beyond the curve, its end: fewer than 90."""
    beyond = f"fewer than {min(curve.means):,}" if num_real < 0 else f"more than {max(curve.means):,}"
    return f"{num_real:,.0f}" if math.isfinite(num_real) else beyond


def _drawn(curve: RealCurve, study: Study) -> dict[str, Any]:
    """A curve with its arms by their places in the study, and its axes as functions, which end where the curve does."""
    names = [arm.name for arm in study.arms]
    rated = [(names.index(arm.name), arm, own) for arm, own in curve.rated]
    ends, (first, *_, last) = [end for mean in curve.means.values() for end in mean.ends], curve.means
    low, high = min(ends), max(ends)
    known = {"curve": curve, "rated": rated, "said": sentences(curve), "lowest": low, "highest": high}
    return known | {
        "across": lambda size: round(WIDTH * math.log(min(max(size, first), last) / first) / math.log(last / first), 1),
        "down": lambda value: round(HEIGHT * (high - min(max(value, low), high)) / (high - low), 1),
    }
