"""The recipe of a generation, and its Trainer, made with our callbacks beside the configured ones, and checked.

The chain's machine (`machine/choice.py`) replaces `auto` in a recipe. Any other argument of a Lightning Trainer works
here, or is refused by name (`REFUSED`, `REFUSED_CALLBACKS`).
"""

import copy
import inspect
import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import callbacks as lightning_callbacks
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.plugins import AsyncCheckpointIO, LayerSync, Precision

from collapsar.errors import UsageError
from collapsar.machine.choice import AUTO, Machine
from collapsar.machine.devices import torch_settings_kept
from collapsar.models.generative import GenerativeModel
from collapsar.models.own_fit import AUTOCAST_DTYPES
from collapsar.models.plan import Plan
from collapsar.records.recipes import flattened, with_arguments
from collapsar.training.device_cache import DeviceCache
from collapsar.training.loggers import FOLDER, Place, configured_loggers, placed

TrainerRecipe = Callable[..., Trainer]

FULL_PRECISION = "32-true"

OF_A_FIT = "a generation is trained and then measured by evaluation"
ON_ONE_DEVICE = "a generation is trained on one device"
CHECKPOINTS = "each generation's model is kept in the run folder, as generation_000/model.ckpt"
PRINTS_NO_MODEL = "a chain prints no model, and generation_000/model.ckpt in its folder holds one"
LIGHTNING_VARIABLES = "PL_TRAINER_"  # from the environment Lightning takes what its Trainer is not given

REFUSED: Mapping[str, tuple[tuple[Any, ...], str]] = {  # by argument: the allowed values, and what to set instead
    "strategy": (("auto",), ON_ONE_DEVICE),
    "fast_dev_run": ((False,), "for a short try set trainer.max_steps and num_generations"),
    "max_time": ((None,), "a training that ends by the clock cannot be repeated: set trainer.max_steps"),
    "limit_train_batches": ((None, 1.0), "set trainer.max_steps or data.num_train"),
    "limit_val_batches": ((None, 1.0), "set training.validation_fraction"),
    "limit_test_batches": ((None, 1.0), f"{OF_A_FIT}: set evaluation.num_samples"),
    "limit_predict_batches": ((None, 1.0), f"{OF_A_FIT}: set num_synthetic"),
    "overfit_batches": ((0.0, 0), "set data.num_train"),
    "val_check_interval": ((None, 1.0), "set training.validation_checks"),
    "check_val_every_n_epoch": ((1,), "set training.validation_checks"),
    "num_sanity_val_steps": ((0,), "set training.validation_checks"),
    "enable_checkpointing": ((False,), CHECKPOINTS),
    "enable_progress_bar": ((False,), "a chain shows its own progress"),
    "enable_model_summary": ((False,), PRINTS_NO_MODEL),
    "accumulate_grad_batches": ((1,), "set batch_size"),
    "gradient_clip_val": ((None,), "set training.gradient_clip_norm"),
    "gradient_clip_algorithm": ((None,), "set training.gradient_clip_norm"),
    "benchmark": ((None, False), "algorithms that are chosen by speed give other numbers each time"),
    "use_distributed_sampler": ((True,), ON_ONE_DEVICE),
    "profiler": ((None,), "run collapsar-bench training"),
    "detect_anomaly": ((False,), "the first loss that is not finite is named anyway, with its step"),
    "barebones": ((False,), "callbacks and loggers need what it switches off"),
    "sync_batchnorm": ((False,), ON_ONE_DEVICE),
    "reload_dataloaders_every_n_epochs": ((0,), "a pool is shuffled anew in each epoch"),
    "default_root_dir": ((None,), "files of a training lie in the run folder, which hydra.run.dir names"),
    "model_registry": ((None,), CHECKPOINTS),
}
SAFE = {  # replace Lightning's defaults if a recipe sets nothing
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}
NOTHING_TO_WATCH = "learning rates follow training.schedule and have no scheduler of Lightning's"
REFUSED_CALLBACKS: Mapping[type[Callback], str] = {
    lightning_callbacks.Checkpoint: f"{CHECKPOINTS}; training.early_stopping_patience keeps the best weights",
    ProgressBar: "a chain shows its own progress",
    lightning_callbacks.ModelSummary: PRINTS_NO_MODEL,
    lightning_callbacks.BasePredictionWriter: f"{OF_A_FIT}: set num_synthetic",
    lightning_callbacks.GradientAccumulationScheduler: "set batch_size",
    lightning_callbacks.StochasticWeightAveraging: "set training.average_decay",
    lightning_callbacks.WeightAveraging: "set training.average_decay",
    lightning_callbacks.LearningRateMonitor: NOTHING_TO_WATCH,
    lightning_callbacks.LearningRateFinder: "set training.learning_rate_factor",
    lightning_callbacks.BatchSizeFinder: "set batch_size",
    lightning_callbacks.ModelPruning: "the next generation could not read the pruned model",
    lightning_callbacks.BaseFinetuning: "a generation has nothing to fine-tune: set training.warm_start",
}

if not torch.cuda.is_available():
    # Lightning sets this on import; without a GPU it makes each optimiser step look for NVML anew.
    os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a generation's model is made and trained.

    Attributes:
        model: Makes the model.
        trainer: Makes the `lightning.Trainer`; takes `callbacks`.
        plan: The levers of training.
        batch_size: Samples in a step.
        device_cache: The parts of the chain's pools that stay on the training device.
    """

    model: Callable[[], GenerativeModel]
    trainer: TrainerRecipe
    plan: Plan
    batch_size: int
    device_cache: DeviceCache = field(default_factory=DeviceCache)

    def on(self, machine: Machine) -> "Recipe":
        """The recipe with the machine's choices in place of what is left open."""
        plan = replace(self.plan, cuda_graphs=machine.cuda_graphs, compiled=machine.compiled)
        return replace(self, trainer=on_machine(self.trainer, machine), plan=plan)


def make_trainer(recipe: TrainerRecipe, *callbacks: Callback, place: Place | None = None) -> Trainer:
    """A fresh Trainer with these callbacks after copies of the configured ones, and with copies of its loggers.

    `place` says where loggers and callbacks write; it is None for a Trainer that trains nothing.
    """
    flat = flattened(recipe)
    takes = inspect.signature(flat.func).parameters.values()
    takes_any = any(each.kind == each.VAR_KEYWORD for each in takes)
    own: dict[str, Any] = {
        key: value
        for key, value in SAFE.items()
        if key not in flat.keywords and (takes_any or any(each.name == key for each in takes))
    }
    own["callbacks"] = [*copy.deepcopy(configured_list(recipe, "callbacks")), *callbacks]
    own["plugins"] = _plugins(recipe)
    own["logger"] = placed(configured_loggers(configured(recipe, "logger")), place) or False
    if place is not None:
        own["default_root_dir"] = place.folder / FOLDER / place.version
    return with_arguments(recipe, **own)()


def configured(recipe: TrainerRecipe, key: str) -> Any:
    """A recipe's value of an argument; None if it sets none."""
    return flattened(recipe).keywords.get(key)


def configured_list(recipe: TrainerRecipe, key: str) -> list[Any]:
    """The values of an argument that takes one value or several; none for null."""
    value = configured(recipe, key)
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def on_machine(recipe: TrainerRecipe, machine: Machine) -> TrainerRecipe:
    """The recipe with the machine's device and precision in place of `auto`."""
    found = {"accelerator": machine.device, "precision": machine.precision}
    return with_arguments(recipe, **{key: value for key, value in found.items() if configured(recipe, key) == AUTO})


def autocast_dtype(trainer: Trainer) -> torch.dtype | None:
    """The dtype that the networks of a Trainer compute in; None if it is that of their weights."""
    return AUTOCAST_DTYPES[str(trainer.precision)]


def check_trainer(recipe: TrainerRecipe) -> Trainer:
    """The Trainer of a recipe, if it can train a generation.

    Raises:
        UsageError: it cannot; the text names the argument, and what to set.
    """
    check_arguments(recipe)
    try:
        with torch_settings_kept():
            trainer = make_trainer(in_full_precision(recipe))
    except (MisconfigurationException, ValueError, TypeError, AttributeError, RuntimeError, ImportError) as error:
        raise UsageError(f"trainer has a wrong value: {str(error).splitlines()[0]}") from error
    if trainer.num_devices * trainer.num_nodes != 1:
        raise UsageError(
            f"trainer.devices must be 1, since a generation is trained on one device: got {trainer.num_devices}; "
            "run several chains side by side instead"
        )
    if trainer.max_steps == 0 or (trainer.max_steps < 0 and (trainer.max_epochs or 0) < 1):
        raise UsageError(
            f"trainer.max_steps must be at least 1, or -1 with trainer.max_epochs at least 1: "
            f"got {trainer.max_steps} and {trainer.max_epochs}"
        )
    if str(trainer.precision) not in AUTOCAST_DTYPES:
        raise UsageError(
            f"trainer.precision must be {AUTO} or one of {', '.join(AUTOCAST_DTYPES)}: got {trainer.precision}"
        )
    return trainer


def check_arguments(recipe: TrainerRecipe) -> None:
    """Refuse arguments, callbacks, loggers and plugins that cannot work in a chain."""
    for variable in os.environ:
        if variable.startswith(LIGHTNING_VARIABLES):
            key = variable.removeprefix(LIGHTNING_VARIABLES).lower()
            raise UsageError(f"{variable} would pass by the configuration: unset it, and set trainer.{key}")
    for key, value in flattened(recipe).keywords.items():
        taken, advice = REFUSED.get(key, ((), ""))
        if taken and not any(type(value) is type(each) and value == each for each in taken):
            shown = " or ".join(_as_typed(each) for each in dict.fromkeys(taken))
            raise UsageError(f"trainer.{key} must be {shown}: got {_as_typed(value)}; {advice}")
    loggers = configured_loggers(configured(recipe, "logger"))
    for index, callback in enumerate(configured_list(recipe, "callbacks")):
        check_callback(f"trainer.callbacks[{index}]", callback, has_logger=bool(loggers))
    for index, logger in enumerate(loggers):
        _copy(f"trainer.logger[{index}]", logger)
    for index, plugin in enumerate(configured_list(recipe, "plugins")):
        if isinstance(plugin, AsyncCheckpointIO | LayerSync):
            raise UsageError(
                f"trainer.plugins[{index}] cannot be used in a chain: got {type(plugin).__name__}; leave it out"
            )


def check_callback(key: str, callback: Any, *, has_logger: bool) -> None:
    """Refuse an object that is no callback, or that a chain cannot use, copy or store."""
    if not isinstance(callback, Callback):
        raise UsageError(f"{key} must be a Lightning callback: got {type(callback).__name__}")
    for refused, advice in REFUSED_CALLBACKS.items():
        if isinstance(callback, refused):
            raise UsageError(f"{key} cannot be used in a chain: got {type(callback).__name__}; {advice}")
    if isinstance(callback, lightning_callbacks.DeviceStatsMonitor) and not has_logger:
        raise UsageError(f"{key} is DeviceStatsMonitor, which needs a logger: set trainer.logger=true")
    copied, file = _copy(key, callback), io.BytesIO()
    try:
        torch.save(copied.state_dict(), file)
        file.seek(0)
        torch.load(file, weights_only=True)
    except Exception as error:
        raise UsageError(
            f"the state_dict of {key} ({type(callback).__name__}) cannot be stored ({type(error).__name__}): "
            "it may hold numbers, text, tensors, lists and dicts"
        ) from error


def in_full_precision(recipe: TrainerRecipe) -> TrainerRecipe:
    """The recipe with float32 in place of a precision of `auto`."""
    return with_arguments(recipe, precision=FULL_PRECISION) if configured(recipe, "precision") == AUTO else recipe


def total_steps(trainer: Trainer, *, steps_per_epoch: int) -> int:
    """Steps that a Trainer would take."""
    limits = [(trainer.max_steps, 1), (trainer.max_epochs or -1, steps_per_epoch)]
    return min(count * num_steps for count, num_steps in limits if count > 0)


def _plugins(recipe: TrainerRecipe) -> list[Any]:
    """The configured plugins, stateful precision plugins as copies.

    Lightning's own environment is among them, or it would find SLURM, requeue jobs by itself and count their tasks.
    """
    found = [
        copy.deepcopy(plugin) if isinstance(plugin, Precision) and plugin.state_dict() else plugin
        for plugin in configured_list(recipe, "plugins")
    ]
    is_placed = any(isinstance(plugin, ClusterEnvironment) for plugin in found)
    return found if is_placed else [*found, LightningEnvironment()]


def _copy(key: str, part: Any) -> Any:
    try:
        return copy.deepcopy(part)
    except Exception as error:
        raise UsageError(
            f"{key} ({type(part).__name__}) cannot be copied, and each generation has a copy of its own: {error}"
        ) from error


def _as_typed(value: Any) -> str:
    """A value as typed in an override; an object as its class name."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) if isinstance(value, int | float | str | list | dict) else type(value).__name__
