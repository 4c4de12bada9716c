"""Measure samples of one's own, or stored generations: `score`."""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from collapsar.config.constructors import check_arguments
from collapsar.data.sources.pictures import natural
from collapsar.foundations.errors import UsageError, printable
from collapsar.judging.comparison import Comparison
from collapsar.judging.progress import listeners
from collapsar.judging.spaces.base import FeatureSpace
from collapsar.machine.devices import torch_settings_kept
from collapsar.scoring.parts import Options, StoredGeneration, stored_generations
from collapsar.scoring.scores import Score, ScoredSet, examples_of
from collapsar.scoring.yardstick import Yardstick, of_data, read_real

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 2.0


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

    A generation of one of our chains against its own data gives the values of its record, to the last digit. UsageError
    if samples cannot be read or do not fit together; the text says what to set.

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
    """
    check_arguments(score, locals())
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
    with torch_settings_kept(), noted() as notes, waiting_shown(progress):
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
    num_measured = yardstick.evaluator.num_synthetic
    for name, given_set in sets:
        samples, num_given = given_set.samples, len(given_set.samples)
        if num_given > num_measured:  # a random part, since folders are often sorted
            order = torch.randperm(num_given, generator=torch.Generator().manual_seed(0))
            samples = samples[order[:num_measured].sort().values]
            logger.info("%s: %d of %d samples measured, chosen at random", name, len(samples), num_given)
        comparisons = yardstick.evaluator.compare(samples, seed=0, generation=0)
        yield _scored(name, comparisons, yardstick=yardstick, num_given=num_given)


@contextmanager
def waiting_shown(progress: bool | None) -> Iterator[None]:
    """Show on stderr, from two seconds on, what is waited for within the context; None: if it is a terminal."""
    console = Console(stderr=True, force_terminal=progress)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    bars = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    tasks, start = dict[str, TaskID](), time.monotonic()

    def heard(what: str, number: int, of: int) -> None:
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=of)
        elif bars.tasks[tasks[what]].finished:
            bars.reset(tasks[what], total=of)
        bars.advance(tasks[what], number)
        if time.monotonic() - start > PATIENCE_SECONDS:
            bars.start()

    listeners.append(heard)
    try:
        yield
    finally:
        listeners.remove(heard)
        bars.stop()


@contextmanager
def noted() -> Iterator[list[str]]:
    """Keep what the package logs within the context; it is also logged as usual."""
    notes: list[str] = []
    package, keeper = logging.getLogger("collapsar"), logging.Handler()
    keeper.emit = lambda record: notes.append(record.getMessage())  # type: ignore[method-assign]
    level = package.level
    package.addHandler(keeper)
    package.setLevel(min(package.getEffectiveLevel(), logging.INFO))
    try:
        yield notes
    finally:
        package.removeHandler(keeper)
        package.setLevel(level)


def named_sets(synthetic: Any, *, has_all_generations: bool) -> list[tuple[str, Any]]:
    """The synthetic sets with their names; run folders give stored generations."""
    if isinstance(synthetic, Mapping):
        given = [(str(name), each) for name, each in synthetic.items()]
    else:
        several = synthetic if isinstance(synthetic, list) else [synthetic]
        names = names_of(several)
        given = list(zip(names, several, strict=True))
        if names == sorted(names):  # as a shell gives paths
            given.sort(key=lambda named: natural(named[0]))
    if not given:
        raise UsageError("there must be at least one synthetic set: got none")
    sets: list[tuple[str, Any]] = []
    for name, each in given:
        stored = stored_generations(each, has_all=has_all_generations)
        if has_all_generations and not stored:
            raise UsageError(f"--all is for run folders: {printable(name)} is none; leave it out")
        sets += [(one.name, one) for one in stored] or [(name, each)]
    return sets


def names_of(synthetic: Sequence[Any]) -> list[str]:
    """The names of sets: their paths, without the folder that several have in common; else their numbers."""
    paths = [Path(each).resolve() for each in synthetic if isinstance(each, str | Path)]
    if len(paths) == len(synthetic) > 1:
        common = os.path.commonpath([path.parent for path in paths])
        return [printable(str(path.relative_to(common))) for path in paths]
    numbers = ("synthetic", *(f"synthetic {number}" for number in range(2, len(synthetic) + 1)))
    pairs = zip(synthetic, numbers, strict=False)
    return [printable(str(each)) if isinstance(each, str | Path) else number for each, number in pairs]


def of_records(stored: Sequence[StoredGeneration]) -> Iterator[ScoredSet]:
    """The scores of stored generations, with the settings of their chains."""
    for folder, generations in groupby(stored, key=lambda each: each.chain.folder):
        first, *others = generations
        torch.set_num_threads(first.record.machine.get("threads") or torch.get_num_threads())
        clean, data = first.source.load(), f"the held-out part of {first.record.data}"
        yardstick = of_data(first.evaluation, clean, name=data)
        logger.info("%s: measured with the settings of its chain, as its record was", folder)
        for each in (first, *others):
            samples, num_evaluated = each.samples(), each.record.num_evaluated
            if len(samples) < num_evaluated:
                text = "%s: its record measured %d samples and its file holds %d, so values differ from the record"
                logger.warning(text, each.name, num_evaluated, len(samples))
            num_training = yardstick.evaluator.num_training
            pool = each.trained_on(clean, num_samples=num_training) if num_training else None
            seed, number = each.record.seed, each.record.generation
            comparisons = yardstick.evaluator.compare(samples, seed=seed, generation=number, pool=pool)
            yield _scored(each.name, comparisons, yardstick=yardstick, num_given=len(samples))


def _scored(name: str, comparisons: Mapping[str, Comparison], *, yardstick: Yardstick, num_given: int) -> ScoredSet:
    return ScoredSet(
        name=name,
        num_given=num_given,
        scores=yardstick.evaluator.score(comparisons),
        yardstick=yardstick,
        examples=examples_of(comparisons[""]),
    )
