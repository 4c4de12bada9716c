"""Models that are trained in steps: a subclass gives the losses, and this base class trains it.

`players()` lists the networks that are trained, each with its loss, its learning rate and how often it moves: a VAE has
one player, a GAN two. The first player moves in each step, the others in every n-th. Optimisers, learning rates,
clipping, averages (`course.py`) and precision follow from the players and the `Plan`. Networks may compute in half
precision; losses and images are float32.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar, cast

import torch
from lightning import Callback
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from collapsar.foundations.errors import UsageError
from collapsar.foundations.record import GRADIENT_NORM, LEARNING_RATE, is_loss
from collapsar.foundations.samples import Samples, as_samples
from collapsar.machine.devices import device_seeded
from collapsar.models import augmentation
from collapsar.models.conditioning import LatentModel
from collapsar.models.course import Course, GraphedSteps, Losses, Player, follow
from collapsar.models.own_fit import OwnFit
from collapsar.models.plan import DEFAULT_PLAN, MODEL_SPECIFIC_KEYS, Plan
from collapsar.models.shapes import Values

STEPS_BETWEEN_LOGS = 20  # and an epoch's last step, for callbacks; logging takes Lightning as long as a small step


class LearnedModel(LatentModel, ABC):
    """A model that is trained in steps; a step changes nothing but parameters and buffers, so that it can be stored."""

    is_trained_in_steps: ClassVar[bool] = True
    may_be_compiled = True
    plan_keys: frozenset[str] = frozenset()  # the model-specific keys of the plan that it uses
    watched: ClassVar[str] = "loss"  # the score in `validation_scores` that measures the model; lower is better
    pretrained: ClassVar[str | None] = None  # the part of the first player that pretraining without labels trains
    smallest_batch: int = 1  # samples that a step needs at least
    group_size: int = 1  # the number of samples in a step must be a multiple of it
    num_concluded: int = 0  # samples that `conclude` needs; 0 if it does nothing
    transformed = staticmethod(augmentation.transformed)  # augments images by transforms of these names

    def __init__(self, *, sample_shape: Sequence[int], latent_dim: int, num_classes: int | None = None) -> None:
        super().__init__(sample_shape=sample_shape, latent_dim=latent_dim, num_classes=num_classes)
        self.plan: Plan = DEFAULT_PLAN  # set before a fit, as are the next four
        self.is_on_its_own = True  # no chain trains it: a fit also learns what a chain would set (`own_fit.py`)
        self.has_watchers = True  # loggers or the user's callbacks may read the logged losses
        self.uses_graphs = False  # steps are CUDA graphs
        self.optimizer_states: Sequence[dict[str, Any]] | None = None  # initial ones, by player; None: empty states
        self.automatic_optimization = False
        self._graphed: GraphedSteps | None = None
        self._recorded: dict[tuple[int, ...], dict[str, list[Tensor]]] = {}  # gradients of graphs, by their players
        self._last_losses: Losses = {}
        self._clipped_norm: Tensor | None = None  # of the gradients of the last move, before they were clipped
        self._course: Course | None = None
        self._resumed: dict[str, Any] | None = None  # the course in a checkpoint of a user's Trainer

    @abstractmethod
    def players(self) -> Sequence[Player]:
        """The networks that are trained; the moves of the first one count the steps."""

    def share(self, batch: Samples, *, movers: Collection[int]) -> Any:
        """Compute once what the losses of one step share; `movers` are the indices of the players that move."""

    def validation_scores(self, batch: Samples, shared: Any) -> Losses:
        """The scores of a validation batch: each player's losses; a model may add others."""
        return {name: loss for player in self.players() for name, loss in player.losses(batch, shared).items()}

    def conclude(self, some: Callable[[int], Samples], *, generator: torch.Generator) -> None:
        """Fit what needs the final weights; `some(n)` gives n samples of the pool, or all of a smaller pool."""

    def check_plan(self, plan: Plan) -> None:
        for key in sorted(MODEL_SPECIFIC_KEYS & plan.settings().keys() - self.plan_keys):
            problem = f"training.{key} does nothing to model {self.name} of samples of shape {list(self.sample_shape)}"
            advice = f"set training.{key}=null (leave out its lever), or choose a model that heeds it"
            raise UsageError(f"{problem}: {advice}")
        if plan.compiled and not self.may_be_compiled:
            problem = (
                "training.compiled=true does not go with model.loss=wgan_gp, whose penalty is differentiated twice"
            )
            raise UsageError(f"{problem}: set training.compiled=null")

    def configure_callbacks(self) -> list[Callback]:
        has_one = any(isinstance(each, OwnFit) for each in self.trainer.callbacks)  # type: ignore[attr-defined]
        return [OwnFit()] if self.is_on_its_own and not has_one else []

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        made = [
            player.optimizer(
                self.plan,
                player.module.parameters(),
                weight_decay=self.plan.weight_decay or 0.0,
                is_fused=self.plan.gradient_clip_norm is None,  # a fused step unscales gradients after the clipping
                capturable_on=self.device if self.uses_graphs else None,
            )
            for player in self.players()
        ]
        for optimizer, state, player in zip(made, self.optimizer_states or [], self.players(), strict=False):
            optimizer.load_state_dict(state)
            for group in optimizer.param_groups:
                rate = player.rate(self.plan)  # the state holds the last generation's final rate
                group["lr"] = torch.tensor(rate, device=self.device) if self.uses_graphs else rate
        return made

    def on_fit_start(self) -> None:
        self._last_losses, self._graphed = {}, GraphedSteps(self._move_all) if self.uses_graphs else None
        self._course = Course(self.plan, self.players(), num_steps=self.trainer.estimated_stepping_batches)
        if self._resumed is not None:
            self._course.load_state_dict(self._resumed)
            self._course.exchange_averages()  # the checkpoint holds the averages as the model's weights
            self._resumed = None

    def on_fit_end(self) -> None:
        self._graphed, self._recorded = None, {}  # frees the memory that graphs hold
        self.course.exchange_averages()  # the averages are the trained model
        self._course = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """In a fit without a chain, store the plan and the course, and the averages as the model's weights."""
        if not self.is_on_its_own:
            return
        checkpoint["plan"] = self.plan.settings()
        if self._course is not None:
            with self._course.averaged():
                checkpoint["state_dict"] = {name: value.clone() for name, value in self.state_dict().items()}
                checkpoint["course"] = copy.deepcopy(self._course.state_dict())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "plan" in checkpoint:
            self.plan, self._resumed = Plan(**checkpoint["plan"]), checkpoint.get("course")

    def on_validation_start(self) -> None:
        if self._course is not None:  # None in a validation outside a fit
            self._course.exchange_averages()

    def on_validation_end(self) -> None:
        if self._course is not None:
            if self.plan.schedule == "plateau" and not self.trainer.sanity_checking:
                self._course.plateau.tell(float(self.trainer.callback_metrics[f"validation/{self.watched}"]))
            self._course.exchange_averages()

    @property
    def course(self) -> Course:
        """The rates, averages and progress of the present fit."""
        assert self._course is not None, "a course begins with a fit"
        return self._course

    @property
    def progress(self) -> float:
        """Share of the fit's steps that is done, in [0, 1); 0 outside a fit."""
        return 0.0 if self._course is None else self._course.progress

    def augmented(self, values: Values) -> Values:
        """Samples after the plan's augmentation, which is for images; unchanged in validation."""
        if self.plan.augmentation is None or not self.training:
            return values
        return self.transformed(values, self.plan.augmentation)

    def noised(self, values: Values) -> Values:
        """Samples with the noise of this step; unchanged in validation."""
        noise_sd = self.plan.noise_at(self.progress) if self.training else 0.0
        return values + noise_sd * torch.randn_like(values) if noise_sd else values

    def training_step(self, batch: Samples, batch_idx: int) -> Losses:
        """Move each player that is due; return the losses by name."""
        players, step, optimizers = self.players(), self.global_step, self._optimizers()
        self.course.step = step
        movers = [number for number, player in enumerate(players) if step % player.steps_per_move == 0]
        if self.plan.has_schedule:
            factor = self.course.rate_factor
            for player, optimizer in zip(players, optimizers, strict=True):
                for group in optimizer.param_groups:  # graphs read the rate from a tensor
                    rate = factor * player.rate(self.plan)
                    group["lr"] = group["lr"].fill_(rate) if self.uses_graphs else rate
        if self._graphed is None:
            watched = self._step(batch, movers, self._move)
        else:
            optimizers[0]._on_before_step()  # with _on_after_step: counts a step that the Trainer does not see
            watched = self._graphed.step(batch, movers=movers)
            if self.plan.average_decay is not None:  # the decay changes from move to move, which no graph can repeat
                for number in movers:
                    self.course.follow(number)
            optimizers[0]._on_after_step()
        if self.has_watchers:
            self._last_losses |= {name: value for name, value in watched.items() if is_loss(name)}
            if self._is_logged(step):
                self.log_dict(self._last_losses, prog_bar=True)  # all players', or a logger would have holes
        if self.plan.gradient_clip_norm is None and step % STEPS_BETWEEN_LOGS == 0:
            gradients = self._recorded[tuple(movers)] if self._graphed else self._gradients(movers)
            watched |= {key: nn.utils.get_total_norm(each) for key, each in gradients.items()}
        return watched

    def learning_rates_now(self) -> dict[str, float]:
        """The learning rate of each player's last step, by key."""
        return {
            self._of_player(LEARNING_RATE, number): float(optimizer.param_groups[0]["lr"])
            for number, optimizer in enumerate(self._optimizers())
        }

    def _gradients(self, movers: Sequence[int]) -> dict[str, list[Tensor]]:
        return {
            self._of_player(GRADIENT_NORM, number): [
                each.grad for each in self.players()[number].module.parameters() if each.grad is not None
            ]
            for number in movers
        }

    def _of_player(self, quantity: str, number: int) -> str:
        """The key of a quantity of one player: with the name of its network if there are several players."""
        players = self.players()
        if len(players) == 1:
            return quantity
        names = {id(module): name for name, module in self.named_children()}
        return f"{quantity}_{names.get(id(players[number].module), number)}"

    def _optimizers(self) -> list[LightningOptimizer]:
        optimizers = self.optimizers(use_pl_optimizer=True)
        return cast("list[LightningOptimizer]", optimizers if isinstance(optimizers, list) else [optimizers])

    def _is_logged(self, step: int) -> bool:
        """Whether to log this step's losses: for callbacks, or because a logger is due to write."""
        every = self.trainer.log_every_n_steps if self.trainer.loggers else 0  # type: ignore[attr-defined]
        return self.trainer.is_last_batch or step % STEPS_BETWEEN_LOGS == 0 or (every > 0 and (step + 1) % every == 0)

    def _move(self, number: int, player: Player, loss: Tensor) -> None:
        """Move a player through the Trainer; only the first player's move counts as a step of the Trainer."""
        optimizer = self._optimizers()[number]
        optimizer.zero_grad()
        self.manual_backward(loss)
        if number == 0:
            optimizer.step()
        else:  # through the precision plugin, like Lightning's own, but uncounted: else max_steps comes too early
            self.trainer.strategy.optimizer_step(optimizer.optimizer, lambda: None, model=self)
        self.course.follow(number)

    def _move_all(self, batch: Samples, movers: Sequence[int]) -> Losses:
        """A step without the Trainer, as a graph records it."""
        optimizers = self._optimizers()

        def move(number: int, player: Player, loss: Tensor) -> None:
            optimizer = optimizers[number].optimizer
            optimizer.zero_grad()
            loss.backward()
            self.on_before_optimizer_step(optimizer)
            optimizer.step()
            if player.average is not None and self.plan.average_decay is None:
                follow(player.average, player.module)

        is_mixed = self.autocast_dtype is not None
        with torch.autocast(self.device.type, dtype=self.autocast_dtype, enabled=is_mixed, cache_enabled=False):
            losses = self._step(batch, movers, move)
        self._recorded[tuple(movers)] = self._gradients(movers)  # a replay writes to the tensors of its recording
        return losses

    def _step(self, batch: Samples, movers: Sequence[int], move: Callable[[int, Player, Tensor], None]) -> Losses:
        """Move players in turn: each one has moved before the next one's losses are computed."""
        players, shared = self.players(), self.share(batch, movers=movers)
        watched: Losses = {}
        for number in movers:
            losses = players[number].losses(batch, shared)
            move(number, players[number], next(iter(losses.values())))
            watched |= {name: loss.detach() for name, loss in losses.items()}
            if self._clipped_norm is not None:
                watched[self._of_player(GRADIENT_NORM, number)] = self._clipped_norm.detach()
        return watched

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Samples:
        if self.is_on_its_own:
            batch = as_samples(batch, shape=self.sample_shape, num_classes=self.num_classes)
        return batch.to(device)  # Lightning's own way takes the dataclass apart in every step

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.plan.gradient_clip_norm is not None:  # in any precision gradients are unscaled by now
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            self._clipped_norm = nn.utils.clip_grad_norm_(parameters, self.plan.gradient_clip_norm)

    def validation_step(self, batch: Samples, batch_idx: int) -> None:
        """Log a batch's scores as `validation/...`, seeded by the batch's index; training's draws do not change."""
        with torch.random.fork_rng(devices=[]), device_seeded(self.device, batch_idx):
            torch.default_generator.manual_seed(batch_idx)
            shared = self.share(batch, movers=range(len(self.players())))
            for name, score in self.validation_scores(batch, shared).items():
                self.log(f"validation/{name}", score, batch_size=len(batch))
