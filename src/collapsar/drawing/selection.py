"""From a trained model to samples: drawn with a bias, corrected, selected by a rule, and labelled.

A selection draws candidates from the model until it has kept enough, and counts its draws. It sees candidates through
the experiment's `Judge`, whose features come from a space of the chain's own, fitted on its real training set: never
the measuring stick, because a metric cannot measure samples that it has chosen. Before selection, vectors of a table
become valid rows, as images are quantised; a row contains its label.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from math import ceil
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from collapsar.drawing.correction import Draw, Reference
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples, check_finite_values, concatenate
from collapsar.foundations.seeding import make_generator
from collapsar.judging.spaces.base import FeatureSpace, FittedSpace
from collapsar.judging.spaces.identity import IdentitySpace
from collapsar.models.bias import Bias
from collapsar.models.generative import GenerativeModel

JudgedBy = Literal["nobody", "critic", "space"]  # what a selection uses

REAL_SAMPLES_FOR_SPACING = 2_000  # enough for the median distance to the nearest neighbour
ROWS_PER_DISTANCE_CHUNK = 1024  # bounds memory only


def _nothing(*_: Tensor) -> Tensor:
    raise AssertionError("a selection that needs features or classes without a space is refused beforehand")


@dataclass(frozen=True)
class Judge:
    """What candidates are judged by; `features` and `class_probabilities` take values in the sample convention."""

    features: Callable[[Tensor], Float[Tensor, "sample feature"]] = _nothing  # distances are measured between them
    real_features: Callable[[], Float[Tensor, "real feature"]] = _nothing  # called only by selections that use them
    class_probabilities: Callable[[Tensor], Float[Tensor, "sample category"]] = _nothing  # of spaces with classes
    realism: Callable[[Samples], Float[Tensor, " sample"]] | None = None  # the critic's logit, higher for real samples
    describe_space: Callable[[], dict[str, Any]] = dict  # the entry of the features' space in the record

    @cached_property
    def real_spacing(self) -> float:
        """Median distance of real training samples to their nearest real neighbours."""
        features = self.real_features()
        nearest = [
            torch.cdist(rows, features).topk(2, dim=1, largest=False).values[:, 1]  # the nearest is the sample itself
            for rows in features[:REAL_SAMPLES_FOR_SPACING].split(ROWS_PER_DISTANCE_CHUNK)
        ]
        return torch.cat(nearest).median().item()

    def confidence(self, samples: Tensor) -> Float[Tensor, " sample"]:
        """Probability of the likeliest class."""
        return self.class_probabilities(samples).amax(1)

    def describe(self, judged_by: JudgedBy) -> dict[str, Any]:
        """The judge's entry in the record; empty if the judge was not used."""
        return self.describe_space() if judged_by == "space" else {"name": "critic"} if judged_by == "critic" else {}


def choose_space(
    judge: FeatureSpace | None, *, sample_shape: Sequence[int], judged_by: JudgedBy
) -> FeatureSpace | None:
    """The settings of the space in which samples of this shape are judged; None if no space is used."""
    is_vector = len(sample_shape) == 1
    advice = "judge=null" if is_vector else "judge=digits for images with classes, else judge=pca"
    if isinstance(judge, FeatureSpace) and judge.is_stick:
        raise UsageError("judge must not be a measuring stick, which would measure its own choice: choose judge=digits")
    if judge is not None and (not isinstance(judge, FeatureSpace) or judge.takes_vectors != is_vector):
        problem = f"judge must be a feature space for samples of shape {list(sample_shape)}"
        raise UsageError(f"{problem}: got {type(judge).__name__}; choose {advice}")
    if judged_by != "space":
        return None
    if judge is None and not is_vector:
        raise UsageError(f"this selection needs a judge of images, and there is none: choose {advice}")
    return judge or IdentitySpace()


def num_judged_classes(space: FeatureSpace | None, *, num_classes: int) -> int:
    """The number of the data's classes if the judge gives their probabilities; else 0."""
    return num_classes if space is not None and space.has_classes else 0


def check_labeller(labelled_by: str | None, *, num_classes: int) -> None:
    """Refuse an unknown `labelled_by`, or a judge without classes as one (`num_judged_classes`)."""
    if labelled_by not in (None, "judge"):
        raise UsageError(f"labelled_by must be null or judge: got {labelled_by}")
    if labelled_by == "judge" and not num_classes:
        problem = "labelled_by=judge needs a judge with classes, as judge=digits for data with classes"
        raise UsageError(f"{problem}: set labelled_by=null")


def make_judge(space: FittedSpace | None, *, real: Samples) -> Judge:
    """A judge by a space, fitted on this real training set; without a space, one for selections that use none."""
    if space is None:
        return Judge()
    return Judge(
        features=space.extract,
        real_features=cache(lambda: space.extract(real.values)),
        class_probabilities=lambda samples: space.classify(space.extract(samples)),
        describe_space=space.describe,
    )


LabelsFrom = Literal["condition", "judge", "row"]
Kept = Int64[Tensor, " kept"]


@dataclass(frozen=True)
class Drawn:
    """The samples that were kept."""

    samples: Samples
    num_drawn: int  # candidates that were drawn for them
    judged_by: dict[str, Any] = field(default_factory=dict)  # the judge's entry in the record; empty if none was used
    labels_from: LabelsFrom | None = None  # None without labels
    corrected_by: dict[str, Any] = field(default_factory=dict)  # the correction's entry in the record; may be empty


class Selection(ABC):
    """A rule that keeps some of the candidates."""

    name: str  # as in conf/selection
    judged_by: JudgedBy = "space"
    needs_classes: bool = False  # whether it needs the judge's class probabilities
    max_draws_per_sample: float  # for each sample wanted; then it gives up

    def num_candidates(self, num_wanted: int) -> int:
        """Candidates to draw for the next choice while `num_wanted` samples are missing."""
        return num_wanted

    @abstractmethod
    def choose(self, candidates: Samples, *, num_wanted: int, judge: Judge, generator: torch.Generator) -> Kept:
        """Indices of the candidates to keep, at most `num_wanted`."""

    def check(self, *, num_classes: int, has_critic: bool) -> None:
        """Refuse a judge, whose classifier has `num_classes` (0: none), or a model that cannot serve this selection."""
        if self.judged_by == "critic" and not has_critic:
            raise UsageError(f"selection={self.name} needs a model with a critic: choose model=gan")
        if self.needs_classes and not num_classes:
            advice = "choose data with one, such as data=digits"
            raise UsageError(f"selection={self.name} needs a judge with classes: {advice}")

    def select(
        self, draw: Callable[[int], Samples], *, num_samples: int, judge: Judge, generator: torch.Generator
    ) -> Drawn:
        """Draw until `num_samples` are kept; raise UsageError if too few candidates pass."""
        kept: list[Samples] = []
        num_kept = num_drawn = 0
        while num_kept < num_samples:
            num_candidates = self.num_candidates(num_samples - num_kept)
            if num_drawn + num_candidates > ceil(self.max_draws_per_sample * num_samples):
                kept_so_far = f"kept {num_kept} of {num_drawn} samples drawn and needs {num_samples}"
                advice = "make the selection less strict, or train the model longer"
                raise UsageError(f"selection={self.name} {kept_so_far}: {advice}")
            candidates = draw(num_candidates)
            chosen = self.choose(candidates, num_wanted=num_samples - num_kept, judge=judge, generator=generator)
            kept.append(candidates[chosen])
            num_kept += len(chosen)
            num_drawn += num_candidates
        return Drawn(concatenate(kept), num_drawn, judge.describe(self.judged_by))


class KeepAll(Selection):
    """Every sample, in the order drawn."""

    name = "none"
    judged_by = "nobody"
    max_draws_per_sample = 1.0

    def choose(self, candidates: Samples, *, num_wanted: int, judge: Judge, generator: torch.Generator) -> Kept:
        return torch.arange(len(candidates))


def draw(
    model: GenerativeModel,
    num_samples: int,
    *,
    bias: Bias,
    reference: Reference | None,
    selection: Selection,
    judge: Judge,
    labelled_by: str | None,
    as_rows: Callable[[Tensor], Samples] | None,
    seed: int,
    generation: int,
) -> Drawn:
    """Draw `num_samples` samples of a model, corrected by the reference (if there is one) and selected.

    With `labelled_by="judge"` each sample gets the judge's likeliest class. With None it keeps the class that it was
    drawn for, if any. `as_rows` makes vectors valid rows of a table, with their targets' classes; None for other data.
    """
    sample: Draw = partial(model.sample, generator=make_generator(seed, generation, "sample"), bias=bias)
    corrected_by: dict[str, Any] = {}
    if reference is not None and reference.correction.acts_at(generation):
        sample = reference.corrected(sample, model=model, bias=bias, generation=generation)
        corrected_by = reference.correction.describe()

    def candidates(num_candidates: int) -> Samples:
        samples = sample(num_candidates)
        if as_rows is None:
            return samples
        check_finite_values(samples.values)
        return as_rows(samples.values)

    lots = make_generator(seed, generation, "selection")
    drawn = selection.select(candidates, num_samples=num_samples, judge=judge, generator=lots)
    samples = drawn.samples
    labels_from: LabelsFrom = "condition" if as_rows is None else "row"
    if labelled_by == "judge":
        likeliest = judge.class_probabilities(samples.values).argmax(1).cpu()
        samples, labels_from = Samples(samples.values, likeliest), "judge"
    labelled = None if samples.labels is None else labels_from
    return replace(drawn, samples=samples, labels_from=labelled, corrected_by=corrected_by)
