"""The embedding networks of the trained spaces, the heads of classifiers, and their training loop.

They live outside the LightningModules, so `train()` on a generative model never reaches them and checkpoints never hold
them.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, log2

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from collapsar.foundations.errors import NonFiniteError, UsageError, check_not_negative, check_positive
from collapsar.foundations.samples import to_model_range
from collapsar.judging.progress import advance

ENCODER_WIDTHS = (24, 48, 64, 48)


class Encoder(nn.Module):
    """Four 3x3 convolutions and a linear map: about 80k parameters for 64 features.

    Convolutions after the first have stride 2 until the image is 4x4, three at most. Pooling stops at 2x2 and not at
    one pixel, to keep the position of a stroke. SiLU as the last non-linearity keeps every feature alive.
    """

    def __init__(self, image_shape: tuple[int, ...], *, feature_dim: int) -> None:
        super().__init__()
        num_channels, height, width = image_shape
        num_halvings = min(len(ENCODER_WIDTHS) - 1, max(0, ceil(log2(max(height, width) / 4))))
        layers: list[nn.Module] = []
        for index, (in_width, out_width) in enumerate(pairwise((num_channels, *ENCODER_WIDTHS))):
            stride = 2 if 0 < index <= num_halvings else 1
            convolution = nn.Conv2d(in_width, out_width, kernel_size=3, stride=stride, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(out_width), nn.ReLU()]
        window = tuple(ceil(ceil(side / 2**num_halvings) / 2) for side in (height, width))
        self.convolutions = nn.Sequential(*layers, nn.AvgPool2d(window, ceil_mode=True), nn.Flatten())
        self.project = nn.Linear(4 * ENCODER_WIDTHS[-1], feature_dim, bias=False)
        self.normalise = nn.BatchNorm1d(feature_dim)

    def forward(self, images: Float[Tensor, "sample channel height width"]) -> Float[Tensor, "sample feature"]:
        return F.silu(self.normalise(self.project(self.convolutions(images))))


class FactorHead(nn.Module):
    """Log-probabilities of all combinations of levels; each factor has its own logits.

    The log-probability of a combination is the sum of those of its levels. So the cross-entropy of combinations is the
    sum of the factors' cross-entropies, and the likeliest combination has the likeliest level of each factor.
    `num_levels` are those of each factor, in the order of a combination's digits (`collapsar.data.real_data`).
    """

    def __init__(self, feature_dim: int, num_levels: Sequence[int]) -> None:
        super().__init__()
        self.num_levels = tuple(num_levels)
        self.linear = nn.Linear(feature_dim, sum(self.num_levels))

    def forward(self, features: Float[Tensor, "sample feature"]) -> Float[Tensor, "sample combination"]:
        return join(self.linear(features).split(self.num_levels, dim=1))


def join(logits: Sequence[Float[Tensor, "sample _"]]) -> Float[Tensor, "sample combination"]:
    """Log-probabilities of all combinations, from the logits of each factor's levels."""
    joint = logits[0].new_zeros(len(logits[0]), 1)
    for each in logits:
        joint = (joint[:, :, None] + each.log_softmax(dim=1)[:, None, :]).flatten(1)
    return joint


def make_head(feature_dim: int, *, num_classes: int, num_levels: Sequence[int] = ()) -> nn.Module:
    """A head from features to class logits: a `FactorHead` if classes are combinations of factors, else linear."""
    return FactorHead(feature_dim, num_levels) if num_levels else nn.Linear(feature_dim, num_classes)


@dataclass(frozen=True, kw_only=True)
class TrainingBudget:
    """A fixed number of steps of AdamW under a one-cycle learning rate (Smith & Topin 2019, arXiv:1708.07120)."""

    num_steps: int  # for any number of samples
    batch_size: int  # drawn with replacement except in the self-supervised space
    learning_rate: float  # the peak of the cycle
    weight_decay: float

    def __post_init__(self) -> None:
        check_positive(num_steps=self.num_steps, learning_rate=self.learning_rate)
        check_not_negative(weight_decay=self.weight_decay)
        if self.batch_size < 2:
            raise UsageError(f"batch_size must be at least 2, for batch normalisation: got {self.batch_size}")


def build_seeded(build: Callable[[], nn.Module], *, seed: int) -> nn.Module:
    """A network whose initial weights depend on the seed alone; the global generators keep their state."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build()


def train_classifier(
    network: nn.Module,
    draw_batch: Callable[[torch.Generator], tuple[Tensor, Tensor]],
    *,
    budget: TrainingBudget,
    seed: int,
) -> None:
    """Train in place on cross-entropy, then freeze: eval mode, no gradients.

    `draw_batch` returns the inputs and class indices of one step; the seed fixes all batches and augmentations.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=budget.learning_rate, weight_decay=budget.weight_decay)
    schedule = OneCycleLR(optimizer, max_lr=budget.learning_rate, total_steps=max(2, budget.num_steps))
    network.to(memory_format=torch.channels_last).train()  # a third faster on a CPU
    with exact_convolutions():
        for _ in range(budget.num_steps):
            inputs, targets = draw_batch(generator)
            optimizer.zero_grad()
            F.cross_entropy(network(inputs), targets).backward()
            optimizer.step()
            schedule.step()
            advance("training steps", of=budget.num_steps)
    if not all(weight.isfinite().all() for weight in network.parameters()):
        raise NonFiniteError(
            f"a classifier became NaN or infinite in its {budget.num_steps} steps: lower its learning_rate, which is "
            f"{budget.learning_rate}"
        )
    network.eval().requires_grad_(False)


def embed(samples: Tensor, network: nn.Module, *, chunk_size: int, device: torch.device) -> Tensor:
    """The network's outputs of samples in the sample convention, computed in chunks of bounded memory."""
    chunks = []
    with exact_convolutions():
        for chunk in samples.split(chunk_size):
            chunks.append(network(to_model_range(chunk.to(device))))
            advance("samples embedded", len(chunk), of=len(samples))
    return torch.cat(chunks)


def exact_convolutions() -> AbstractContextManager[None]:
    """On a GPU, use deterministic kernels in full float32; cuDNN's default, TF32, moves features by 1e-3."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
