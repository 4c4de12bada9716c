"""The real side of a score: a data set of ours, whose held-out part is taken as chains take it, or own samples.

As many real samples as synthetic ones are compared.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from collapsar.data.real_data import RealData, Source
from collapsar.foundations.errors import UsageError, printable
from collapsar.foundations.samples import UNLABELLED, Samples
from collapsar.judging.comparison import choose
from collapsar.judging.evaluation import PRIMARY_SPACE, Evaluation
from collapsar.judging.evaluator import Evaluator, load_floor
from collapsar.judging.spaces.base import FeatureSpace, FittedSpace
from collapsar.scoring.parts import Options, check_stick, choices, evaluation_of, made, stored_generations
from collapsar.scoring.samples_of import TABLES, Given, alike, read_samples

logger = logging.getLogger(__name__)

MIN_SAMPLES = 8
FOR_TABLES = "table"


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """A prepared real side."""

    evaluator: Evaluator
    real_name: str  # in words
    num_real: int
    floor_size: int  # real samples on each side of the floor; 0 without a floor
    class_names: tuple[str, ...] = ()  # empty if classes are numbers


@dataclass(frozen=True, kw_only=True)
class StickOfItsData(FeatureSpace):
    """A stick that is fitted on the data set that it belongs to, whatever it measures."""

    stick: FeatureSpace
    source: Source

    has_classes, is_stick = True, True

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.stick.name

    def fit(self, real: RealData, *, device: torch.device, cache_dir: Path) -> FittedSpace:
        own = real if self.stick.is_stick else self.source.load().for_sticks()
        return self.stick.fit(own, device=device, cache_dir=cache_dir)


def of_data(evaluation: Evaluation, data: RealData, *, name: str) -> Yardstick:
    """The held-out part of a data set."""
    evaluator = evaluation.prepare(data)
    return Yardstick(
        evaluator=evaluator,
        real_name=name,
        num_real=len(data.test),
        floor_size=evaluator.num_synthetic if evaluator.floor else 0,
        class_names=data.table.class_names if data.table else (),
    )


@dataclass(frozen=True, kw_only=True)
class RealSide:
    """REAL, read: a source of ours, or a user's own samples."""

    name: str
    shape: tuple[int, ...]  # of a sample
    options: Options
    evaluation: Evaluation
    source: Source | None = None
    own: Given | None = None
    train: Given | None = None

    def read(self, given: Any, *, name: str) -> Given:
        """Synthetic samples in the format of the real ones, with labels if these have classes; else UsageError."""
        if isinstance(given, str | Path) and Path(given).suffix.lower() in TABLES:
            if self.source is None:
                raise UsageError(f"{printable(name)} is a table: REAL must be one too, or the name of one of ours")
            return Given(name, self.source.read_file(Path(given)))
        found = alike(read_samples(given, name=name, side=self.options.resize), shape=self.shape, to_name=self.name)
        if not self.options.is_labelled or found.samples.labels is None:
            return found.without_labels
        num_classes = self.own.num_classes if self.own else self.source.num_classes if self.source else 0
        if not num_classes:
            logger.info("%s: labels left out, as %s has none", printable(name), self.name)
            return found.without_labels
        known = list(self.own.class_names if self.own else ()) or [str(number) for number in range(num_classes)]
        return self._labelled(found, found.samples.labels, known=known)

    def _labelled(self, found: Given, labels: torch.Tensor, *, known: list[str]) -> Given:
        what = printable(found.name)
        if not found.class_names:
            if int(labels.max()) >= len(known):
                raise UsageError(f"labels of {what} must be below the {len(known)} classes: got {int(labels.max())}")
            return found
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
        """The real side for sets of so many synthetic samples; UsageError if they or the spaces do not suit it."""
        if num_synthetic < MIN_SAMPLES:
            raise UsageError(f"a synthetic set must hold at least {MIN_SAMPLES} samples: got {num_synthetic}")
        if (own := self.own) is None:
            assert self.source is not None, "one of the two"
            data = self.source.load()
            num_samples = min(self.evaluation.sample_size(len(data.test)), num_synthetic)
            return of_data(self._checked(data, num_samples), data, name=self.name)
        stick = self.evaluation.spaces.get(PRIMARY_SPACE)
        num_classes = own.num_classes if own.num_classes > 1 else 0
        data, further = split_own(
            own.samples,
            num_synthetic=min(num_synthetic, self.evaluation.num_samples or num_synthetic),
            train=self.train.samples if self.train else None,
            trains_stick=self.options.stick == "train",
            num_classes=stick.source.num_classes if isinstance(stick, StickOfItsData) else num_classes,
        )
        evaluation = self._checked(data, len(data.test))
        evaluator, floor_size = with_floor(evaluation.prepare(data, has_floor=False), further)
        return Yardstick(
            evaluator=evaluator,
            real_name=self.name,
            num_real=len(own.samples),
            floor_size=floor_size,
            class_names=own.class_names,
        )

    def _checked(self, data: RealData, num_samples: int) -> Evaluation:
        evaluation = replace(self.evaluation, num_samples=num_samples)
        evaluation.check(num_real=len(data.test), sample_shape=list(self.shape), num_classes=data.num_classes)
        return evaluation


def read_real(given: Any, *, name: str, options: Options) -> RealSide:
    """REAL as a user gave it: the name of a data set, a path, an array, a tensor, or samples."""
    if isinstance(given, str) and given in choices("data"):
        if Path(given).exists():
            logger.info("%s: the data set; ./%s would name the file or folder", given, given)
        return _read_source(given, name=f"the held-out part of {given}", options=options)
    name = printable(name)
    if isinstance(given, str | Path) and Path(given).suffix.lower() in TABLES:
        settings = [f"data.path={given}", *options.settings]
        return _read_source(FOR_TABLES, name=name, options=replace(options, settings=settings))
    own = read_own(given, name=name, side=options.resize)
    if not options.is_labelled:
        own = own.without_labels
    elif own.samples.labels is not None and bool((own.samples.labels == UNLABELLED).any()):
        raise UsageError(f"labels of {name} must all be known: add --unlabelled, or label every sample")
    train = None
    if options.train is not None:
        name_of_train = str(options.train) if isinstance(options.train, str | Path) else "train"
        train = read_own(options.train, name=name_of_train, side=options.resize)
        train = alike(train, shape=own.samples.shape, to_name=name)
        if (train.num_classes, train.class_names) != (own.num_classes, own.class_names):
            raise UsageError(f"{printable(train.name)} must have the classes of {name}: add --unlabelled")
    if len(own.samples) < 2 * MIN_SAMPLES:
        raise UsageError(f"{name} must hold at least {2 * MIN_SAMPLES} samples: got {len(own.samples)}")
    evaluation = _evaluation_of_own(own, name=name, options=options)
    shape = own.samples.shape
    return RealSide(name=name, shape=shape, options=options, evaluation=evaluation, own=own, train=train)


def read_own(given: Any, *, name: str, side: int | None) -> Given:
    """A user's own samples; of a run folder, those of its last generation."""
    if stored := stored_generations(given, has_all=False):
        logger.info("%s: the samples of %s", printable(name), stored[-1].name)
        given = stored[-1].samples()
    return read_samples(given, name=name, side=side)


def _read_source(data: str, *, name: str, options: Options) -> RealSide:
    if options.train is not None:
        raise UsageError(f"{name} brings its own training set: leave --train out")
    config, evaluation = evaluation_of(data, options)
    source = made("data", config.data)
    shape = tuple(source.sample_shape)
    if options.stick is not None:
        check_stick(options.stick, shape=shape)
    return RealSide(name=name, shape=shape, options=options, source=source, evaluation=evaluation)


def _evaluation_of_own(own: Given, *, name: str, options: Options) -> Evaluation:
    stick = options.stick
    if stick is not None:
        check_stick(stick, shape=own.samples.shape)
    if stick == "train" and own.num_classes < 2:
        problem = f"--stick train needs {name} with labels, such as a subfolder for each class"
        raise UsageError(f"{problem}: leave --stick out, or choose --space self_supervised")
    if stick in (None, "train"):
        if unused := [each for each in options.settings if each.lstrip("+~").startswith("data.")]:
            raise UsageError(f"{printable(unused[0])} has no effect, as {name} is no data set of ours: leave it out")
        # any data set will do: only the settings of its evaluation count
        return evaluation_of("digits", replace(options, stick=stick or ""))[1]
    config, evaluation = evaluation_of(stick, options)
    own_stick = evaluation.spaces[PRIMARY_SPACE]
    assert own_stick is not None, "`evaluation_of` leaves out spaces that are switched off"
    space = StickOfItsData(stick=own_stick, source=made("data", config.data))
    if own.num_classes not in (0, space.source.num_classes):
        problem = f"the {stick} stick has {space.source.num_classes} classes, and {name} {own.num_classes}"
        raise UsageError(f"{problem}: add --unlabelled, or choose --stick train")
    return replace(evaluation, spaces={**evaluation.spaces, PRIMARY_SPACE: space})


def split_own(
    own: Samples, *, num_synthetic: int, train: Samples | None, trains_stick: bool, num_classes: int
) -> tuple[RealData, Samples | None]:
    """A user's real samples as the sets of a source, and further ones for the floor; None if there are too few.

    They are split at random, the same way in every run. A stick that is trained here gets half of them, so that it has
    seen none that it measures, unless the user gives a training set. As many as there are synthetic samples are
    measured with; as many others, or samples of the training set, give the floor.
    """
    order = torch.randperm(len(own), generator=torch.Generator().manual_seed(0))
    num_for_stick = len(own) // 2 if trains_stick and train is None else 0
    for_stick, others = own[order[:num_for_stick]], order[num_for_stick:]
    num_samples = min(len(others), num_synthetic)
    test, rest = own[others[:num_samples].sort().values], own[others[num_samples:].sort().values]
    further = rest if len(rest) >= num_samples else None
    if train is not None and further is None and len(train) >= num_samples and not trains_stick:
        further = train[choose(len(train), num_samples=num_samples)]
    if train is None:
        train = for_stick if num_for_stick else rest if further else own
    return RealData(train=train, test=test, num_classes=num_classes), further


def with_floor(evaluator: Evaluator, further: Samples | None) -> tuple[Evaluator, int]:
    """The evaluator with the floor of further real samples, and its size; without any, that of two halves."""
    references = dict(evaluator.references)
    first = references[""]
    if further is not None:
        size = evaluator.num_synthetic
        further = further[choose(len(further), num_samples=size)]
    else:
        size = len(first.held_out) // 2
        halves = torch.randperm(len(first.held_out), generator=torch.Generator().manual_seed(1))
        held_out, further = first.held_out[halves[:size]], first.held_out[halves[size : 2 * size]]
        if size <= first.num_neighbours:
            return evaluator, 0
        references = {
            prefix: replace(real, held_out=held_out, training=further.values) for prefix, real in references.items()
        }
    floor = load_floor(references, further, measures=evaluator.measures, folder=first.folder)
    return replace(evaluator, floor=floor), size
