"""Feature spaces of published networks, for values comparable with the literature.

Both networks were trained on colour photographs; on digits they are more a convention than a measure.
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from filelock import FileLock
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

from collapsar.data.real_data import RealData
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import quantise
from collapsar.judging.spaces.base import FeatureSpace, FittedSpace, checksum
from collapsar.judging.spaces.preprocessing import grey_to_rgb

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
DINO = "facebookresearch/dinov2"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class InceptionEmbedder(nn.Module):
    """The 2048 pooled features of the TensorFlow Inception v3 that FID is defined on (Heusel et al. 2017)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Float[Tensor, "sample channel height width"]) -> Float[Tensor, "sample 2048"]:
        # The network takes uint8 and resizes by itself, as TensorFlow 1 did.
        (features,) = self.network(quantise(grey_to_rgb(images)))
        return features


class DinoEmbedder(nn.Module):
    """The class token of DINOv2; images are resized to 224 x 224 and normalised as for ImageNet."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.mean, self.std = (nn.Buffer(torch.tensor(each).view(1, 3, 1, 1)) for each in (IMAGENET_MEAN, IMAGENET_STD))

    def forward(self, images: Float[Tensor, "sample channel height width"]) -> Float[Tensor, "sample feature"]:
        resized = resize(grey_to_rgb(images), [224, 224], interpolation=InterpolationMode.BICUBIC)
        return self.network((resized.clamp(0.0, 1.0) - self.mean) / self.std)  # bicubic overshoots


@dataclass(frozen=True, kw_only=True)
class InceptionSpace(FeatureSpace):
    """torch-fidelity's Inception v3: the space of published FID, KID, precision and recall."""

    name = "inception"

    weights_path: str | None  # torch-fidelity's file; None for the one in torch.hub's folder, downloaded once
    chunk_size: int  # images of about 25 MB of memory each

    def fit(self, real: RealData, *, device: torch.device, cache_dir: Path) -> FittedSpace:
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise UsageError("the inception space needs torch-fidelity: pip install collapsar[inception]") from error
        stored = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE
        path = Path(self.weights_path) if self.weights_path else stored
        if path.exists() or self.weights_path:
            load_weights(path)  # torch-fidelity would unpickle any file: check it first
        advice = f"put {INCEPTION_FILE} of the torch-fidelity 0.2.0 release into {stored.parent}, or set weights_path"
        build = partial(FeatureExtractorInceptionV3, "inception-v3-compat", ["2048"], self.weights_path)
        network = build_or_explain(build, cache_dir=cache_dir, space_name=self.name, advice=advice)
        return self.fitted(InceptionEmbedder(network), checksum(network.state_dict()), feature_dim=2048, device=device)


@dataclass(frozen=True, kw_only=True)
class DinoV2Space(FeatureSpace):
    """DINOv2 (Oquab et al. 2023, https://arxiv.org/abs/2304.07193), the space that Stein et al. 2023 recommend."""

    name = "dinov2"

    model: str  # the entry point in the repository, such as dinov2_vits14
    repository: str | None  # a local clone of facebookresearch/dinov2; None for torch.hub's copy, downloaded once
    weights_path: str | None  # None for the repository's own weights, downloaded once
    chunk_size: int

    def fit(self, real: RealData, *, device: torch.device, cache_dir: Path) -> FittedSpace:
        if self.repository is not None and not (Path(self.repository) / "hubconf.py").is_file():
            raise UsageError(f"repository must be a clone of {DINO}: no hubconf.py in {self.repository}")
        weights = load_weights(Path(self.weights_path)) if self.weights_path else None
        advice = f"set repository to a local clone of {DINO}, and weights_path to {self.model}_pretrain.pth"
        build = partial(self._build, weights)
        network = build_or_explain(build, cache_dir=cache_dir, space_name=self.name, advice=advice)
        embedder = DinoEmbedder(network).eval()
        with torch.no_grad():
            feature_dim = embedder(torch.zeros(1, 3, 224, 224)).shape[1]
        return self.fitted(embedder, checksum(embedder.state_dict()), feature_dim=feature_dim, device=device)

    def _build(self, weights: dict[str, Tensor] | None) -> nn.Module:
        network: nn.Module = torch.hub.load(
            self.repository or DINO,
            self.model,
            source="local" if self.repository else "github",
            pretrained=weights is None,
            **({} if self.repository else {"trust_repo": True, "skip_validation": True}),
        )
        if weights is not None:
            network.load_state_dict(weights)
        return network


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read a file of weights without running code that it may hold."""
    if not path.is_file():
        raise UsageError(f"weights file not found: {path}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise UsageError(f"not a readable file of weights (truncated?): {path}") from error


def build_or_explain(build: Callable[[], nn.Module], *, cache_dir: Path, space_name: str, advice: str) -> nn.Module:
    """Build a published network with its weights; jobs that start together download once."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(cache_dir / f"{space_name}.lock"):
            return build()
    except (OSError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"the {space_name} network cannot be loaded ({reason}): {advice}") from error
