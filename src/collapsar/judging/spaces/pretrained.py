"""Feature spaces of published networks, for values comparable with the literature.

Nothing is fitted. The published weights are read from a path or downloaded once; without them, an error says what is
missing. Both networks were trained on colour photographs; on digits they are more a convention than a measure.
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from filelock import FileLock
from jaxtyping import Float
from torch import Tensor, nn

from collapsar.data.real_data import RealData
from collapsar.errors import UsageError, check_positive
from collapsar.judging.spaces.base import FeatureSpace, FittedSpace, require_images
from collapsar.judging.spaces.feature_cache import checksum
from collapsar.judging.spaces.preprocessing import grey_to_rgb, resize
from collapsar.samples import quantise

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
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
        self.mean = nn.Buffer(torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.std = nn.Buffer(torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, images: Float[Tensor, "sample channel height width"]) -> Float[Tensor, "sample feature"]:
        features: Tensor = self.network((resize(grey_to_rgb(images), side=224) - self.mean) / self.std)
        return features


@dataclass(frozen=True, kw_only=True)
class InceptionSpace(FeatureSpace):
    """torch-fidelity's Inception v3: the space of published FID, KID, precision and recall.

    Args:
        weights_path: torch-fidelity's weights file; None for the one in torch.hub's folder, downloaded once.
        chunk_size: Images embedded at once (about 25 MB of memory each).
    """

    name: ClassVar[str] = "inception"
    version: ClassVar[int] = 1

    weights_path: str | None
    chunk_size: int

    def __post_init__(self) -> None:
        check_positive(chunk_size=self.chunk_size)

    def fit(self, real: RealData, *, device: torch.device, cache_dir: Path) -> FittedSpace:
        require_images(real, space_name=self.name)
        network = self._load(cache_dir)
        return FittedSpace(
            name=self.name,
            feature_dim=2048,
            embedder=InceptionEmbedder(network),
            content_hash=checksum(network.state_dict()),
            version=self.version,
            device=device,
            chunk_size=self.chunk_size,
        )

    def _load(self, cache_dir: Path) -> nn.Module:
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise UsageError("the inception space needs torch-fidelity: pip install collapsar[inception]") from error
        stored = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE
        path = Path(self.weights_path) if self.weights_path else stored
        if path.exists() or self.weights_path:
            load_weights(path)  # torch-fidelity would unpickle any file: check it first
        advice = f"put {INCEPTION_FILE} of the torch-fidelity 0.2.0 release into {stored.parent}, or set weights_path"
        return build_or_explain(
            lambda: FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048"], feature_extractor_weights_path=self.weights_path
            ),
            lock=cache_dir / "inception.lock",
            space_name=self.name,
            advice=advice,
        )


@dataclass(frozen=True, kw_only=True)
class DinoV2Space(FeatureSpace):
    """DINOv2 (Oquab et al. 2023, https://arxiv.org/abs/2304.07193), the space that Stein et al. 2023 recommend.

    Args:
        model: The entry point in the repository, such as dinov2_vits14.
        repository: A local clone of facebookresearch/dinov2; None for torch.hub's copy, downloaded once.
        weights_path: The weights file; None for the repository's own, downloaded once.
    """

    name: ClassVar[str] = "dinov2"
    version: ClassVar[int] = 1

    model: str
    repository: str | None
    weights_path: str | None
    chunk_size: int

    def __post_init__(self) -> None:
        check_positive(chunk_size=self.chunk_size)

    def fit(self, real: RealData, *, device: torch.device, cache_dir: Path) -> FittedSpace:
        require_images(real, space_name=self.name)
        if self.repository is not None and not (Path(self.repository) / "hubconf.py").is_file():
            raise UsageError(
                f"repository must be a clone of facebookresearch/dinov2: no hubconf.py in {self.repository}"
            )
        weights = load_weights(Path(self.weights_path)) if self.weights_path else None
        advice = (
            f"set repository to a local clone of facebookresearch/dinov2, and weights_path to the file "
            f"{self.model}_pretrain.pth"
        )
        embedder = DinoEmbedder(
            build_or_explain(
                lambda: self._build(weights), lock=cache_dir / "dinov2.lock", space_name=self.name, advice=advice
            )
        ).eval()
        with torch.no_grad():
            feature_dim = embedder(torch.zeros(1, 3, 224, 224)).shape[1]
        return FittedSpace(
            name=self.name,
            feature_dim=feature_dim,
            embedder=embedder,
            content_hash=checksum(embedder.state_dict()),
            version=self.version,
            device=device,
            chunk_size=self.chunk_size,
        )

    def _build(self, weights: dict[str, Tensor] | None) -> nn.Module:
        network: nn.Module = torch.hub.load(
            self.repository or "facebookresearch/dinov2",
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
        weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise UsageError(f"not a readable file of weights (truncated?): {path}") from error
    return weights


def build_or_explain(build: Callable[[], Any], *, lock: Path, space_name: str, advice: str) -> nn.Module:
    """Build a published network with its weights; jobs that start together download once."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock):
            network: nn.Module = build()
    except (OSError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"the {space_name} network cannot be loaded ({reason}): {advice}") from error
    return network
