"""The evaluation settings, and how a chain's evaluator is made from them.

The first space is the measuring stick's, a frozen classifier (`classifier` in the settings); without one, the first
that suits the data.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from pkgutil import resolve_name
from typing import Literal

import torch
from platformdirs import user_cache_path

from collapsar.data.real_data import Factors, RealData
from collapsar.foundations.errors import UsageError, check_fraction, check_positive
from collapsar.foundations.samples import Samples
from collapsar.judging.comparison import RealReference, choose
from collapsar.judging.downstream import DownstreamTask
from collapsar.judging.evaluator import Evaluator, ExtraMetrics, Measure, load_floor
from collapsar.judging.metric_keys import METRICS, load_cases
from collapsar.judging.spaces.base import FeatureSpace, checksum, labels_of

logger = logging.getLogger(__name__)

PRIMARY_SPACE = "classifier"
MOST_SAMPLES = 10_000
ENOUGH_SAMPLES = 10  # for each dimension: with fewer, the bias of the Fréchet distance is not small beside the floor
ACCELERATORS = ("auto", "cpu", "cuda", "gpu")
_last: list[tuple["Evaluation", str, Evaluator]] = []  # at most one: of `prepare_once`, with what it was prepared from


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Which metrics to measure, in which spaces, and on how many samples.

    `conf/evaluation/standard.yaml` explains each setting; `prepare` uses the spaces that suit the data.
    """

    spaces: Mapping[str, FeatureSpace | None]  # null switches one off
    metrics: Sequence[str]
    num_samples: int | None
    num_neighbours: int
    num_batches: int
    batch_metrics: Sequence[str]
    confidence: float
    low_confidence: float
    num_bins: int
    num_training: int
    downstream: DownstreamTask
    accelerator: str
    cache_folder: str | None
    table: ExtraMetrics | None = None  # extra metrics for tables
    first_encoder: bool | None = None
    split: Literal["open", "board"] | None = None

    def __post_init__(self) -> None:
        check_positive(num_neighbours=self.num_neighbours, num_bins=self.num_bins)
        check_fraction(low_confidence=self.low_confidence)
        if self.accelerator not in ACCELERATORS:
            raise UsageError(f"evaluation.accelerator must be among {', '.join(ACCELERATORS)}: got {self.accelerator}")
        if self.accelerator in ("cuda", "gpu") and not torch.cuda.is_available():
            wanted = f"evaluation.accelerator={self.accelerator}"
            raise UsageError(f"{wanted} needs a CUDA device, and there is none: set it to auto or cpu")
        if not 0 < self.confidence < 1:
            raise UsageError(f"confidence must lie between 0 and 1, without either: got {self.confidence}")
        if self.num_samples is not None:
            check_positive(num_samples=self.num_samples)
        if self.num_batches < 0 or self.num_batches == 1:
            raise UsageError(f"num_batches must be 0 or at least 2: got {self.num_batches}")
        if self.num_training < 2:
            raise UsageError(f"num_training must be at least 2: got {self.num_training}")
        known = [*measured_groups(), *(self.table.groups() if self.table else ())]
        chosen = {"metrics": self.metrics, "batch_metrics": self.batch_metrics}
        for name, groups in (chosen | ({"table.metrics": self.table.metrics} if self.table else {})).items():
            if unknown := [group for group in groups if group not in known]:
                problem = f"{name} must be among {', '.join(known)}: got {', '.join(unknown)}"
                raise UsageError(f"{problem}; measures of tables come with table_metrics@evaluation.table=default")

    def sample_size(self, num_real: int) -> int:
        """How many real samples to compare with as many synthetic ones, if `num_real` are held out."""
        return self.num_samples or min(self.compared(num_real), MOST_SAMPLES)

    def compared(self, num_real: int) -> int:
        """How many of the held-out samples may be compared with."""
        return {None: num_real, "board": num_real // 2, "open": num_real - num_real // 2}[self.split]

    def check(self, *, num_real: int, sample_shape: Sequence[int], num_classes: int) -> None:
        """Raise UsageError unless the spaces suit the data, and there are enough samples for each setting."""
        for space in self._suitable(sample_shape).values():
            space.check(sample_shape=sample_shape, num_classes=num_classes)
        size, num_real = self.sample_size(num_real), self.compared(num_real)
        if size > num_real:
            raise UsageError(f"evaluation.num_samples must be at most the {num_real} held-out samples: got {size}")
        got = f"the number of samples: got {{}} for {size} samples"
        if self.num_neighbours >= size:
            raise UsageError(f"evaluation.num_neighbours must be below {got.format(self.num_neighbours)}")
        if "support_sensitivity" in self.metrics and size <= (fewest := max(10, 2 * self.num_neighbours)):
            raise UsageError(f"evaluation.metrics: support_sensitivity needs more than {fewest} samples: got {size}")
        if "bins" in self.metrics and self.num_bins > size:
            raise UsageError(f"evaluation.num_bins must be at most {got.format(self.num_bins)}")

    def names_before_keys(self, sample_shape: Sequence[int]) -> list[str]:
        """The spaces whose names prefix their metric keys: all but the first."""
        return list(self._suitable(sample_shape))[1:]

    @property
    def device(self) -> torch.device:
        """Device of the features."""
        return torch.device("cuda" if torch.cuda.is_available() and self.accelerator != "cpu" else "cpu")

    @property
    def cache_dir(self) -> Path:
        """Folder of fitted spaces and real sides."""
        return Path(self.cache_folder) if self.cache_folder else user_cache_path("collapsar") / "spaces"

    def measures(self, factors: Factors | None) -> dict[str, Measure]:
        """All measures by group, each with its settings; `factors` are the known factors of the data, if any."""
        groups: dict[str, Measure] = {}
        for name in measured_groups():
            metric = METRICS[name]
            function, settings = metric.measure, {key: getattr(self, each) for key, each in metric.settings.items()}
            if factors is not None and metric.of_factors is not None:
                function, settings = metric.of_factors, {"factors": factors} | settings
            groups[name] = partial(resolve_name(str(function)), **settings)
        return groups | dict(self.table.groups() if self.table else {})

    def prepare_once(self, real: RealData) -> Evaluator:
        """What `prepare` gives; this process's last one again if settings, data and number of threads are the same."""
        prepared_from = describe(real)
        if _last and _last[0][:2] == (self, prepared_from):
            self.warn_about_few(_last[0][2], real)
        else:
            _last.clear()  # first, so that memory never holds two
            _last.append((self, prepared_from, self.prepare(real)))
        return _last[0][2]

    def prepare(self, real: RealData, *, has_floor: bool = True) -> Evaluator:
        """Fit the spaces on the data that measuring sticks may see, and measure the floor if `has_floor`.

        The floor's samples are real ones that no space has seen; training samples if the data reserve none.
        """
        suitable = self._suitable(real.train.shape)
        if self.table and real.table:
            self.table.check(real.table)
        seen = real.for_sticks()
        spaces = {name: each.fit(seen, device=self.device, cache_dir=self.cache_dir) for name, each in suitable.items()}
        # Vectors are cheap to measure and often drawn anew for each seed: their files would fill the folder.
        kept_in = self.cache_dir if len(real.train.shape) > 1 or real.table is not None else None
        train, test = (
            Samples(part.values, labels) for part, labels in zip((real.train, real.test), labels_of(real), strict=True)
        )
        test = self._half_of(test)
        test = test[choose(len(test), num_samples=self.sample_size(len(real.test)))]
        references = {
            f"{name}/" if index else "": RealReference(
                name=name,
                space=space,
                held_out=test,
                training=train.values[choose(len(train), num_samples=self.num_training)],
                num_classes=real.num_classes,
                known_modes=real.known_modes,
                num_neighbours=self.num_neighbours,
                folder=kept_in,
                table=real.table,
            )
            for index, (name, space) in enumerate(spaces.items())
        }
        groups = [*self.metrics, *(self.table.metrics if self.table and real.table else ())]
        every = self.measures(real.factors)
        measures = {group: measure for group, measure in every.items() if group in groups}
        unseen = real.stick_split.unseen if real.stick_split and real.num_classes else train
        in_place = unseen[choose(len(unseen), num_samples=len(test))]  # in place of synthetic samples
        evaluator = Evaluator(
            references=references,
            floor=load_floor(references, in_place, measures=measures, folder=kept_in) if has_floor else {},
            measures=measures,
            batch_measures={group: every[group] for group in self.batch_metrics},
            num_batches=self.num_batches,
            confidence=self.confidence,
            num_training=self.num_training if "novelty" in self.metrics else 0,
            factors=real.factors,
            picture=real.picture,
        )
        self.warn_about_few(evaluator, real)
        return evaluator

    def _half_of(self, test: Samples) -> Samples:
        """The half that `split` names; halves go by the order of a hash of the values, whatever the seed."""
        if self.split is None:
            return test
        hashes = [blake2b(row.numpy().tobytes(), digest_size=16).digest() for row in test.values]
        order = torch.tensor(sorted(range(len(test)), key=hashes.__getitem__))
        num_locked = len(test) // 2
        return test[(order[:num_locked] if self.split == "board" else order[num_locked:]).sort().values]

    def warn_about_few(self, evaluator: Evaluator, real: RealData) -> None:
        """Log a warning if the samples are few for the dimensions of a space."""
        widest = max(each.space.feature_dim for each in evaluator.references.values())
        if evaluator.num_synthetic < min(self.compared(len(real.test)), ENOUGH_SAMPLES * widest):
            text = "%d samples are few for %d feature dimensions: set evaluation.num_samples to %d or more"
            text += "; if fewer are held out, read fid_debiased, and fid beside fid_floor"
            logger.warning(text, evaluator.num_synthetic, widest, ENOUGH_SAMPLES * widest)

    def _suitable(self, sample_shape: Sequence[int]) -> dict[str, FeatureSpace]:
        """The spaces for vectors if the samples are vectors, else those for images; the stick's comes first."""
        is_vector = len(sample_shape) == 1
        names = sorted(self.spaces, key=lambda name: name != PRIMARY_SPACE)
        found = {name: space for name in names if (space := self.spaces[name]) is not None}
        suitable = {name: space for name, space in found.items() if space.takes_vectors == is_vector}
        if not suitable:
            raise UsageError(f"none of the feature spaces {', '.join(found)} suits this data")
        return suitable


def describe(real: RealData) -> str:
    """Text of all that an evaluator depends on beside its settings."""
    split, modes = real.stick_split, real.known_modes
    sets = {"train": real.train, "test": real.test}
    if split and split.official is not real.train:
        sets["official"] = split.official
    tensors = {name: samples.values for name, samples in sets.items()}
    tensors |= {f"{name} labels": samples.labels for name, samples in sets.items() if samples.labels is not None}
    tensors |= {"unseen": split.unseen_indices} if split else {}
    facts = (real.num_classes, real.factors, modes and (modes.centres.tolist(), modes.mode_sd), torch.get_num_threads())
    return f"{checksum(tensors)} {facts} {real.table and real.table.fingerprint}"


def measured_groups() -> list[str]:
    """The names that `evaluation.metrics` may hold, except those of `evaluation.table`."""
    load_cases()
    return [name for name, metric in METRICS.items() if metric.measure is not None]
