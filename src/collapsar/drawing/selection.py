"""Selection: which of the drawn samples are let into the pool.

A selection draws candidates from the model until it has kept as many samples as were asked for, and says how many it
drew. It judges them by what the experiment hands over as a `Judge`: features, class probabilities, the model's own
critic. It knows no model and no metric.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Literal, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from collapsar.errors import UsageError, check_fraction, check_positive

REAL_SAMPLES_FOR_SPACING = 2_000  # whose nearest neighbours are looked up; their median needs no more
ROWS_PER_DISTANCE_CHUNK = 1024  # bounds memory only


@dataclass(frozen=True)
class Judge:
    """What candidates are judged by; each function takes samples in the sample convention.

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


@dataclass(frozen=True)
class Selected:
    """What was let in, and how many were drawn for it."""

    samples: Tensor
    num_drawn: int


class Selection(ABC):
    """A rule that keeps some of the candidates."""

    name: str  # as in conf/selection

    @abstractmethod
    def num_candidates(self, num_wanted: int) -> int:
        """How many to draw for the next choice while so many samples are missing."""

    @abstractmethod
    def choose(
        self, candidates: Tensor, *, num_wanted: int, judge: Judge, generator: torch.Generator
    ) -> Int64[Tensor, " kept"]:
        """Indices of the candidates to keep, `num_wanted` at most."""

    @property
    @abstractmethod
    def max_draws_per_sample(self) -> float:
        """Where to give up: this many times the samples wanted."""

    def check(self, *, num_classes: int, has_critic: bool) -> None:  # noqa: B027
        """Refuse a judge that lacks what the rule looks at.

        Args:
            num_classes: Classes that the judge gives probabilities of; 0 without a classifier.
            has_critic: Whether the judge says what it takes for real.

        Raises:
            UsageError: with what to choose instead.
        """

    def select(
        self, draw: Callable[[int], Tensor], *, num_samples: int, judge: Judge, generator: torch.Generator
    ) -> Selected:
        """Draw until `num_samples` are kept.

        Args:
            draw: Gives so many new candidates, in the sample convention.
            num_samples: How many to keep.
            judge: What to judge them by.
            generator: For rules that draw lots.

        Raises:
            UsageError: too few candidates are good enough.
        """
        kept: list[Tensor] = []
        num_kept = num_drawn = 0
        while num_kept < num_samples:
            num_candidates = self.num_candidates(num_samples - num_kept)
            if num_drawn + num_candidates > ceil(self.max_draws_per_sample * num_samples):
                raise UsageError(
                    f"selection={self.name} kept {num_kept} of {num_drawn} samples drawn and needs {num_samples}: "
                    "make the selection less strict, or train the model longer"
                )
            candidates = draw(num_candidates)
            chosen = self.choose(candidates, num_wanted=num_samples - num_kept, judge=judge, generator=generator)
            kept.append(candidates[chosen])
            num_kept += len(chosen)
            num_drawn += num_candidates
        return Selected(torch.cat(kept), num_drawn)


@final
class KeepAll(Selection):
    """Every sample, in the order drawn."""

    name = "none"
    max_draws_per_sample = 1.0

    def num_candidates(self, num_wanted: int) -> int:
        return num_wanted

    def choose(
        self, candidates: Tensor, *, num_wanted: int, judge: Judge, generator: torch.Generator
    ) -> Int64[Tensor, " kept"]:
        return torch.arange(len(candidates))


@final
class TopScored(Selection):
    """The best share of the candidates by a score, in the order drawn.

    Args:
        score: `realism` (the critic's logit) or `confidence` (probability of the likeliest class).
        kept_fraction: Share that is kept, above 0 and at most 1.

    Raises:
        UsageError: a fraction out of range.
    """

    def __init__(self, *, score: Literal["realism", "confidence"], kept_fraction: int | float) -> None:
        check_positive(kept_fraction=kept_fraction)
        check_fraction(kept_fraction=kept_fraction)
        self.score, self.kept_fraction = score, kept_fraction
        self.name = {"realism": "most_realistic", "confidence": "most_confident"}[score]

    @property
    def max_draws_per_sample(self) -> float:
        return 1 / self.kept_fraction + 1  # one more for rounding up

    def num_candidates(self, num_wanted: int) -> int:
        return ceil(num_wanted / self.kept_fraction)

    def choose(
        self, candidates: Tensor, *, num_wanted: int, judge: Judge, generator: torch.Generator
    ) -> Int64[Tensor, " kept"]:
        scorer = judge.realism if self.score == "realism" else judge.confidence
        assert scorer is not None, "checked beforehand"
        return scorer(candidates).topk(num_wanted).indices.sort().values.cpu()

    def check(self, *, num_classes: int, has_critic: bool) -> None:
        if self.score == "confidence":
            require_classifier(self.name, num_classes=num_classes)
        elif not has_critic:
            raise UsageError(f"selection={self.name} needs a model with a critic: choose model=gan")


class Rejection(Selection, ABC):
    """Each candidate is kept or not by itself, until there are enough.

    Args:
        max_draws_per_sample: Give up when so many times the samples wanted were drawn.

    Raises:
        UsageError: below 1.
    """

    def __init__(self, *, max_draws_per_sample: int | float) -> None:
        if max_draws_per_sample < 1:
            raise UsageError(f"selection.max_draws_per_sample must be at least 1: got {max_draws_per_sample}")
        self._max_draws_per_sample = float(max_draws_per_sample)

    @abstractmethod
    def acceptance(self, candidates: Tensor, *, judge: Judge) -> Float[Tensor, " sample"]:
        """Probability of keeping each candidate; 0 or 1 where nothing is left to chance."""

    @property
    def max_draws_per_sample(self) -> float:
        return self._max_draws_per_sample

    def num_candidates(self, num_wanted: int) -> int:
        return num_wanted

    def choose(
        self, candidates: Tensor, *, num_wanted: int, judge: Judge, generator: torch.Generator
    ) -> Int64[Tensor, " kept"]:
        lots = torch.rand(len(candidates), generator=generator)
        return (lots < self.acceptance(candidates, judge=judge).cpu()).nonzero().squeeze(1)[:num_wanted]


@final
class Verified(Rejection):
    """Samples whose label the classifier can confirm: it gives one class at least `min_confidence`.

    After Yi et al. 2025, arXiv:2510.16657, with a classifier as the verifier.

    Args:
        min_confidence: In [0, 1].
        max_draws_per_sample: Give up when so many times the samples wanted were drawn.

    Raises:
        UsageError: a value out of range.
    """

    name = "verified"

    def __init__(self, *, min_confidence: int | float, max_draws_per_sample: int | float) -> None:
        super().__init__(max_draws_per_sample=max_draws_per_sample)
        check_fraction(min_confidence=min_confidence)
        self.min_confidence = min_confidence

    def acceptance(self, candidates: Tensor, *, judge: Judge) -> Float[Tensor, " sample"]:
        return (judge.confidence(candidates) >= self.min_confidence).float()

    def check(self, *, num_classes: int, has_critic: bool) -> None:
        require_classifier(self.name, num_classes=num_classes)


@final
class Curated(Rejection):
    """People's choice: p proportional to p exp(r), with r = strength times the probability of a favoured class.

    Keeping a candidate with probability exp(r - strength) draws from that exactly. Source: Ferbach et al. 2024,
    arXiv:2407.09499, where a curated pool is p exp(r) in the limit of many candidates.

    Args:
        favoured_class: The class that is rewarded.
        strength: Reward of a sample that is surely of that class; 0 keeps all alike.
        max_draws_per_sample: Give up when so many times the samples wanted were drawn.

    Raises:
        UsageError: a value out of range.
    """

    name = "curated"

    def __init__(self, *, favoured_class: int, strength: int | float, max_draws_per_sample: int | float) -> None:
        super().__init__(max_draws_per_sample=max_draws_per_sample)
        if favoured_class < 0 or strength < 0:
            raise UsageError(f"favoured_class and strength must be at least 0: got {favoured_class} and {strength}")
        self.favoured_class, self.strength = favoured_class, strength

    def acceptance(self, candidates: Tensor, *, judge: Judge) -> Float[Tensor, " sample"]:
        assert judge.class_probabilities is not None, "checked beforehand"
        probabilities = judge.class_probabilities(candidates)
        return (self.strength * (probabilities[:, self.favoured_class] - 1)).exp()

    def check(self, *, num_classes: int, has_critic: bool) -> None:
        require_classifier(self.name, num_classes=num_classes)
        if self.favoured_class >= num_classes:
            raise UsageError(
                f"selection.favoured_class must be below {num_classes}, the number of classes: "
                f"got {self.favoured_class}"
            )


@final
class Deduplicated(Rejection):
    """Samples that are no near copies of a real training sample.

    Args:
        min_distance: Least distance to the nearest real sample, in units of the median distance between a real sample
            and the nearest other one.
        max_draws_per_sample: Give up when so many times the samples wanted were drawn.

    Raises:
        UsageError: a value out of range.
    """

    name = "deduplicated"

    def __init__(self, *, min_distance: int | float, max_draws_per_sample: int | float) -> None:
        super().__init__(max_draws_per_sample=max_draws_per_sample)
        if min_distance < 0:
            raise UsageError(f"selection.min_distance must be at least 0: got {min_distance}")
        self.min_distance = min_distance

    def acceptance(self, candidates: Tensor, *, judge: Judge) -> Float[Tensor, " sample"]:
        features = judge.features(candidates)
        real_features = judge.real_features()
        nearest = [torch.cdist(rows, real_features).amin(1) for rows in features.split(ROWS_PER_DISTANCE_CHUNK)]
        return (torch.cat(nearest) >= self.min_distance * judge.real_spacing).float()


@final
class Farthest(Selection):
    """Greedy farthest points: each kept sample is the candidate farthest from those kept before it.

    Greedy within groups, so that the cost grows with the number of samples and not with its square. Source: Gonzalez
    1985, Theoretical Computer Science 38.

    Args:
        kept_fraction: Share of the candidates that is kept, above 0 and at most 1.
        group_size: Samples kept from one group of candidates.

    Raises:
        UsageError: a value out of range.
    """

    name = "farthest"

    def __init__(self, *, kept_fraction: int | float, group_size: int) -> None:
        check_positive(kept_fraction=kept_fraction, group_size=group_size)
        check_fraction(kept_fraction=kept_fraction)
        self.kept_fraction, self.group_size = kept_fraction, group_size

    @property
    def max_draws_per_sample(self) -> float:
        return 1 / self.kept_fraction + 1  # one more for each group's rounding up

    def num_candidates(self, num_wanted: int) -> int:
        return ceil(min(num_wanted, self.group_size) / self.kept_fraction)

    def choose(
        self, candidates: Tensor, *, num_wanted: int, judge: Judge, generator: torch.Generator
    ) -> Int64[Tensor, " kept"]:
        first = int(torch.randint(len(candidates), (), generator=generator))
        num_kept = min(num_wanted, self.group_size)
        return farthest_points(judge.features(candidates), num_points=num_kept, first=first).sort().values.cpu()


def require_classifier(selection: str, *, num_classes: int) -> None:
    """Refuse a selection by classes where nothing tells them apart.

    Raises:
        UsageError: there is no classifier.
    """
    if not num_classes:
        raise UsageError(f"selection={selection} needs a classifier: choose data with one, such as data=digits")


def farthest_points(
    features: Float[Tensor, "sample feature"], *, num_points: int, first: int
) -> Int64[Tensor, " point"]:
    """Indices of `num_points` different samples, each the farthest from all before it, from `first` on."""
    chosen = [first]
    distances = torch.full((len(features),), torch.inf, device=features.device)
    for _ in range(num_points - 1):
        distances = distances.minimum((features - features[chosen[-1]]).norm(dim=1))
        distances[chosen[-1]] = -1.0  # never again, also where candidates coincide
        chosen.append(int(distances.argmax()))
    return torch.tensor(chosen)
