"""Selections that judge each candidate by itself: the best by a score, or each kept with a probability."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import ceil
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from collapsar.drawing.selection import ROWS_PER_DISTANCE_CHUNK, Judge, Kept, Selection
from collapsar.foundations.errors import UsageError, check_fraction, check_not_negative, check_positive
from collapsar.foundations.samples import Samples

MOST_TO_LEARN_FROM = 10_000  # real samples, and as many candidates


class TopScored(Selection):
    """The share of candidates, above 0 and at most 1, with the highest scores, in the order drawn.

    The score is `realism` (the critic's logit), `confidence` (probability of the likeliest class) or `discriminator`:
    the logit of a logistic regression on the judge's features and their squares, which learns to tell the real training
    set from these candidates, anew in each generation (Yi et al. 2025, arXiv:2510.16657; their discriminator is a
    network). It keeps the share of each class, if candidates have classes: else it would keep the best class alone.
    """

    def __init__(self, *, score: Literal["realism", "confidence", "discriminator"], kept_fraction: int | float) -> None:
        check_positive(kept_fraction=kept_fraction)
        check_fraction(kept_fraction=kept_fraction)
        self.kept_fraction, self.score = kept_fraction, score
        names = {"realism": "most_realistic", "confidence": "most_confident", "discriminator": "discriminated"}
        self.name = names[score]
        self.judged_by = "critic" if score == "realism" else "space"
        self.needs_classes = score == "confidence"
        self.max_draws_per_sample = 1 / kept_fraction + 1  # one more for rounding up

    def num_candidates(self, num_wanted: int) -> int:
        return ceil(min(num_wanted / self.kept_fraction, 1e18))  # not infinite for the smallest shares

    def choose(self, candidates: Samples, *, num_wanted: int, judge: Judge, generator: torch.Generator) -> Kept:
        if self.judged_by == "critic":
            assert judge.realism is not None, "checked beforehand"
            scores = judge.realism(candidates)
        elif self.score == "discriminator":
            logits = discriminator_logits(judge.features(candidates.values), real=judge.real_features())
            scores = ranks_within_classes(logits, candidates.labels)
        else:
            scores = judge.confidence(candidates.values)
        return scores.topk(num_wanted).indices.sort().values.cpu()


def discriminator_logits(
    features: Float[Tensor, "sample feature"], *, real: Float[Tensor, "real feature"]
) -> Float[Tensor, " sample"]:
    """How real each candidate looks: if features are independent Gaussians on both sides, the log of their ratio."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def inputs(rows: Tensor) -> Any:
        return torch.cat([rows, rows.square()], dim=1).double().cpu().numpy()

    known = real[:MOST_TO_LEARN_FROM]
    rows = torch.cat([known, features[: len(known)]])
    is_real = torch.arange(len(rows)) < len(known)
    discriminator = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced"))
    discriminator.fit(inputs(rows), is_real.numpy())
    return torch.from_numpy(discriminator.decision_function(inputs(features)))


def ranks_within_classes(scores: Float[Tensor, " sample"], labels: Tensor | None) -> Float[Tensor, " sample"]:
    """The share of its own class that has a lower score than each sample; without labels, of all samples."""
    labels = torch.zeros(len(scores)) if labels is None else labels.cpu()
    ranks = torch.empty_like(scores)
    for label in labels.unique():
        own = labels == label
        ranks[own] = scores[own].argsort().argsort().to(ranks.dtype) / own.sum()
    return ranks


class Rejection(Selection, ABC):
    """Keeps each candidate with its own probability, until there are enough or too many were drawn for each wanted."""

    def __init__(self, *, max_draws_per_sample: int | float) -> None:
        if max_draws_per_sample < 1:
            raise UsageError(f"selection.max_draws_per_sample must be at least 1: got {max_draws_per_sample}")
        self.max_draws_per_sample = float(max_draws_per_sample)

    @abstractmethod
    def acceptance(self, values: Tensor, *, judge: Judge) -> Float[Tensor, " sample"]:
        """Probability of keeping each candidate; 0 or 1 if the rule is deterministic."""

    def choose(self, candidates: Samples, *, num_wanted: int, judge: Judge, generator: torch.Generator) -> Kept:
        lots = torch.rand(len(candidates), generator=generator)
        return (lots < self.acceptance(candidates.values, judge=judge).cpu()).nonzero().squeeze(1)[:num_wanted]


class Verified(Rejection):
    """Samples that the judge recognises: it gives one class a probability of at least `min_confidence`, in [0, 1].

    After Yi et al. 2025, arXiv:2510.16657; the verifier is a classifier of the chain's own real data.
    """

    name = "verified"
    needs_classes = True

    def __init__(self, *, min_confidence: int | float, max_draws_per_sample: int | float) -> None:
        super().__init__(max_draws_per_sample=max_draws_per_sample)
        check_fraction(min_confidence=min_confidence)
        self.min_confidence = min_confidence

    def acceptance(self, values: Tensor, *, judge: Judge) -> Float[Tensor, " sample"]:
        return (judge.confidence(values) >= self.min_confidence).float()


class Curated(Rejection):
    """Curation by people: draws from a density proportional to p exp(r), with p the density of the candidates.

    The reward r is `strength` times the probability of a favoured class. Keeping a candidate with probability
    exp(r - strength) draws from this density exactly. Source: Ferbach et al. 2024, arXiv:2407.09499, whose curated pool
    has it in the limit of many candidates. With `num_choices`, each kept sample is chosen among so many candidates,
    with probabilities proportional to exp(r). A strength of 0 keeps all samples. Each class of a list is favoured by
    an equal share of the people who choose; a list needs `num_choices`.
    """

    name = "curated"
    needs_classes = True

    def __init__(
        self,
        *,
        favoured_class: int | Sequence[int],
        strength: int | float,
        max_draws_per_sample: int | float,
        num_choices: int | None = None,
    ) -> None:
        super().__init__(max_draws_per_sample=max_draws_per_sample if num_choices is None else num_choices)
        self.favoured = favoured = [favoured_class] if isinstance(favoured_class, int) else list(favoured_class)
        for liked in favoured:
            check_not_negative(**{"selection.favoured_class": liked})
        check_not_negative(**{"selection.strength": strength})
        if num_choices is not None and num_choices < 2:
            raise UsageError(f"selection.num_choices must be at least 2, or null: got {num_choices}")
        if len(set(favoured)) < len(favoured) or not favoured:
            raise UsageError(f"selection.favoured_class must hold different classes, at least one: got {favoured}")
        if len(favoured) > 1 and num_choices is None:
            raise UsageError(f"selection.num_choices must be set for several favoured classes: got null for {favoured}")
        self.strength, self.num_choices = strength, num_choices

    def num_candidates(self, num_wanted: int) -> int:
        return num_wanted * (self.num_choices or 1)

    def choose(self, candidates: Samples, *, num_wanted: int, judge: Judge, generator: torch.Generator) -> Kept:
        if self.num_choices is None:
            return super().choose(candidates, num_wanted=num_wanted, judge=judge, generator=generator)
        people = torch.randint(len(self.favoured), (num_wanted,), generator=generator)
        liked = torch.tensor(self.favoured)[people].repeat_interleave(self.num_choices).unsqueeze(1)
        rewards = self.strength * judge.class_probabilities(candidates.values).cpu().gather(1, liked).squeeze(1)
        chances = rewards.reshape(num_wanted, self.num_choices).softmax(1)
        chosen = torch.multinomial(chances, 1, generator=generator).squeeze(1)
        return torch.arange(num_wanted) * self.num_choices + chosen

    def acceptance(self, values: Tensor, *, judge: Judge) -> Float[Tensor, " sample"]:
        return (self.strength * (judge.class_probabilities(values)[:, self.favoured[0]] - 1)).exp()

    def check(self, *, num_classes: int, has_critic: bool) -> None:
        super().check(num_classes=num_classes, has_critic=has_critic)
        if (largest := max(self.favoured)) >= num_classes:
            allowed = f"below {num_classes}, the number of classes"
            raise UsageError(f"selection.favoured_class must be {allowed}: got {largest}")


class Deduplicated(Rejection):
    """Samples that are not near copies of a real training sample.

    `min_distance` to the nearest one has the median distance of real samples to their nearest neighbours as its unit.
    """

    name = "deduplicated"

    def __init__(self, *, min_distance: int | float, max_draws_per_sample: int | float) -> None:
        super().__init__(max_draws_per_sample=max_draws_per_sample)
        check_not_negative(**{"selection.min_distance": min_distance})
        self.min_distance = min_distance

    def acceptance(self, values: Tensor, *, judge: Judge) -> Float[Tensor, " sample"]:
        features, real = judge.features(values).split(ROWS_PER_DISTANCE_CHUNK), judge.real_features()
        nearest = [torch.cdist(rows, real).amin(1) for rows in features]
        return (torch.cat(nearest) >= self.min_distance * judge.real_spacing).float()
