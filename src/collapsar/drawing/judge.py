"""What selections judge samples by: features, class probabilities, the model's own critic."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from collapsar.metrics.evaluator import Evaluator
from collapsar.models.generative import GenerativeModel

REAL_SAMPLES_FOR_SPACING = 2_000  # whose nearest neighbours are looked up; their median needs no more
ROWS_PER_DISTANCE_CHUNK = 1024  # bounds memory only


@dataclass(frozen=True)
class Judge:
    """What candidates are judged by; each function takes values in the sample convention.

    Attributes:
        features: Features of samples; distances are measured there.
        real_features: Gives the features of the real training set; called only by selections that look at them.
        class_probabilities: Probability of each class, from a classifier trained on real data; None without classes.
        realism: The critic's logit, higher for what it takes for real; None for models without one.
    """

    features: Callable[[Tensor], Float[Tensor, "sample feature"]]
    real_features: Callable[[], Float[Tensor, "real feature"]]
    class_probabilities: Callable[[Tensor], Float[Tensor, "sample category"]] | None
    realism: Callable[[Tensor], Float[Tensor, " sample"]] | None

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


def make_judge(model: GenerativeModel, evaluator: Evaluator) -> Judge:
    """The judge of a model's samples: the evaluator's first feature space, and the model's own critic."""
    space = evaluator.primary_space
    return Judge(
        features=space.extract,
        real_features=lambda: evaluator.real_train_features,
        class_probabilities=(lambda values: space.classify(space.extract(values))) if space.head else None,
        realism=model.realism,
    )
