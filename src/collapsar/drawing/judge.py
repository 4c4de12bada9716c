"""What selections judge samples by: features, class probabilities, the model's own critic.

The features are those of a space of the chain's own, fitted on its real training set when a selection first asks for
it. It is never the measuring stick: what is chosen by a measure cannot be measured by it.
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

JudgedBy = Literal["nobody", "critic", "space"]  # what a selection looks at

REAL_SAMPLES_FOR_SPACING = 2_000  # whose nearest neighbours are looked up; their median needs no more
ROWS_PER_DISTANCE_CHUNK = 1024  # bounds memory only


@dataclass(frozen=True)
class Judge:
    """What candidates are judged by; each function but `realism` takes values in the sample convention.

    Attributes:
        features: Features of samples; distances are measured there.
        real_features: Gives the features of the real training set; called only by selections that look at them.
        class_probabilities: Probability of each class, from a classifier trained on real data; None without classes.
        realism: The critic's logit of samples and, of a conditional model, their labels, higher for what it takes for
            real; None for models without one.
        describe_space: What a record says of the space that gives the features.
    """

    features: Callable[[Tensor], Float[Tensor, "sample feature"]]
    real_features: Callable[[], Float[Tensor, "real feature"]]
    class_probabilities: Callable[[Tensor], Float[Tensor, "sample category"]] | None
    realism: Callable[[Samples], Float[Tensor, " sample"]] | None
    describe_space: Callable[[], dict[str, Any]]

    @cached_property
    def real_spacing(self) -> float:
        """Median distance of a real training sample to the nearest other one."""
        features = self.real_features()
        some = features[:REAL_SAMPLES_FOR_SPACING]
        nearest = [
            torch.cdist(rows, features).topk(2, dim=1, largest=False).values[:, 1]  # the nearest is itself
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
        """What a record says of the one who judged; empty where nobody did."""
        if judged_by == "space":
            return self.describe_space()
        return {"name": "critic"} if judged_by == "critic" else {}


@dataclass(frozen=True, kw_only=True)
class JudgeSpace:
    """The space that a chain's samples are judged in, fitted when it is first asked for.

    Attributes:
        real: The chain's real sets; the space is fitted on the training set, as it is.
    """

    settings: FeatureSpace
    real: RealData
    device: torch.device
    cache_dir: Path

    @cached_property
    def fitted(self) -> FittedSpace:
        """The space, from the cache where it holds it.

        Raises:
            UsageError: the samples do not suit it, or it is not good enough to be trusted.
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
    """The settings of the space that a selection judges samples of this shape in; None if it looks at none.

    Raises:
        UsageError: there is none for images, or the judge is a measuring stick, or does not suit the shape.
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
    """Classes, of the data's, that the judge gives probabilities of; 0 where it has none."""
    return num_classes if space is not None and space.has_classes else 0


def check_labeller(labelled_by: str | None, *, num_classes: int) -> None:
    """Refuse a labeller that there is not, or that knows no classes.

    Args:
        labelled_by: Who labels drawn samples.
        num_classes: Classes that the judge gives probabilities of; 0 without a classifier.

    Raises:
        UsageError: with what to set instead.
    """
    if labelled_by not in (None, "judge"):
        raise UsageError(f"labelled_by must be null or judge: got {labelled_by}")
    if labelled_by == "judge" and not num_classes:
        raise UsageError(
            "labelled_by=judge needs a judge with classes, as judge=digits for data with classes: set labelled_by=null"
        )


def make_judge(model: GenerativeModel, space: JudgeSpace | None) -> Judge:
    """The judge of a model's samples: a space of the chain's own, where there is one, and the model's own critic."""
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
        class_probabilities=space.class_probabilities if space.settings.has_classes else None,
        realism=model.realism,
        describe_space=space.fitted.describe,
    )


def _nothing(*_: Tensor) -> Tensor:
    raise AssertionError("a selection that asks for features without a judge is refused beforehand")
