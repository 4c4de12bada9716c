"""Scores of samples: `score` in Python, and the table, frame and files that the command shows and writes."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from collapsar.data.real_data import RealData
from collapsar.errors import UsageError, printable
from collapsar.files import write_atomically
from collapsar.judging.comparison import Comparison
from collapsar.judging.evaluator import Scores
from collapsar.judging.metric_keys import MAIN, headline
from collapsar.judging.metric_lookup import find_metric, split_class, split_key, title_of
from collapsar.judging.spaces.base import FeatureSpace
from collapsar.machine.devices import torch_settings_kept
from collapsar.report.wording import MISSING, number_text
from collapsar.samples import Samples
from collapsar.scoring.chains import StoredGeneration, stored_generations
from collapsar.scoring.examples import Examples, examples_of
from collapsar.scoring.samples_of import natural
from collapsar.scoring.waiting import waiting_shown
from collapsar.scoring.yardstick import Options, Yardstick, of_chain, read_real

logger = logging.getLogger(__name__)

COLUMNS = ("set", "metric", "value", "low", "high", "floor", "better")


@dataclass(frozen=True, kw_only=True)
class ScoredSet:
    """One synthetic set and its scores.

    Attributes:
        num_given: Samples that the user gave; `scores.num_synthetic` were measured.
        examples: The worst samples, and those nearest to a training sample.
    """

    name: str
    num_given: int
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


@dataclass(frozen=True, kw_only=True, repr=False)
class Score:
    """Scores of one synthetic set or several against one real side.

    Attributes:
        notes: What was converted, left out or chosen when the samples were read.
    """

    sets: tuple[ScoredSet, ...]
    notes: tuple[str, ...] = ()

    @property
    def metrics(self) -> dict[str, Any]:
        """Values by metric key, with `_floor`, `_low` and `_high`; of several sets, such values by the set's name."""
        return self.sets[0].metrics if len(self.sets) == 1 else {each.name: each.metrics for each in self.sets}

    def to_frame(self) -> pd.DataFrame:
        """One row for each set and metric: value, interval, floor, and the better direction."""
        rows = [
            (
                each.name,
                key,
                value,
                *(each.metrics.get(f"{key}_{end}") for end in ("low", "high", "floor")),
                better(key),
            )
            for each in self.sets
            for key, value in values_of(each.metrics)
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def to_json(self) -> str:
        """All values and what they were measured with."""
        sets = [
            {
                "name": each.name,
                "num_given": each.num_given,
                "num_synthetic": each.scores.num_synthetic,
                "num_real": each.scores.num_real,
                "num_floor": each.yardstick.floor_size,
                "real": each.yardstick.real_name,
                "metrics": each.metrics,
                "class_shares": each.scores.class_shares,
                "factor_shares": each.scores.factor_shares,
                "feature_spaces": each.scores.feature_spaces,
            }
            for each in self.sets
        ]
        return json.dumps({"notes": self.notes, "sets": sets}, indent=1, allow_nan=False) + "\n"

    def to_html(self, path: str | Path) -> Path:
        """Write a page with the table, curves of several sets, samples, classes and memorisation; return its path."""
        from collapsar.scoring.page import render

        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, render(self).encode())
        return path

    @cached_property
    def shown_keys(self) -> list[str]:
        """The keys of the first space that tables show: all but those of single classes and columns."""
        keys = dict.fromkeys(key for each in self.sets for key, _ in values_of(each.metrics))
        return [key for key in keys if not split_key(key).space and split_class(key) is None]

    def table(self) -> Group:
        """The table of the terminal."""
        first = self.sets[0]
        left_out = len(self.to_frame()["metric"].unique()) - len(self.shown_keys)
        lines = [first.sizes, f"space: {first.spaces}"]
        if left_out:
            lines.append(f"{left_out} more values, of classes and of other spaces: --json, --csv or --html")
        return Group(self._one() if len(self.sets) == 1 else self._several(), *map(Text, lines))

    def _one(self) -> Table:
        found = Table(box=box.SIMPLE_HEAD, title=self.sets[0].name, title_justify="left", pad_edge=False)
        for name in ("metric", "value", "interval", "floor", "better"):
            found.add_column(name, justify="left" if name in ("metric", "better") else "right")
        for key in self.shown_keys:
            found.add_row(title_of(key), *cells(self.sets[0].metrics, key), better(key))
        return found

    def _several(self) -> Table:
        found = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        found.add_column("set")
        keys = [key for key in dict.fromkeys((*MAIN, *headline())) if key in self.shown_keys]
        for key in keys:
            found.add_column(f"{title_of(key)} {arrow(key)}".rstrip(), justify="right")
        for each in self.sets:
            found.add_row(each.name, *(number_text(each.metrics.get(key)) for key in keys))
        if any(f"{key}_floor" in self.sets[0].metrics for key in keys):
            found.add_section()
            found.add_row("floor", *(number_text(self.sets[0].metrics.get(f"{key}_floor")) for key in keys))
        return found

    def __repr__(self) -> str:
        console = Console(file=StringIO(), width=110, color_system=None)
        console.print(self.table(), *map(Text, self.notes), sep="\n")
        return console.file.getvalue().rstrip()  # type: ignore[attr-defined]


def score(
    synthetic: Any,
    real: Any,
    *,
    stick: str | None = None,
    space: str | FeatureSpace | Sequence[str | FeatureSpace] = (),
    evaluation: str = "standard",
    train: Any = None,
    resize: int | None = None,
    has_all_generations: bool = False,
    is_labelled: bool = True,
    settings: Sequence[str] = (),
    progress: bool | None = None,
) -> Score:
    """Measure synthetic samples against real ones: all metrics of a record, with their floor and intervals.

    A generation of one of our chains against its own data gives the values of its record, to the last digit.

    Args:
        synthetic: A path, tensor, array, `Samples` or (samples, labels); a list or a mapping by name of several. Paths
            are folders of images (subfolders are classes), .npz, .npy, .pt, .csv, .parquet, and our run folders.
        real: The same; or the name of a data set, such as mnist, whose held-out part is taken.
        stick: The frozen classifier whose features are compared: that of a data set, such as cifar10, or `train` to
            train one on labelled real samples. None takes that of the data set `real`, else no classifier.
        space: Feature spaces in place of the stick and the evaluation's own: a name (conf/space, pca, identity), or a
            `FeatureSpace`. Several in a list.
        evaluation: Which metrics: a file of conf/evaluation.
        train: The real samples that the generator was trained on, for memorisation.
        resize: Side to which images are resized, after a cut to squares.
        has_all_generations: Whether a run folder gives all its generations; else the last one.
        is_labelled: Whether labels count.
        settings: Overrides such as `evaluation.num_neighbours=3` or, for a table, `data.target=income`.
        progress: Whether to show a bar if it takes long; None shows one on a terminal.

    Raises:
        UsageError: samples cannot be read or do not fit together; the text says what to set.
    """
    if resize is not None and resize < 1:
        raise UsageError(f"resize must be at least 1: got {resize}")
    options = Options(
        stick=stick,
        spaces=(space,) if isinstance(space, str | FeatureSpace) else tuple(space),
        evaluation=evaluation,
        train=train,
        resize=resize,
        is_labelled=is_labelled,
        settings=tuple(settings),
    )
    shown = nullcontext() if progress is False else waiting_shown(always=progress is True)
    with torch_settings_kept(), noted() as notes, shown:
        given = named_sets(synthetic, has_all_generations=has_all_generations)
        return Score(sets=tuple(score_all(given, real, options=options)), notes=tuple(dict.fromkeys(notes)))


def score_all(given: Sequence[tuple[str, Any]], real: Any, *, options: Options) -> Iterator[ScoredSet]:
    """The scores of named sets: stored generations against their own data as they were recorded, else all alike."""
    stored = [each for _, each in given if isinstance(each, StoredGeneration)]
    name_of_real = str(real) if isinstance(real, str | Path) else "real"
    if len(stored) == len(given) and not options.names_settings and all(each.is_of(name_of_real) for each in stored):
        yield from of_records(stored)
        return
    side = read_real(real, name=name_of_real, options=options)
    sets = [
        (name, side.read(each.samples() if isinstance(each, StoredGeneration) else each, name=name))
        for name, each in given
    ]
    yardstick = side.prepare(num_synthetic=min(len(each.samples) for _, each in sets))
    yield from (scored(name, each.samples, yardstick=yardstick) for name, each in sets)


@contextmanager
def noted() -> Iterator[list[str]]:
    """Keep what the package logs within the context; it is also logged as usual."""
    notes: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            notes.append(record.getMessage())

    package, keeper = logging.getLogger("collapsar"), Keeper()
    level = package.level
    package.addHandler(keeper)
    package.setLevel(min(package.getEffectiveLevel(), logging.INFO))
    try:
        yield notes
    finally:
        package.removeHandler(keeper)
        package.setLevel(level)


def named_sets(synthetic: Any, *, has_all_generations: bool) -> list[tuple[str, Any]]:
    """The synthetic sets with their names; run folders give stored generations.

    Paths in the alphabetical order, as a shell gives them, are sorted by the numbers in their names.
    """
    if isinstance(synthetic, Mapping):
        given = [(str(name), each) for name, each in synthetic.items()]
    elif isinstance(synthetic, list):
        given = [(name_of(each, place), each) for place, each in enumerate(synthetic)]
        names = [name for name, _ in given]
        if names == sorted(names):
            given.sort(key=lambda named: natural(named[0]))
    else:
        given = [(name_of(synthetic, 0), synthetic)]
    if not given:
        raise UsageError("there must be at least one synthetic set: got none")
    sets: list[tuple[str, Any]] = []
    for name, each in given:
        path = Path(each).expanduser() if isinstance(each, str | Path) else None
        stored = stored_generations(path, has_all=has_all_generations) if path and path.is_dir() else []
        if has_all_generations and not stored:
            raise UsageError(f"--all is for run folders: {printable(name)} is none; leave it out")
        sets += [(one.name, one) for one in stored] or [(name, each)]
    return sets


def name_of(given: Any, place: int) -> str:
    """The path of a set, or its number."""
    return str(given) if isinstance(given, str | Path) else f"synthetic {place + 1}" if place else "synthetic"


def of_records(stored: Sequence[StoredGeneration]) -> Iterator[ScoredSet]:
    """The scores of stored generations, with the settings of their chains."""
    last: tuple[Path, Yardstick, RealData] | None = None
    for each in stored:
        folder = each.chain.folder
        if last is None or last[0] != folder:
            torch.set_num_threads(each.num_threads or torch.get_num_threads())
            last = folder, *of_chain(each)
            logger.info("%s: measured with the settings of its chain, as its record was", folder)
        _, yardstick, clean = last
        samples = each.samples()
        if len(samples) < each.record.num_evaluated:
            logger.warning(
                "%s: its record measured %d samples and its file holds %d, so values differ from the record",
                each.name, each.record.num_evaluated, len(samples),
            )  # fmt: skip
        num_training = yardstick.evaluator.num_training
        pool = each.trained_on(clean, num_samples=num_training) if num_training else None
        yield scored(each.name, samples, yardstick=yardstick, generation=each.number, pool=pool, is_random=False)


def scored(
    name: str,
    samples: Samples,
    *,
    yardstick: Yardstick,
    generation: int = 0,
    pool: Samples | None = None,
    is_random: bool = True,
) -> ScoredSet:
    """The scores of one set: of a random part if it is larger than the real side, since folders are often sorted."""
    measured = samples
    if is_random and len(samples) > yardstick.num_samples:
        order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))
        measured = samples[order[: yardstick.num_samples].sort().values]
        logger.info("%s: %d of %d samples measured, chosen at random", name, len(measured), len(samples))
    comparisons, scores = yardstick.compare(measured, generation=generation, pool=pool)
    first: Comparison = comparisons[""]
    return ScoredSet(name=name, num_given=len(samples), scores=scores, yardstick=yardstick, examples=examples_of(first))


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
