"""Pretraining without labels: before the training, the model's encoder or critic learns a task of its own.

It takes a share of a generation's steps, and the model gets the rest. Its images are those of the pool and of the real
training set, each as often as any other. The plan's optimiser, rate factor and clipping apply here too; weight decay
and schedules do not. Its loop is its own, as Lightning's scales losses in 16-bit precision, which moves numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from math import isfinite
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from collapsar.data.pool import PoolBatches
from collapsar.foundations.errors import NonFiniteError, UsageError, check_positive
from collapsar.foundations.samples import to_model_range
from collapsar.judging.spaces.self_supervised import SimilarityLogits
from collapsar.machine import signals
from collapsar.machine.devices import random_states, set_random_states
from collapsar.models.learned import LearnedModel
from collapsar.models.plan import Pretext
from collapsar.models.shapes import Images
from collapsar.training.callbacks import STEPS_BETWEEN_READINGS, OnSteps
from collapsar.training.unfinished import State, Unfinished

NUM_TURNS = 4
VIEWS_PER_IMAGE = 2

Shown = Float[Tensor, "input channel height width"]


@dataclass(frozen=True, kw_only=True)
class Rotation(Pretext):
    """Predict by which random quarter turn each image was turned (Gidaris et al. 2018, arXiv:1803.07728)."""

    def pose(self, images: Images, generator: torch.Generator) -> tuple[Shown, Int64[Tensor, " input"]]:
        turns = torch.randint(NUM_TURNS, (len(images),), generator=generator).to(images.device)
        turned = torch.stack([images.rot90(number, (2, 3)) for number in range(NUM_TURNS)])
        return turned[turns, torch.arange(len(images), device=images.device)], turns

    def head(self, feature_dim: int) -> nn.Module:
        return nn.Linear(feature_dim, NUM_TURNS)

    def check(self, sample_shape: Sequence[int], *, batch_size: int) -> None:
        _, height, width = sample_shape
        if height != width:
            problem = f"images of {height}x{width} pixels cannot be turned"
            raise UsageError(f"{problem}: choose lever=[self_supervised_contrastive]")


@dataclass(frozen=True, kw_only=True)
class Contrastive(Pretext):
    """Find the other of two views of an image among all views of a batch, by similarities of this temperature.

    After SimCLR (Chen et al. 2020, arXiv:2002.05709, equation 1). `projection_dim` units are between features and
    similarities. `augmentation` makes views of images in model range.
    """

    temperature: float
    projection_dim: int
    augmentation: Callable[..., Tensor]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(temperature=self.temperature, projection_dim=self.projection_dim)

    def pose(self, images: Images, generator: torch.Generator) -> tuple[Shown, Int64[Tensor, " input"]]:
        views = self.augmentation(images.repeat(VIEWS_PER_IMAGE, 1, 1, 1), generator=generator)
        return views, torch.arange(len(views), device=images.device).roll(len(images))

    def head(self, feature_dim: int) -> nn.Module:
        return nn.Sequential(
            nn.Linear(feature_dim, self.projection_dim),
            nn.ReLU(),
            SimilarityLogits(feature_dim=self.projection_dim, temperature=self.temperature),
        )

    def check(self, sample_shape: Sequence[int], *, batch_size: int) -> None:
        if batch_size < 2:
            raise UsageError(f"views are told apart within a batch: batch_size must be at least 2: got {batch_size}")


def pretrain(
    model: LearnedModel,
    pretext: Pretext,
    batches: PoolBatches,
    *,
    num_steps: int,
    generation: int,
    on_steps: OnSteps,
    unfinished: Unfinished,
    state: State | None,
) -> dict[str, float]:
    """Train a model's encoder or critic on a pretext task; return loss and accuracy, averaged over the last steps.

    The generator of the batches also poses the tasks. Initial weights of the head come from the global generator.
    """
    assert model.pretrained is not None, "checked beforehand"
    device, network = batches.device, model.to(batches.device).train().get_submodule(model.pretrained)
    features = features_of(network)
    with torch.no_grad():
        feature_dim = features(torch.zeros(2, *model.sample_shape, device=device)).shape[1]
    head = pretext.head(feature_dim).to(device)
    learnt = [*network.parameters(), *head.parameters()]
    trained_by = model.players()[0]
    optimizer = trained_by.optimizer(model.plan, learnt, weight_decay=0.0, is_fused=True, capturable_on=None)
    stateful: dict[str, Any] = {"model": model, "head": head, "optimizer": optimizer, "batches": batches}
    readings: list[Tensor] = []
    num_done = 0
    if state is not None:
        for name, part in stateful.items():
            part.load_state_dict(state[name])
        readings, num_done = [reading.to(device) for reading in state["readings"]], state["step"]
        set_random_states(device, state["random"])
    endless = chain.from_iterable(repeat(batches))
    for step in range(num_done + 1, num_steps + 1):
        if unfinished.is_due():
            present = {"phase": "pretraining", "step": step - 1, "random": random_states(device)}
            present |= {name: part.state_dict() for name, part in stateful.items()}
            unfinished.write(present | {"readings": readings[-STEPS_BETWEEN_READINGS:]})
        signals.leave_if_asked()
        inputs, answers = pretext.pose(to_model_range(next(endless).values), batches.generator)
        with torch.autocast(device.type, dtype=model.autocast_dtype, enabled=model.autocast_dtype is not None):
            logits = head(features(inputs)).float()
        loss = F.cross_entropy(logits, answers)
        optimizer.zero_grad()
        loss.backward()
        if model.plan.gradient_clip_norm is not None:
            nn.utils.clip_grad_norm_(learnt, model.plan.gradient_clip_norm)
        optimizer.step()
        readings.append(torch.stack([loss.detach(), (logits.argmax(1) == answers).float().mean()]))
        if step % STEPS_BETWEEN_READINGS == 0:
            on_steps(0, step)
    last_loss, accuracy = torch.stack(readings[-STEPS_BETWEEN_READINGS:]).mean(0).tolist()
    if not isfinite(last_loss):
        raise NonFiniteError(f"the loss of pretraining is {last_loss} in generation {generation}: lower the rate")
    return {"pretraining_steps": float(num_steps), "pretraining_loss": last_loss, "pretraining_accuracy": accuracy}


def features_of(network: nn.Module) -> Callable[[Images], Tensor]:
    """The input of a network's last layer, for images of any class."""
    features = network[:-1] if isinstance(network, nn.Sequential) else network.features
    return cast("Callable[[Images], Tensor]", features)


def check_pretraining(pretext: Pretext, model: LearnedModel, *, num_steps: int, batch_size: int) -> None:
    """Refuse a pretext task that the model, its images, its batches or the steps of a generation cannot serve."""
    if model.pretrained is None:
        raise UsageError(f"model={model.name} has no encoder or critic to pre-train: set training.pretraining=null")
    pretext.check(model.sample_shape, batch_size=batch_size)
    if num_steps < 2:
        raise UsageError(f"training.pretraining shares the steps of a generation, two at least: got {num_steps}")
