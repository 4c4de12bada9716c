"""Input checks of all metrics, some of which return a plausible number for features that hold NaN."""

from jaxtyping import Shaped
from torch import Tensor, float32, float64

from collapsar.foundations.errors import UsageError

# The type checker accepts any tensor, so that a wrong one gets our error message and not the checker's.
Features = Shaped[Tensor, "..."]
Labels = Shaped[Tensor, "..."]


def check_features(features: Features, *, name: str, min_samples: int = 2) -> None:
    """Raise UsageError, by `name`, unless features [min_samples or more, feature_dim] are finite float32 or float64."""
    is_tensor = isinstance(features, Tensor)
    if not is_tensor or features.ndim != 2 or features.shape[1] < 1 or features.dtype not in (float32, float64):
        found = f"{features.dtype} {list(features.shape)}" if is_tensor else type(features).__name__
        allowed = "a tensor [num_samples, feature_dim], of at least one dimension, in float32 or float64"
        raise UsageError(f"{name} features must be {allowed}: got {found}")
    if len(features) < min_samples:
        raise UsageError(f"{name} features must hold at least {min_samples} samples: got {len(features)}")
    # A finite sum means that all values are finite: one pass and no boolean copy. Finite values may overflow the sum.
    if not features.sum().isfinite() and not features.isfinite().all():
        num_bad = int((~features.isfinite()).sum())
        raise UsageError(f"{name} features hold {num_bad} NaN or infinite values of {features.numel()}")


def check_pair(*, real: Features, synthetic: Features, min_samples: int = 2) -> None:
    """Check both feature sets by `check_features`, and raise UsageError unless their dimensions and devices agree."""
    for name, features in (("real", real), ("synthetic", synthetic)):
        check_features(features, name=name, min_samples=min_samples)
    if real.shape[1] != synthetic.shape[1]:
        problem = "real and synthetic features must have the same dimension"
        raise UsageError(f"{problem}: got {real.shape[1]} and {synthetic.shape[1]}")
    if real.device != synthetic.device:
        raise UsageError(f"real and synthetic features must be on one device: got {real.device} and {synthetic.device}")


def check_labels(labels: Labels, *, name: str, num_classes: int, num_samples: int | None = None) -> None:
    """Raise UsageError unless labels are integers in [0, num_classes), one for each of `num_samples` if given."""
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex() or labels.numel() == 0:
        problem = f"{name} labels must be a non-empty vector of integers"
        raise UsageError(f"{problem}: got {labels.dtype} {list(labels.shape)}")
    if num_samples is not None and len(labels) != num_samples:
        raise UsageError(f"{name} labels must be one for each sample: got {len(labels)} for {num_samples}")
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= num_classes:
        raise UsageError(f"{name} labels must lie in 0..{num_classes - 1}: got {lowest}..{highest}")
