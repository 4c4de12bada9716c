"""One synthetic set: its scores, how they are written, and samples to look at."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from collapsar.judging.comparison import Comparison
from collapsar.judging.evaluator import Scores
from collapsar.judging.metric_keys import MAIN, headline
from collapsar.judging.metric_lookup import find_metric, split_key
from collapsar.report.wording import MISSING, number_text
from collapsar.scoring.yardstick import Yardstick

NUM_EXAMPLES = 12


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Samples of one set: tensors in the sample convention, or data frames with rows of a table."""

    worst: Any  # farthest from any held-out real sample, in radii of the ball of the nearest one; the worst first
    worst_ratios: list[float]
    nearest: Any  # nearest to a training sample, in distances from that one to its own nearest; the nearest first
    training: Any  # the training sample beside each of `nearest`
    nearest_ratios: list[float]


@dataclass(frozen=True, kw_only=True)
class ScoredSet:
    """One synthetic set and its scores."""

    name: str
    num_given: int  # by the user; `scores.num_synthetic` were measured
    scores: Scores
    yardstick: Yardstick
    examples: Examples

    @property
    def metrics(self) -> dict[str, float]:
        """Values by metric key, as in a record: also `_floor`, `_low` and `_high`."""
        return self.scores.metrics

    @property
    def sizes(self) -> str:
        """What was compared, in words."""
        scores, floor = self.scores, self.yardstick.floor_size
        sides = (scores.num_synthetic, self.num_given), (scores.num_real, self.yardstick.num_real)
        synthetic, real = (f"{some:,}" if some == given else f"{some:,} of {given:,}" for some, given in sides)
        text = f"{synthetic} synthetic samples against {real} of {self.yardstick.real_name}"
        if not floor:
            return f"{text}; no floor"
        smaller = ", fewer than measured: a floor of this size is higher" if floor < scores.num_real else ""
        return f"{text}; floor: {floor:,} real samples against {floor:,} others{smaller}"

    @property
    def spaces(self) -> str:
        """The feature spaces in words; keys of the first have no prefix."""
        first, *others = self.scores.feature_spaces.values()
        names = [f"{first['name']} ({first['feature_dim']} features)", *(f"{each['name']}/" for each in others)]
        return ", ".join(names)


def values_of(metrics: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """The metrics without floors and ends of intervals."""
    return ((key, value) for key, value in metrics.items() if not split_key(key).suffix)


def better(key: str) -> str:
    """`higher` or `lower`; empty if neither is better."""
    metric = find_metric(key)
    return (metric.better if metric else None) or ""


def arrow(key: str) -> str:
    """The better direction as an arrow."""
    return {"higher": "↑", "lower": "↓"}.get(better(key), "")


def cells(metrics: Mapping[str, float], key: str) -> tuple[str, str, str]:
    """Value, interval and floor of a metric in words."""
    low, high = metrics.get(f"{key}_low"), metrics.get(f"{key}_high")
    interval = MISSING if low is None else f"[{number_text(low)}, {number_text(high)}]"
    return number_text(metrics.get(key)), interval, number_text(metrics.get(f"{key}_floor"))


def main_keys(shown_keys: Sequence[str]) -> list[str]:
    """The keys that stand before all others, as far as they were measured."""
    return [key for key in dict.fromkeys((*MAIN, *headline())) if key in shown_keys]


def examples_of(comparison: Comparison) -> Examples:
    """The samples to look at, by the features of one space."""
    real, side, values = comparison.real, comparison.real.training_side, comparison.samples.values
    far, far_ratios, _ = _ranked(comparison, references=real.features, radii=real.side.radii, largest=True)
    near, near_ratios, nearest = _ranked(
        comparison, references=side.features, radii=side.nearest_distances, largest=False
    )
    shown = real.table.decode if real.table else lambda chosen: chosen
    return Examples(
        worst=shown(values[far]),
        worst_ratios=far_ratios,
        nearest=shown(values[near]),
        training=shown(real.training[nearest]),
        nearest_ratios=near_ratios,
    )


def _ranked(
    comparison: Comparison, *, references: Tensor, radii: Tensor, largest: bool
) -> tuple[Tensor, list[float], Tensor]:
    """The samples with the largest or smallest ratios, these, and the nearest reference of each."""
    distances, nearest = comparison.nearest(references)
    ratios = distances / radii[nearest].double().clamp(min=1e-12)
    top = ratios.topk(min(NUM_EXAMPLES, len(ratios)), largest=largest)
    return top.indices.cpu(), top.values.tolist(), nearest[top.indices].cpu()
