"""torchmetrics classes for the metrics of the record, for use in any validation loop (see README.md).

`NeighbourMetric` gives precision, recall, density and coverage. FID is torchmetrics' own class: it takes samples with
`SpaceFeatures`, or features with `GivenFeatures`.
"""

from dataclasses import replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.utilities import dim_zero_cat

from collapsar.foundations.errors import UsageError, check_positive, printable
from collapsar.foundations.samples import as_samples, quantise
from collapsar.judging.spaces.base import FittedSpace
from collapsar.judging.spaces.stick import stick_features
from collapsar.metrics.checks import check_features
from collapsar.metrics.neighbours.balls import Membership
from collapsar.metrics.neighbours.scores import NeighbourScores, RealSide, count_members, prepare_real_side, summarise


class SpaceFeatures(nn.Module):
    """A fitted feature space for torchmetrics: `FrechetInceptionDistance(feature=SpaceFeatures(space))`.

    Takes uint8 images [N, C, H, W], float images in [0, 1], which are rounded to uint8 as a chain's are, or float32
    vectors [N, D]. `to()` moves the space; its networks are no children of the module, so `train()` does not reach
    them and checkpoints do not hold them.
    """

    def __init__(self, space: FittedSpace) -> None:
        super().__init__()
        self.space, self.num_features = space, space.feature_dim
        self.place = nn.Buffer(torch.empty(0, device=space.device), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        if self.space.device != self.place.device:
            self.space = replace(self.space, device=self.place.device)
        if self.space.sample_shape not in (None, tuple(samples.shape[1:])):
            problem = f"the {self.space.name} space takes samples {list(self.space.sample_shape or ())}"
            raise UsageError(f"{problem}: got {list(samples.shape[1:])}")
        return self.space.extract(as_bytes(samples) if samples.ndim == 4 else samples)


def as_bytes(images: Tensor) -> Tensor:
    """Images as uint8; raises UsageError unless they are uint8 or floats in [0, 1]."""
    values = as_samples(images, shape=images.shape[1:]).values
    return values if values.dtype == torch.uint8 else quantise(values)


class InceptionFeatures(nn.Module):
    """A layer, of 64, 192, 768 or 2048 features, of the Inception network of torchmetrics' FID and torch-fidelity."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        try:
            self.network = FrechetInceptionDistance(feature=num_features).inception
        except (ImportError, ValueError, OSError, RuntimeError) as error:
            raise UsageError(f"feature={num_features} cannot be loaded: {printable(str(error))}") from error
        self.num_features = num_features

    def forward(self, images: Tensor) -> Tensor:
        return self.network(as_bytes(images))


def extract(extractor: nn.Module, samples: Tensor) -> Tensor:
    """The features of samples by a module in eval mode, whose parts keep their own modes."""
    modes = [(part, part.training) for part in extractor.modules()]
    extractor.eval()
    try:
        return extractor(samples).detach()
    finally:
        for part, mode in modes:
            part.training = mode


def make_extractor(feature: FittedSpace | nn.Module | str | int | None) -> nn.Module:
    """The module that turns what `update` gets into features; see `NeighbourMetric`."""
    match feature:
        case None:
            return nn.Identity()
        case nn.Module():
            return feature
        case FittedSpace():
            return SpaceFeatures(feature)
        case str():
            return SpaceFeatures(stick_features(feature, device=torch.device("cpu")))
        case int() if not isinstance(feature, bool):
            return InceptionFeatures(feature)
    allowed = "a fitted space, a module, the name of a measuring stick, 64, 192, 768 or 2048 for Inception"
    raise UsageError(f"feature must be {allowed}, or None for features: got {feature!r}")


class GivenFeatures(nn.Module):
    """Feeds features in place of images to torchmetrics, in float64 and centred.

    torchmetrics sums squares before it subtracts the mean. Centred on the real mean they keep their digits, and the
    Fréchet distance does not depend on the centre.
    """

    def __init__(self, centre: Float64[Tensor, " feature"]) -> None:
        super().__init__()
        self.num_features, self.centre = len(centre), nn.Buffer(centre)

    def forward(self, features: Float[Tensor, "sample feature"]) -> Float64[Tensor, "sample feature"]:
        return features.double() - self.centre


class Neighbourhoods:
    """The balls of the features that were compared last, so that scores of the same features share one pass over pairs.

    A prepared real side has its own k; without one, `compare` prepares that of the real features.
    """

    members: Membership | None = None  # of the last comparison
    _synthetic: Tensor | None = None

    def __init__(self, *, num_neighbours: int, real_side: RealSide | None) -> None:
        self.num_neighbours = num_neighbours if real_side is None else real_side.num_neighbours
        self.is_prepared, self.real_side = real_side is not None, real_side

    def compare(self, *, real: Tensor, synthetic: Tensor) -> NeighbourScores:
        """The scores of synthetic features; the real ones are unused beside a prepared real side."""
        side = self.real_side
        if side is None or not (self.is_prepared or _is_same(real, side.features)):
            side = prepare_real_side(real, num_neighbours=self.num_neighbours)
        elif side.features.device != synthetic.device:
            parts = {name: part for name, part in vars(side).items() if isinstance(part, Tensor)}
            moved: dict[str, Any] = {name: part.to(synthetic.device) for name, part in parts.items()}
            side = replace(side, **moved)
        if self.members is None or self.real_side is not side or not _is_same(synthetic, self._synthetic):
            self.members = count_members(real=side, synthetic=synthetic)
            self.real_side, self._synthetic = side, synthetic
        return summarise(self.members, real=side)


def _is_same(features: Tensor, other: Tensor | None) -> bool:
    kinds = {(each.device, each.dtype) for each in (features, other) if each is not None}
    return other is not None and len(kinds) == 1 and torch.equal(features, other)


class NeighbourScore(Metric):
    """One score of a `NeighbourMetric`, for `self.log`; arguments as there.

    In a `MetricCollection` those with the same `feature` form one compute group: features are extracted once.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    feature_network = "extractor"  # what torchmetrics' FeatureShare shares

    score: ClassVar[str]
    real_features: list[Tensor]
    synthetic_features: list[Tensor]

    def __init__(
        self,
        feature: FittedSpace | nn.Module | str | int | None = None,
        num_neighbours: int = 5,
        *,
        reset_real_features: bool = True,
        real_side: RealSide | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_positive(num_neighbours=num_neighbours)
        self.extractor = make_extractor(feature)
        self.reset_real_features = reset_real_features
        self.neighbourhoods = Neighbourhoods(num_neighbours=num_neighbours, real_side=real_side)
        self.add_state("real_features", default=[], dist_reduce_fx="cat")
        self.add_state("synthetic_features", default=[], dist_reduce_fx="cat")

    def update(self, imgs: Tensor, real: bool) -> None:
        """Add samples of one side."""
        if real and self.neighbourhoods.is_prepared:
            raise UsageError("update takes no real samples beside the real_side that the metric was made with")
        features = extract(self.extractor, imgs)
        if features.is_floating_point() and features.itemsize < 4:
            features = features.float()  # of a network in mixed precision
        check_features(features, name="real" if real else "synthetic", min_samples=1)
        if len(self.real_features) and (width := self.real_features[-1].shape[-1]) != features.shape[1]:
            raise UsageError(f"features must have as many dimensions as before, {width}: got {features.shape[1]}")
        # Each side notes the width, so that a rank with samples of one side only can still gather the other. New lists,
        # because the metrics of a compute group share the old ones.
        self.real_features = [*self.real_features, features if real else features[:0]]
        self.synthetic_features = [*self.synthetic_features, features[:0] if real else features]

    def compute(self) -> Tensor:
        sides = [self.synthetic_features] + ([] if self.neighbourhoods.is_prepared else [self.real_features])
        if not all(len(side) and len(dim_zero_cat(side)) for side in sides):
            raise UsageError("compute needs real and synthetic samples: call update with both first")
        return self._score(dim_zero_cat(self.synthetic_features))

    def forward(self, imgs: Tensor, real: bool) -> Tensor:
        """Add a batch, and score a synthetic one by itself against all real samples so far.

        NaN for a real batch, and while either side has too few samples. `update` alone takes less time.
        """
        self.update(imgs, real)
        return self.score_batch(real)

    def score_batch(self, real: bool) -> Tensor:
        """What `forward` gives for the batch that was added last."""
        batch, balls = self.synthetic_features[-1], self.neighbourhoods
        has_real = balls.is_prepared or sum(map(len, self.real_features)) > balls.num_neighbours
        is_enough = not real and has_real and len(batch) > balls.num_neighbours
        value: Tensor = self._score(batch) if is_enough else torch.tensor(torch.nan, device=batch.device)
        self._forward_cache = value  # type: ignore[assignment]  # what Lightning logs for a step
        return value

    def reset(self) -> None:
        """Forget all samples; the real ones stay with `reset_real_features=False`."""
        kept = self.real_features
        self.real_features, self.synthetic_features = [], []  # the metrics of a group share lists that reset empties
        super().reset()
        if not self.reset_real_features:
            self.real_features = kept

    def _score(self, synthetic: Tensor) -> Tensor:
        scores = self.neighbourhoods.compare(real=dim_zero_cat(self.real_features), synthetic=synthetic)
        return torch.tensor(getattr(scores, self.score), dtype=torch.float64, device=synthetic.device)


class ImprovedPrecision(NeighbourScore):
    """Share of synthetic samples inside a real ball (Kynkäänniemi et al. 2019)."""

    score = "precision"


class ImprovedRecall(NeighbourScore):
    """Share of real samples inside a synthetic ball (Kynkäänniemi et al. 2019)."""

    score = "recall"


class Density(NeighbourScore):
    """Number of real balls around a synthetic sample, over k (Naeem et al. 2020); about 1 for equal distributions."""

    score = "density"


class Coverage(NeighbourScore):
    """Share of real balls that hold a synthetic sample (Naeem et al. 2020)."""

    score = "coverage"


SUPPORT = {kind.score: kind for kind in (ImprovedPrecision, ImprovedRecall, Density, Coverage)}


class NeighbourMetric(MetricCollection):
    """Precision, recall, density and coverage of the samples seen so far.

    A `MetricCollection` of one compute group: `compute` gives a dict of float64 scalars, `self.log_dict(metric)` logs
    all four, and `metric["recall"]` is one of them. It may stand in another `MetricCollection`.

    Args:
        feature: What turns samples into features: a fitted space or the name of a measuring stick, such as mnist
            (see `SpaceFeatures`); 64, 192, 768 or 2048 for that layer of the Inception network of torchmetrics' FID; a
            module, which gets samples as they are; None if samples are features [num_samples, feature_dim].
        num_neighbours: k; a ball reaches to the k-th nearest neighbour in its own set. Each side needs more samples.
        options: `reset_real_features`, whether `reset` forgets the real samples too (True); `real_side`, a prepared
            real side, the same on every rank, with its own k (None: real features are collected); and what every
            torchmetrics `Metric` takes, such as `sync_on_compute`.
    """

    def __init__(
        self, feature: FittedSpace | nn.Module | str | int | None = None, num_neighbours: int = 5, **options: Any
    ) -> None:
        extractor = make_extractor(feature)
        scores: dict[str, Any] = {name: kind(extractor, num_neighbours, **options) for name, kind in SUPPORT.items()}
        super().__init__(scores, compute_groups=[list(scores)])
        self.neighbourhoods = scores["recall"].neighbourhoods
        for score in scores.values():
            score.neighbourhoods = self.neighbourhoods

    def forward(self, imgs: Tensor, real: bool) -> dict[str, Tensor]:
        """Add a batch, and score a synthetic one as `NeighbourScore.forward` does."""
        self.update(imgs, real)
        scores = {name: score for name, score in self.items(copy_state=False) if isinstance(score, NeighbourScore)}
        return {name: score.score_batch(real) for name, score in scores.items()}
