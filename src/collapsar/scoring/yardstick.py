"""The real side of a score: what synthetic samples are held against, and as many of both sides.

REAL is a data set of ours, whose held-out part is taken as chains take it, or a user's own samples. Own samples are all
measured with, up to the number of synthetic ones. Their floor needs as many further real samples: those left over, or
those of the training set; without enough of these, two halves of the measured ones, and the floor says that it is of
half the size.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from collapsar.data.real_data import RealData
from collapsar.data.sources.source import Source
from collapsar.errors import UsageError, printable
from collapsar.judging.comparison import Comparison
from collapsar.judging.evaluation import PRIMARY_SPACE, Evaluation
from collapsar.judging.evaluator import Evaluator, Scores
from collapsar.judging.spaces.base import FeatureSpace
from collapsar.samples import UNLABELLED, Samples
from collapsar.scoring.chains import StoredGeneration, stored_generations
from collapsar.scoring.own_real import StickOfItsData, split_own, with_floor
from collapsar.scoring.parts import check_choice, check_stick, choices, evaluation_of, shipped_sticks, source_of
from collapsar.scoring.samples_of import TABLES, Given, alike, read_samples

logger = logging.getLogger(__name__)

MIN_SAMPLES = 8
FOR_TABLES = "table"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a user chose; `measure.score` explains each."""

    stick: str | None = None
    spaces: Sequence[str | FeatureSpace] = ()
    evaluation: str = "standard"
    train: Any = None
    resize: int | None = None
    is_labelled: bool = True
    settings: Sequence[str] = ()

    @property
    def names_settings(self) -> bool:
        """Whether anything was chosen that a chain's own settings would decide."""
        chosen = self.stick, self.train, self.resize, *self.spaces, *self.settings
        return any(each is not None for each in chosen) or self.evaluation != "standard" or not self.is_labelled


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """A prepared real side.

    Attributes:
        real_name: The real side in words, and `num_real` its size.
        floor_size: Real samples on each side of the floor; 0 without a floor.
        class_names: The names of the classes; empty if they are numbers.
        seed: Of the metrics' random draws.
    """

    evaluator: Evaluator
    real_name: str
    num_real: int
    floor_size: int
    class_names: tuple[str, ...] = ()
    seed: int = 0

    @property
    def num_samples(self) -> int:
        return self.evaluator.num_synthetic

    def compare(
        self, samples: Samples, *, generation: int = 0, pool: Samples | None = None
    ) -> tuple[dict[str, Comparison], Scores]:
        """Samples against the real side, and their scores."""
        comparisons = self.evaluator.compare(samples, seed=self.seed, generation=generation, pool=pool)
        return comparisons, self.evaluator.score(comparisons)


def of_chain(stored: StoredGeneration) -> tuple[Yardstick, RealData]:
    """The real side that a chain's records were measured against, and its data."""
    clean = stored.source.load()
    evaluator = stored.evaluation.prepare(clean)
    yardstick = Yardstick(
        evaluator=evaluator,
        real_name=f"the held-out part of {stored.record.data}",
        num_real=len(clean.test),
        floor_size=evaluator.num_synthetic,
        class_names=clean.table.class_names if clean.table else (),
        seed=stored.record.seed,
    )
    return yardstick, clean


@dataclass(frozen=True, kw_only=True)
class RealSide:
    """REAL, read: a source of ours, or a user's own samples."""

    name: str
    options: Options
    source: Source | None = None
    evaluation: Evaluation | None = None
    own: Given | None = None
    train: Given | None = None

    @cached_property
    def data(self) -> RealData:
        assert self.source is not None, "a source of ours"
        return self.source.load()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.own.samples.shape if self.own else tuple(self.data.train.shape)

    def read(self, given: Any, *, name: str) -> Given:
        """Synthetic samples in the format of the real ones, with labels if these have classes.

        Raises:
            UsageError: they cannot be read, or are of another kind or size.
        """
        if isinstance(given, str | Path) and Path(given).suffix.lower() in TABLES:
            if self.source is None:
                raise UsageError(f"{printable(name)} is a table: REAL must be one too, or the name of one of ours")
            return Given(name, self.source.read_file(Path(given)))
        found = read_samples(given, name=name, side=self.options.resize)
        found = alike(found, shape=self.shape, to_name=self.name)
        if not self.options.is_labelled or found.samples.labels is None:
            return found.without_labels
        return self._labelled(found)

    def _labelled(self, found: Given) -> Given:
        """Synthetic samples with the labels of the real classes; without labels if the real side has none."""
        if self.own:
            num_classes, names = self.own.num_classes, self.own.class_names
        else:
            num_classes, names = self.data.num_classes, ()
        what, labels = printable(found.name), found.samples.labels
        assert labels is not None, "checked by the caller"
        if not num_classes:
            logger.info("%s: labels left out, as %s has none", what, self.name)
            return found.without_labels
        if not found.class_names:
            if int(labels.max()) >= num_classes:
                raise UsageError(f"labels of {what} must be below the {num_classes} classes: got {int(labels.max())}")
            return found
        known = list(names) or [str(number) for number in range(num_classes)]
        strangers = [name for name in found.class_names if name not in known]
        if len(strangers) == len(found.class_names):
            logger.info("%s: its subfolders name no class of %s, so it is read without labels", what, self.name)
            return found.without_labels
        if strangers:
            raise UsageError(
                f"{what} has a subfolder {printable(strangers[0])}, and the classes are "
                f"{', '.join(known[:12])}{', ...' if len(known) > 12 else ''}: rename it, or add --unlabelled"
            )
        places = torch.tensor([known.index(name) for name in found.class_names])
        return replace(found, samples=Samples(found.samples.values, places[labels]), class_names=tuple(known))

    def prepare(self, *, num_synthetic: int) -> Yardstick:
        """The real side for sets of so many synthetic samples.

        Raises:
            UsageError: a space does not suit the data, or there are too few samples.
        """
        if num_synthetic < MIN_SAMPLES:
            raise UsageError(f"a synthetic set must hold at least {MIN_SAMPLES} samples: got {num_synthetic}")
        return self._prepare_source(num_synthetic) if self.source else self._prepare_own(num_synthetic)

    def _prepare_source(self, num_synthetic: int) -> Yardstick:
        assert self.evaluation is not None, "a source comes with one"
        assert self.source is not None, "checked by the caller"
        num_samples = min(self.evaluation.sample_size(len(self.data.test)), num_synthetic)
        evaluation = replace(self.evaluation, num_samples=num_samples)
        evaluation.check(
            num_real=len(self.data.test), sample_shape=self.source.sample_shape, num_classes=self.source.num_classes
        )
        evaluator = evaluation.prepare(self.data)
        table = self.data.table
        return Yardstick(
            evaluator=evaluator,
            real_name=self.name,
            num_real=len(self.data.test),
            floor_size=num_samples if evaluator.floor else 0,
            class_names=table.class_names if table else (),
        )

    def _prepare_own(self, num_synthetic: int) -> Yardstick:
        own, stick = self.own, self.options.stick
        assert own is not None, "checked by the caller"
        self._check_own(own)
        data = stick if stick not in (None, "train") else "digits"  # a stick's own data; else any: only settings count
        config, evaluation = evaluation_of(
            data,
            stick=stick or "",
            spaces=self.options.spaces,
            evaluation=self.options.evaluation,
            settings=self.options.settings,
        )
        num_classes = own.num_classes if own.num_classes > 1 else 0
        if stick not in (None, "train"):
            space = StickOfItsData(stick=evaluation.spaces[PRIMARY_SPACE], source=source_of(config))
            evaluation = replace(evaluation, spaces={**evaluation.spaces, PRIMARY_SPACE: space})
            num_classes = space.source.num_classes
            if own.num_classes not in (0, num_classes):
                raise UsageError(
                    f"the {stick} stick has {num_classes} classes, and {self.name} {own.num_classes}: add "
                    "--unlabelled, or choose --stick train"
                )
        split = split_own(
            own.samples,
            num_synthetic=min(num_synthetic, evaluation.num_samples or num_synthetic),
            train=self.train.samples if self.train else None,
            trains_stick=stick == "train",
            num_classes=num_classes,
        )
        num_samples = len(split.real.test)
        evaluation = replace(evaluation, num_samples=num_samples)
        evaluation.check(num_real=num_samples, sample_shape=list(self.shape), num_classes=num_classes)
        evaluator = evaluation.prepare(split.real, has_floor=False)
        evaluator, floor_size = with_floor(evaluator, split.further)
        return Yardstick(
            evaluator=evaluator,
            real_name=self.name,
            num_real=len(own.samples),
            floor_size=floor_size,
            class_names=own.class_names,
        )

    def _check_own(self, own: Given) -> None:
        """Refuse a stick or a space that does not suit the samples, before anything is fitted."""
        if len(own.samples) < 2 * MIN_SAMPLES:
            raise UsageError(f"{self.name} must hold at least {2 * MIN_SAMPLES} samples: got {len(own.samples)}")
        stick = self.options.stick
        if stick is None:
            return
        check_stick(stick, shape=self.shape)
        if stick == "train" and own.num_classes < 2:
            raise UsageError(
                f"--stick train needs {self.name} with labels, such as a subfolder for each class: leave --stick out, "
                "or choose --space self_supervised"
            )


def read_real(given: Any, *, name: str, options: Options) -> RealSide:
    """REAL as a user gave it: the name of a data set, a path, an array, a tensor, or samples."""
    is_path = isinstance(given, str | Path)
    if isinstance(given, str) and given in choices("data"):
        if Path(given).exists():
            logger.info("%s: the data set; ./%s would name the file or folder", given, given)
        return of_source(given, name=f"the held-out part of {given}", options=options)
    if is_path and Path(given).suffix.lower() in TABLES:
        return of_source(FOR_TABLES, name=printable(name), options=options, path=Path(given))
    own = read_own(given, name=name, side=options.resize)
    if not options.is_labelled:
        own = own.without_labels
    elif own.samples.labels is not None and bool((own.samples.labels == UNLABELLED).any()):
        raise UsageError(f"labels of {printable(name)} must all be known: add --unlabelled, or label every sample")
    train = None
    if options.train is not None:
        name_of_train = str(options.train) if isinstance(options.train, str | Path) else "train"
        train = read_own(options.train, name=name_of_train, side=options.resize)
        train = alike(train, shape=own.samples.shape, to_name=printable(name))
        if (train.num_classes, train.class_names) != (own.num_classes, own.class_names):
            raise UsageError(f"{printable(train.name)} must have the classes of {printable(name)}: add --unlabelled")
    return RealSide(name=printable(name), options=options, own=own, train=train)


def read_own(given: Any, *, name: str, side: int | None) -> Given:
    """A user's own samples; of a run folder, those of its last generation."""
    path = Path(given).expanduser() if isinstance(given, str | Path) else None
    if path and path.is_dir() and (stored := stored_generations(path, has_all=False)):
        logger.info("%s: the samples of %s", printable(name), stored[-1].name)
        given = stored[-1].samples()
    return read_samples(given, name=name, side=side)


def of_source(data: str, *, name: str, options: Options, path: Path | None = None) -> RealSide:
    """REAL as a data set of ours."""
    if options.train is not None:
        raise UsageError(f"{name} brings its own training set: leave --train out")
    if options.stick is not None:
        check_choice("--stick", options.stick, [*shipped_sticks(), "train"])
    file = [] if path is None else ["data.path='" + str(path).replace("'", "\\'") + "'"]
    config, evaluation = evaluation_of(
        data,
        stick=options.stick,
        spaces=options.spaces,
        evaluation=options.evaluation,
        settings=[*file, *options.settings],
    )
    source = source_of(config)
    if options.stick is not None:
        check_stick(options.stick, shape=tuple(source.sample_shape))
    return RealSide(name=name, options=options, source=source, evaluation=evaluation)
