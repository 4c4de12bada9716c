"""The judge of samples: features, class probabilities and the model's own critic, for selections and labels.

The features come from a space of the chain's own, fitted on its real training set on first use. The space is never the
measuring stick, because a metric cannot measure samples that it has chosen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from collapsar.data.real_data import RealData
from collapsar.errors import UsageError
from collapsar.judging.spaces.base import FeatureSpace, FittedSpace
from collapsar.judging.spaces.identity import IdentitySpace
from collapsar.models.generative import GenerativeModel
from collapsar.samples import Samples

JudgedBy = Literal["nobody", "critic", "space"]  # what a selection uses

REAL_SAMPLES_FOR_SPACING = 2_000  # enough for the median distance to the nearest neighbour
ROWS_PER_DISTANCE_CHUNK = 1024  # bounds memory only


@dataclass(frozen=True)
class Judge:
    """What candidates are judged by; `features` and `class_probabilities` take values in the sample convention.

    Attributes:
        features: Features of samples; distances are measured between them.
        real_features: Gives the features of the real training set; called only by selections that use them.
        class_probabilities: Probability of each class, from a classifier trained on real data; None without classes.
        realism: The critic's logit of samples (with their labels, if the model is conditional), higher for samples that
            it takes for real; None for models without a critic.
        describe_space: Gives the entry of the features' space in the record.
    """

    features: Callable[[Tensor], Float[Tensor, "sample feature"]]
    real_features: Callable[[], Float[Tensor, "real feature"]]
    class_probabilities: Callable[[Tensor], Float[Tensor, "sample category"]] | None
    realism: Callable[[Samples], Float[Tensor, " sample"]] | None
    describe_space: Callable[[], dict[str, Any]]

    @cached_property
    def real_spacing(self) -> float:
        """Median distance of real training samples to their nearest real neighbours."""
        features = self.real_features()
        some = features[:REAL_SAMPLES_FOR_SPACING]
        nearest = [
            torch.cdist(rows, features).topk(2, dim=1, largest=False).values[:, 1]  # the nearest is the sample itself
            for rows in some.split(ROWS_PER_DISTANCE_CHUNK)
        ]
        return torch.cat(nearest).median().item()

    def confidence(self, samples: Tensor) -> Float[Tensor, " sample"]:
        """Probability of the likeliest class."""
        assert self.class_probabilities is not None, "checked beforehand"
        return self.class_probabilities(samples).amax(1)

    def classes(self, samples: Tensor) -> Int64[Tensor, " sample"]:
        """The likeliest class of each sample, on the CPU."""
        assert self.class_probabilities is not None, "checked beforehand"
        return self.class_probabilities(samples).argmax(1).cpu()

    def describe(self, judged_by: JudgedBy) -> dict[str, Any]:
        """The judge's entry in the record; empty if the judge was not used."""
        if judged_by == "space":
            return self.describe_space()
        return {"name": "critic"} if judged_by == "critic" else {}


@dataclass(frozen=True, kw_only=True)
class JudgeSpace:
    """The space that a chain's samples are judged in, fitted on first use.

    Attributes:
        real: The chain's real sets; the space is fitted on the training set with its planted causes.
    """

    settings: FeatureSpace
    real: RealData
    device: torch.device
    cache_dir: Path

    @cached_property
    def fitted(self) -> FittedSpace:
        """The fitted space, from the cache if possible.

        Raises:
            UsageError: the samples do not suit the space, or it is not accurate enough to be trusted.
        """
        return self.settings.fit(self.real, device=self.device, cache_dir=self.cache_dir)

    @cached_property
    def real_features(self) -> Float[Tensor, "train feature"]:
        return self.fitted.extract(self.real.train.values)

    def class_probabilities(self, samples: Tensor) -> Float[Tensor, "sample category"]:
        return self.fitted.classify(self.fitted.extract(samples))


def choose_space(
    judge: FeatureSpace | None, *, sample_shape: Sequence[int], judged_by: JudgedBy
) -> FeatureSpace | None:
    """The settings of the space in which samples of this shape are judged; None if no space is used.

    Raises:
        UsageError: images have no judge, or the judge is a measuring stick or does not suit the shape.
    """
    is_vector = len(sample_shape) == 1
    advice = "judge=null" if is_vector else "judge=digits for images with classes, else judge=pca"
    if isinstance(judge, FeatureSpace) and judge.is_stick:
        raise UsageError("judge must not be a measuring stick, which would measure its own choice: choose judge=digits")
    if judge is not None and (not isinstance(judge, FeatureSpace) or judge.takes_vectors != is_vector):
        raise UsageError(
            f"judge must be a feature space for samples of shape {list(sample_shape)}: got {type(judge).__name__}; "
            f"choose {advice}"
        )
    if judged_by != "space":
        return None
    if judge is None and not is_vector:
        raise UsageError(f"this selection needs a judge of images, and there is none: choose {advice}")
    return judge or IdentitySpace()


def num_judged_classes(space: FeatureSpace | None, *, num_classes: int) -> int:
    """How many of the data's classes the judge gives probabilities of; 0 without a classifier."""
    return num_classes if space is not None and space.has_classes else 0


def check_labeller(labelled_by: str | None, *, num_classes: int) -> None:
    """Raise UsageError, with what to set instead, if `labelled_by` is unknown or the judge has no classes.

    `num_classes` counts the classes of the judge's classifier; 0 without one.
    """
    if labelled_by not in (None, "judge"):
        raise UsageError(f"labelled_by must be null or judge: got {labelled_by}")
    if labelled_by == "judge" and not num_classes:
        raise UsageError(
            "labelled_by=judge needs a judge with classes, as judge=digits for data with classes: set labelled_by=null"
        )


def make_judge(model: GenerativeModel, space: JudgeSpace | None) -> Judge:
    """The judge of a model's samples: the chain's space, if it has one, and the model's own critic."""
    if space is None:
        return Judge(
            features=_nothing,
            real_features=_nothing,
            class_probabilities=None,
            realism=model.realism,
            describe_space=dict,
        )
    return Judge(
        features=space.fitted.extract,
        real_features=lambda: space.real_features,
        class_probabilities=space.class_probabilities if space.fitted.head is not None else None,
        realism=model.realism,
        describe_space=space.fitted.describe,
    )


def _nothing(*_: Tensor) -> Tensor:
    raise AssertionError("a selection that asks for features without a judge is refused beforehand")
