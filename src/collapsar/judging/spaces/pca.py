"""The feature space of the leading principal axes of the real pixels."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from collapsar.data.real_data import RealData
from collapsar.foundations.errors import check_positive
from collapsar.foundations.samples import to_model_range
from collapsar.judging.spaces.base import FeatureSpace, FittedSpace, content_hash, load_or_compute


class PrincipalAxes(nn.Module):
    """Coordinates along the principal axes, computed in float64."""

    def __init__(self, *, mean: Float[Tensor, " pixel"], axes: Float[Tensor, "pixel feature"]) -> None:
        super().__init__()
        self.mean, self.axes = nn.Buffer(mean), nn.Buffer(axes)

    def forward(self, samples: Tensor) -> Float[Tensor, "sample feature"]:
        return (samples.flatten(start_dim=1).to(torch.float64, copy=True).sub_(self.mean) @ self.axes).to(torch.float32)


@dataclass(frozen=True, kw_only=True)
class PCASpace(FeatureSpace):
    """Coordinates along the leading principal axes of the real pixels in [0, 1], neither whitened nor scaled.

    It shows the variance that a classifier learns to ignore.
    """

    name = "pca"

    num_components: int  # fewer if the samples have fewer dimensions
    chunk_size: int

    def __post_init__(self) -> None:
        check_positive(num_components=self.num_components, chunk_size=self.chunk_size)

    def fit(self, real: RealData, *, device: torch.device, cache_dir: Path) -> FittedSpace:
        fit, key = partial(self._principal_axes, real.train.values, device), content_hash(self, real)
        found = load_or_compute(cache_dir / f"{self.name}-{key}.pt", key=key, compute=fit)
        return self.fitted(PrincipalAxes(**found), key, feature_dim=found["axes"].shape[1], device=device)

    def _principal_axes(self, samples: Tensor, device: torch.device) -> dict[str, Tensor]:
        rows = samples.flatten(start_dim=1)

        def chunks() -> Iterator[Tensor]:  # one at a time: colour images would take half a GB at once
            return (to_model_range(chunk).to(device, torch.float64, copy=True) for chunk in rows.split(self.chunk_size))

        mean = torch.stack([chunk.sum(dim=0) for chunk in chunks()]).sum(dim=0) / len(rows)
        scatter = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64, device=device)
        for chunk in chunks():
            centred = chunk.sub_(mean)
            scatter.addmm_(centred.T, centred)
        axes = torch.linalg.eigh(scatter).eigenvectors.flip(1)[:, : self.num_components]
        largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
        return {"mean": mean.cpu(), "axes": (axes * largest.sign()).cpu()}
