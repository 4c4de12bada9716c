"""Models that are trained in steps: a model says what it minimises, and this learner says how.

`players()` gives, for each network that is stepped, its module, its loss, its learning rate and how often it moves: a
VAE has one player, a GAN two. A step is one move of the first player; the others move with every n-th. Optimisers,
clipping, averages and mixed precision are written here once, from the players and the `Plan`. Models stay Lightning
modules that `load_from_checkpoint` opens. Under autocast networks compute in the half precision that was chosen; losses
and images are float32.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Float, UInt8
from lightning import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from collapsar.models.bias import UNBIASED, Bias
from collapsar.models.generative import GenerativeModel
from collapsar.models.graphs import GraphedSteps, follow
from collapsar.models.networks import check_image_shape
from collapsar.models.plan import AS_IT_IS, Plan
from collapsar.samples import Samples, quantise

STEPS_BETWEEN_LOGS = 20  # and the last of an epoch, for callbacks; logging takes Lightning as long as a small step
SAMPLES_PER_CHUNK = 1024  # bounds memory only: all latents are drawn first, so samples do not depend on it

Losses = dict[str, Tensor]
"""Scalars by name; the first is minimised, the others are only watched."""


@dataclass(frozen=True, kw_only=True)
class Player:
    """A network that is stepped.

    Attributes:
        module: Whose parameters move.
        losses: Of a batch and of what the players of a step share (`LearnedModel.share`); the first is minimised.
        learning_rate: Of Adam.
        adam_betas: Its decay rates.
        steps_per_move: Steps of the first player for one move of this one.
        average: Follows the module after each of its moves; None without an average.
    """

    module: nn.Module
    losses: Callable[[Samples, Any], Losses]
    learning_rate: float
    adam_betas: tuple[float, float] = (0.9, 0.999)
    steps_per_move: int = 1
    average: AveragedModel | None = None


class LearnedModel(GenerativeModel, LightningModule, ABC):
    """A model of images that decodes standard normal latents and is trained in steps.

    Attributes:
        plan: How it is trained; set before a fit.
        has_watchers: Whether anybody but us reads what is logged; set before a fit.
        uses_graphs: Whether steps are CUDA graphs; set before a fit on a CUDA device.
        autocast_dtype: What its decoder computes in when it is sampled, as in training; None: in its weights' own type.
        device: Where it lies; it is sampled there.
    """

    is_trained_in_steps: ClassVar[bool] = True

    def __init__(self, *, sample_shape: Sequence[int], latent_dim: int) -> None:
        super().__init__()
        self.sample_shape = check_image_shape(sample_shape)
        self.latent_dim = latent_dim
        self.plan: Plan = AS_IT_IS
        self.has_watchers = True
        self.uses_graphs = False
        self.autocast_dtype: torch.dtype | None = None
        self.automatic_optimization = False
        self._graphed: GraphedSteps | None = None

    # What a model says

    @abstractmethod
    def players(self) -> Sequence[Player]:
        """What is stepped, the player that counts the steps first."""

    @abstractmethod
    def decode(
        self, latents: Float[Tensor, "sample latent"], generator: torch.Generator, *, likelihood_spread: float
    ) -> Float[Tensor, "sample channel height width"]:
        """One image in model range for each latent; the other arguments serve models whose decoder draws."""

    def share(self, batch: Samples, *, movers: Collection[int]) -> Any:
        """What the losses of one step have in common, made once; `movers` are the numbers of the players that move."""
        return None

    # Training

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        is_fused = self.plan.gradient_clip_norm is None  # one that is unscales gradients in its step, too late for us
        return [
            torch.optim.Adam(
                player.module.parameters(),
                lr=torch.tensor(player.learning_rate, device=self.device) if self.uses_graphs else player.learning_rate,
                betas=player.adam_betas,
                fused=is_fused,
                capturable=self.uses_graphs,
            )
            for player in self.players()
        ]

    def on_fit_start(self) -> None:
        self._graphed = GraphedSteps(self._move_all) if self.uses_graphs else None

    def on_fit_end(self) -> None:
        self._graphed = None  # with the memory that graphs hold

    def training_step(self, batch: Samples, batch_idx: int) -> Losses:
        """Move each player that is due; returns the losses by name."""
        players, step = self.players(), self.global_step
        movers = [number for number, player in enumerate(players) if step % player.steps_per_move == 0]
        optimizers = self._optimizers()
        self._set_rates(players, optimizers, step=step)
        if self._graphed is None:
            watched = self._move_each(batch, movers)
        else:
            optimizers[0]._on_before_step()  # what counts a step of the Trainer, around one that it does not see
            watched = self._graphed.step(batch, movers=movers)
            optimizers[0]._on_after_step()
        if self.has_watchers and (self.trainer.is_last_batch or step % STEPS_BETWEEN_LOGS == 0):
            self.log_dict(watched)
        return watched

    def _optimizers(self) -> list[LightningOptimizer]:
        """Each player's optimiser."""
        optimizers = self.optimizers(use_pl_optimizer=True)
        return cast("list[LightningOptimizer]", optimizers if isinstance(optimizers, list) else [optimizers])

    def _move_each(self, batch: Samples, movers: Sequence[int]) -> Losses:
        """A step, each move through the Trainer."""
        optimizers = self._optimizers()

        def move(number: int, player: Player, loss: Tensor) -> None:
            self._move(player, optimizers[number], loss=loss, counts=number == 0)

        return self._step(batch, movers, move)

    def _move_all(self, batch: Samples, movers: Sequence[int]) -> Losses:
        """The same step without the Trainer, as a graph records it."""
        optimizers, is_mixed = self._optimizers(), self.autocast_dtype is not None

        def move(number: int, player: Player, loss: Tensor) -> None:
            optimizer = optimizers[number].optimizer
            optimizer.zero_grad()
            loss.backward()
            self.on_before_optimizer_step(optimizer)
            optimizer.step()
            if player.average is not None:
                follow(player.average, player.module)

        with torch.autocast(self.device.type, dtype=self.autocast_dtype, enabled=is_mixed, cache_enabled=False):
            return self._step(batch, movers, move)

    def _step(self, batch: Samples, movers: Sequence[int], move: Callable[[int, Player, Tensor], None]) -> Losses:
        """Move players by what they minimise; one has moved before the next one's losses are made."""
        players, shared = self.players(), self.share(batch, movers=movers)
        watched: Losses = {}
        for number in movers:
            losses = players[number].losses(batch, shared)
            move(number, players[number], next(iter(losses.values())))
            watched |= {name: loss.detach() for name, loss in losses.items()}
        return watched

    def transfer_batch_to_device(self, batch: Samples, device: torch.device, dataloader_idx: int) -> Samples:
        return batch.to(device)  # there already; Lightning's own way takes the dataclass apart in every step

    def _set_rates(self, players: Sequence[Player], optimizers: Sequence[LightningOptimizer], *, step: int) -> None:
        """Set every player's learning rate to what the plan makes of it in this step, if it has a schedule."""
        if not self.plan.has_schedule:
            return
        factor = self.plan.rate_factor(step, num_steps=int(self.trainer.estimated_stepping_batches))
        for player, optimizer in zip(players, optimizers, strict=True):
            for group in optimizer.param_groups:
                if self.uses_graphs:
                    group["lr"].fill_(factor * player.learning_rate)  # where graphs read it
                else:
                    group["lr"] = factor * player.learning_rate

    def _move(self, player: Player, optimizer: LightningOptimizer, *, loss: Tensor, counts: bool) -> None:
        """One step of a player's optimiser; only the first player's counts as a step of the Trainer."""
        optimizer.zero_grad()
        self.manual_backward(loss)
        if counts:
            optimizer.step()
        else:  # through the precision plugin, as Lightning's own step is, but uncounted: max_steps would end too early
            self.trainer.strategy.optimizer_step(optimizer.optimizer, lambda: None, model=self)
        if player.average is not None:
            follow(player.average, player.module)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the gradients, unscaled by now in any precision, if the plan says so."""
        if self.plan.gradient_clip_norm is not None:
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            nn.utils.clip_grad_norm_(parameters, self.plan.gradient_clip_norm)

    def validation_step(self, batch: Samples, batch_idx: int) -> None:
        """Log each player's losses as `validation/...`."""
        players = self.players()
        shared = self.share(batch, movers=range(len(players)))
        for player in players:
            for name, loss in player.losses(batch, shared).items():
                self.log(f"validation/{name}", loss, batch_size=len(batch))

    # Sampling

    def sample(self, num_samples: int, generator: torch.Generator, *, bias: Bias = UNBIASED) -> Samples:
        latents = bias.draw_latents(num_samples, latent_dim=self.latent_dim, generator=generator)
        return Samples(self.render(latents, generator, likelihood_spread=bias.likelihood_spread))

    @torch.inference_mode()
    def render(
        self, latents: Float[Tensor, "sample latent"], generator: torch.Generator, *, likelihood_spread: float = 1.0
    ) -> UInt8[Tensor, "sample channel height width"]:
        """The images of given latents, on the CPU."""
        was_training = self.training
        self.eval()
        is_mixed = self.autocast_dtype is not None
        with torch.autocast(self.device.type, dtype=self.autocast_dtype, enabled=is_mixed):
            chunks = [
                quantise(self.decode(chunk.to(self.device), generator, likelihood_spread=likelihood_spread)).cpu()
                for chunk in latents.split(SAMPLES_PER_CHUNK)
            ]
        self.train(was_training)
        return torch.cat(chunks)

    def film_strip(self, num_images: int, *, latents: torch.Generator, noise: torch.Generator) -> Tensor:
        return self.render(torch.randn(num_images, self.latent_dim, generator=latents), noise)
