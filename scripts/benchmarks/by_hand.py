"""The training loop that one would write by hand on tensors, the arithmetic in a step of it, and what a machine can do.

The loop draws batches and numbers as `training.train` does, so that both see the same loss at the first step.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from math import lcm

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.foundations.seeding import derive_seed, make_generator
from collapsar.models.course import Losses, Player
from collapsar.models.learned import LearnedModel
from collapsar.models.own_fit import AUTOCAST_DTYPES
from collapsar.training.trainer import Recipe

SEED = 0
MATRIX_SIDE = {"cpu": 1024, "cuda": 8192}  # products large enough to be bound by arithmetic
PRODUCT_SECONDS = 0.3  # for which products are timed


def make_model(recipe: Recipe, device: torch.device) -> LearnedModel:
    """A fresh model, as `train` makes it for generation 0; the global generator is where `train` has it then.

    Raises:
        UsageError: the model is fitted by formula.
    """
    torch.manual_seed(derive_seed(SEED, 0, "train"))
    model = recipe.model()
    if not isinstance(model, LearnedModel):
        raise UsageError(f"models must be among those that are trained in steps (vae, gan): got {model.name}")
    return model.to(device)


def tensor_batches(
    images: UInt8[Tensor, "sample channel height width"], batch_size: int
) -> Iterator[UInt8[Tensor, "batch channel height width"]]:
    """One epoch of shuffled whole batches, each an index selection."""
    order = torch.randperm(len(images), generator=make_generator(SEED, 0, "batches"))
    for indices in order[: len(images) // batch_size * batch_size].to(images.device).split(batch_size):
        yield images[indices]


def moves(model: LearnedModel, players: Sequence[Player], batch: Samples, *, step: int) -> Iterator[tuple[int, Losses]]:
    """The number and the losses of each player that moves in a step; one has moved before the next one's are made."""
    movers = [number for number, player in enumerate(players) if step % player.steps_per_move == 0]
    shared = model.share(batch, movers=movers)
    for number in movers:
        yield number, players[number].losses(batch, shared)


def make_optimizers(players: Sequence[Player], *, is_fused: bool) -> list[torch.optim.Optimizer]:
    """Adam for each player."""
    return [
        torch.optim.Adam(player.module.parameters(), lr=player.learning_rate, betas=player.adam_betas, fused=is_fused)
        for player in players
    ]


def hand_steps(recipe: Recipe, images: Tensor) -> Iterator[Losses]:
    """Train in eager float32, epoch after epoch, for as many steps as are asked for; gives the losses of each."""
    model = make_model(recipe, images.device).train()
    players = model.players()
    optimizers = make_optimizers(players, is_fused=True)
    epochs = itertools.chain.from_iterable(tensor_batches(images, recipe.batch_size) for _ in itertools.count())
    for step, batch in enumerate(epochs):
        watched: Losses = {}
        for number, losses in moves(model, players, Samples(batch), step=step):
            optimizers[number].zero_grad()
            next(iter(losses.values())).backward()
            optimizers[number].step()
            if (average := players[number].average) is not None:
                average.update_parameters(players[number].module)
            watched |= losses
        yield watched


def step_flops(recipe: Recipe, images: Tensor) -> float:
    """Floating-point operations of a step, averaged over the common period of the players.

    Counted are the products and convolutions of both passes, a multiplication and an addition as two.
    """
    period = lcm(*(player.steps_per_move for player in make_model(recipe, images.device).players()))
    with FlopCounterMode(display=False) as counter:
        for _ in itertools.islice(hand_steps(recipe, images), period):
            pass
    return counter.get_total_flops() / period


def matrix_flops(precision: str, device: torch.device) -> float:
    """Operations a second of the fastest of some large matrix products, in the type that a precision multiplies in."""
    side = MATRIX_SIDE[device.type]
    left, right = torch.randn(2, side, side, device=device).to(AUTOCAST_DTYPES[precision] or torch.float32)
    fastest, end = float("inf"), time.perf_counter() + PRODUCT_SECONDS
    while time.perf_counter() < end or fastest == float("inf"):
        start = now(device)
        torch.mm(left, right)
        fastest = min(fastest, now(device) - start)
    return 2 * side**3 / fastest


def now(device: torch.device) -> float:
    """Seconds on the clock, once the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
