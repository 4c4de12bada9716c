"""The recipe of a generation, and its Trainer, made with our callbacks beside the configured ones, and checked.

The chain's machine (`machine/choice.py`) replaces `auto` in a recipe. Any other argument of a Lightning Trainer works
here, or is refused by name (`refused.yaml`).
"""

import copy
import inspect
import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning import Callback, Trainer
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import callbacks as lightning_callbacks
from lightning.pytorch.plugins import AsyncCheckpointIO, LayerSync, Precision

from collapsar.data.pool import DeviceCache
from collapsar.foundations.chosen import value_text
from collapsar.foundations.errors import UsageError
from collapsar.foundations.recipes import flattened, with_arguments
from collapsar.machine.choice import AUTO, Machine
from collapsar.machine.devices import free_bytes, torch_settings_kept
from collapsar.models.generative import GenerativeModel
from collapsar.models.own_fit import AUTOCAST_DTYPES
from collapsar.models.plan import Plan
from collapsar.training.callbacks import FOLDER, Place, configured_loggers, placed

TrainerRecipe = Callable[..., Trainer]

FULL_PRECISION = "32-true"

LIGHTNING_VARIABLES = "PL_TRAINER_"  # from the environment Lightning takes what its Trainer is not given

_refused = yaml.safe_load((Path(__file__).parent / "refused.yaml").read_text())
REFUSED = {key: advice for advice, keys in _refused["arguments"].items() for key in keys}
SAFE = {  # replace Lightning's defaults if a recipe sets nothing
    **dict.fromkeys(("enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False),
    "num_sanity_val_steps": 0,
}
DEFAULTS = {key: each.default for key, each in inspect.signature(Trainer).parameters.items()} | SAFE
REFUSED_CALLBACKS = {getattr(lightning_callbacks, name): advice for name, advice in _refused["callbacks"].items()}

if not torch.cuda.is_available():
    # Lightning sets this on import; without a GPU it makes each optimiser step look for NVML anew.
    os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to make a generation's model and its Trainer, and train it; `device_cache` keeps pools on the device."""

    model: Callable[[], GenerativeModel]
    trainer: TrainerRecipe
    plan: Plan
    batch_size: int
    device_cache: DeviceCache = field(default_factory=partial(DeviceCache, free_bytes=free_bytes))

    def for_pool(self, pool_size: int, *, num_real: int) -> "Recipe":
        """The recipe with steps in proportion to the pool, if the plan's budget counts epochs."""
        if self.plan.budget != "epochs":
            return self
        num_steps = max(1, round(flattened(self.trainer).keywords["max_steps"] * pool_size / num_real))
        return replace(self, trainer=with_arguments(self.trainer, max_steps=num_steps))

    def on(self, machine: Machine) -> "Recipe":
        """The recipe with the machine's choices in place of what is left open."""
        plan = replace(self.plan, cuda_graphs=machine.cuda_graphs, compiled=machine.compiled)
        return replace(self, trainer=on_machine(self.trainer, machine), plan=plan)


@dataclass(frozen=True, kw_only=True)
class Training:
    """A trained model, in evaluation mode on the device it was trained on, and how it was trained.

    An entry of the curve holds losses averaged over a group of steps, the "step" and "epoch" at its end, the learning
    rates of its last step, and norms of gradients within it (`records.record`).
    """

    model: GenerativeModel
    summary: dict[str, float]  # number of steps and epochs, and each loss averaged over the last group of steps
    curve: list[dict[str, float]]
    save: Callable[[Path], object]  # moves the model to the CPU, and writes weights and hyperparameters to a path
    shared_seconds: dict[str, float] = field(default_factory=dict)  # in which another chain trained the model ("train")
    earlier_seconds: float = 0.0  # of training before the checkpoint that it continued from


def make_trainer(recipe: TrainerRecipe, *callbacks: Callback, place: Place | None = None) -> Trainer:
    """A fresh Trainer with these callbacks after copies of the configured ones, and with copies of its loggers.

    `place` is None for a Trainer that trains nothing. A precision of `auto` is float32.
    """
    flat = flattened(recipe)
    own: dict[str, Any] = {key: value for key, value in SAFE.items() if key not in flat.keywords}
    if flat.keywords.get("precision") == AUTO:
        own["precision"] = FULL_PRECISION
    own["callbacks"] = [*copy.deepcopy(configured_list(recipe, "callbacks")), *callbacks]
    own["plugins"] = _plugins(recipe)
    own["logger"] = placed(configured_loggers(flat.keywords.get("logger")), place) or False
    if place is not None:
        own["default_root_dir"] = place.folder / FOLDER / place.version
    return with_arguments(recipe, **own)()


def configured_list(recipe: TrainerRecipe, key: str) -> list[Any]:
    """The values of an argument that takes one value or several; none for null."""
    value = flattened(recipe).keywords.get(key)
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def on_machine(recipe: TrainerRecipe, machine: Machine) -> TrainerRecipe:
    """The recipe with the machine's device and precision in place of `auto`."""
    found, own = {"accelerator": machine.device, "precision": machine.precision}, flattened(recipe).keywords
    return with_arguments(recipe, **{key: value for key, value in found.items() if own.get(key) == AUTO})


def check_trainer(recipe: TrainerRecipe) -> Trainer:
    """The Trainer of a recipe; a UsageError that names argument and remedy if it cannot train a generation."""
    check_arguments(recipe)
    try:
        with torch_settings_kept():
            trainer = make_trainer(recipe)
    except (MisconfigurationException, ValueError, TypeError, AttributeError, RuntimeError, ImportError) as error:
        raise UsageError(f"trainer has a wrong value: {str(error).splitlines()[0]}") from error
    if trainer.num_devices * trainer.num_nodes != 1:
        problem = "trainer.devices must be 1, since a generation is trained on one device"
        raise UsageError(f"{problem}: got {trainer.num_devices}; run several chains side by side instead")
    if trainer.max_steps == 0 or (trainer.max_steps < 0 and (trainer.max_epochs or 0) < 1):
        problem = "trainer.max_steps must be at least 1, or -1 with trainer.max_epochs at least 1"
        raise UsageError(f"{problem}: got {trainer.max_steps} and {trainer.max_epochs}")
    if (found := str(trainer.precision)) not in AUTOCAST_DTYPES:
        raise UsageError(f"trainer.precision must be {AUTO} or one of {', '.join(AUTOCAST_DTYPES)}: got {found}")
    return trainer


def check_arguments(recipe: TrainerRecipe) -> None:
    """Refuse arguments, callbacks, loggers and plugins that cannot work in a chain."""
    for variable in os.environ:
        if variable.startswith(LIGHTNING_VARIABLES):
            key = variable.removeprefix(LIGHTNING_VARIABLES).lower()
            raise UsageError(f"{variable} would pass by the configuration: unset it, and set trainer.{key}")
    own = flattened(recipe).keywords
    for key, value in own.items():
        if key in REFUSED and (type(value) is not type(DEFAULTS[key]) or value != DEFAULTS[key]):
            is_typed = value is None or isinstance(value, int | float | str | list | dict)
            got = value_text(value) if is_typed else type(value).__name__
            raise UsageError(f"trainer.{key} must be {value_text(DEFAULTS[key])}: got {got}; {REFUSED[key]}")
    loggers = configured_loggers(own.get("logger"))
    for index, callback in enumerate(configured_list(recipe, "callbacks")):
        check_callback(f"trainer.callbacks[{index}]", callback, has_logger=bool(loggers))
    for index, logger in enumerate(loggers):
        _check_copies(f"trainer.logger[{index}]", logger)
    for index, plugin in enumerate(configured_list(recipe, "plugins")):
        if isinstance(plugin, AsyncCheckpointIO | LayerSync):
            problem = f"trainer.plugins[{index}] cannot be used in a chain"
            raise UsageError(f"{problem}: got {type(plugin).__name__}; leave it out")


def check_callback(key: str, callback: Any, *, has_logger: bool) -> None:
    """Refuse an object that is no callback, or that a chain cannot use, copy or store."""
    if not isinstance(callback, Callback):
        raise UsageError(f"{key} must be a Lightning callback: got {type(callback).__name__}")
    for refused, advice in REFUSED_CALLBACKS.items():
        if isinstance(callback, refused):
            raise UsageError(f"{key} cannot be used in a chain: got {type(callback).__name__}; {advice}")
    if isinstance(callback, lightning_callbacks.DeviceStatsMonitor) and not has_logger:
        raise UsageError(f"{key} is DeviceStatsMonitor, which needs a logger: set trainer.logger=true")
    _check_copies(key, callback)


def total_steps(trainer: Trainer, *, steps_per_epoch: int) -> int:
    """Steps that a Trainer would take."""
    limits = [(trainer.max_steps, 1), (trainer.max_epochs or -1, steps_per_epoch)]
    return min(count * num_steps for count, num_steps in limits if count > 0)


def _plugins(recipe: TrainerRecipe) -> list[Any]:
    """The configured plugins, and Lightning's own environment, or it would find SLURM, requeue jobs and count tasks."""
    found = [
        copy.deepcopy(plugin) if isinstance(plugin, Precision) and plugin.state_dict() else plugin
        for plugin in configured_list(recipe, "plugins")
    ]
    is_placed = any(isinstance(plugin, ClusterEnvironment) for plugin in found)
    return found if is_placed else [*found, LightningEnvironment()]


def _check_copies(key: str, part: Any) -> None:
    try:
        copied, file = copy.deepcopy(part), io.BytesIO()
        if isinstance(copied, Callback):
            torch.save(copied.state_dict(), file)
            file.seek(0)
            torch.load(file, weights_only=True)
    except Exception as error:
        problem = f"{key} ({type(part).__name__}) cannot be copied or stored ({type(error).__name__})"
        allowed = "a copy of its own, whose state_dict may hold numbers, text, tensors, lists and dicts"
        raise UsageError(f"{problem}: each generation has {allowed}") from error
