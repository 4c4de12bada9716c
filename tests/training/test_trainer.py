"""The Trainer of a generation: what could not train is refused when it is composed, configured callbacks are kept."""

import copy
import inspect

import pytest
import torch
from hydra.utils import instantiate
from lightning import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins import AsyncCheckpointIO, TorchCheckpointIO

from collapsar.foundations.errors import UsageError
from collapsar.machine.choice import Machine
from collapsar.training.callbacks import Place
from collapsar.training.trainer import REFUSED, REFUSED_CALLBACKS, check_trainer, make_trainer, on_machine

LIGHTNINGS = {"_target_": "lightning.Trainer", "_partial_": True, "_convert_": "object"}
QUIET = {
    "accelerator": "cpu",
    "devices": 1,
    "max_steps": 3,
    "max_epochs": -1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Configured(Callback):
    """A callback of the user's."""


class Ours(Callback):
    """One of ours."""


def recipe(**changes):
    """What Hydra makes of a recipe, whose subclass of `partial` does not flatten."""
    return instantiate(LIGHTNINGS, **{**QUIET, **changes})


def test_what_can_train_is_taken():
    assert check_trainer(recipe()).max_steps == 3
    assert check_trainer(recipe(max_steps=-1, max_epochs=2)).max_epochs == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_steps": 0}, "trainer.max_steps must be at least 1, .*: got 0 and -1"),
        ({"max_steps": -1}, "trainer.max_steps must be at least 1, .*: got -1 and -1"),
        ({"max_steps": -7}, "trainer has a wrong value: .*-7"),
        ({"accelerator": "quantum"}, "trainer has a wrong value: .*quantum"),
        ({"devices": 0}, "trainer has a wrong value: .*0"),
        ({"devices": 99}, "trainer.devices must be 1.*: got 99; run several chains"),
        ({"num_nodes": 2}, "trainer.devices must be 1"),
        ({"precision": "7-bit"}, "trainer has a wrong value: .*7-bit"),
        (
            {"gradient_clip_val": 1.0},
            "trainer.gradient_clip_val must be null: got 1.0; set training.gradient_clip_norm",
        ),
    ],
)
def test_what_could_not_train_is_refused_in_one_line(changes, message):
    with pytest.raises(UsageError, match=message) as caught:
        check_trainer(recipe(**changes))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_gpu_that_is_not_there_is_refused_in_one_line():
    with pytest.raises(UsageError, match=r"trainer has a wrong value: .*CUDA") as caught:
        check_trainer(recipe(accelerator="cuda"))
    assert "\n" not in str(caught.value)


def test_configured_callbacks_are_kept_beside_ours():
    trainer = make_trainer(recipe(callbacks=[Configured()]), Ours())
    assert [type(callback) for callback in trainer.callbacks][:2] == [Configured, Ours]


def test_each_trainer_has_copies_of_its_own_of_the_configured_callbacks():
    configured = Configured()
    first, second = (make_trainer(recipe(callbacks=[configured])).callbacks[0] for _ in range(2))
    assert len({id(configured), id(first), id(second)}) == 3
    assert vars(first) == vars(copy.copy(configured))


# Every argument of Lightning's Trainer works, or is refused by name


CPU = Machine(device="cpu", precision="32-true", threads=1, evaluated_on="cpu")
WORKS = {  # by argument: a value, and what a Trainer made with it then has
    "accelerator": ("cpu", lambda trainer: trainer.strategy.root_device.type == "cpu"),
    "devices": ("auto", lambda trainer: trainer.num_devices == 1),
    "num_nodes": (1, lambda trainer: trainer.num_nodes == 1),
    "precision": ("bf16-mixed", lambda trainer: trainer.precision == "bf16-mixed"),
    "logger": (True, lambda trainer: [type(logger) for logger in trainer.loggers] == [CSVLogger]),
    "callbacks": (Configured(), lambda trainer: isinstance(trainer.callbacks[0], Configured)),
    "max_epochs": (2, lambda trainer: trainer.max_epochs == 2),
    "min_epochs": (1, lambda trainer: trainer.min_epochs == 1),
    "max_steps": (7, lambda trainer: trainer.max_steps == 7),
    "min_steps": (2, lambda trainer: trainer.min_steps == 2),
    "log_every_n_steps": (3, lambda trainer: trainer.log_every_n_steps == 3),
    "deterministic": (True, lambda trainer: torch.are_deterministic_algorithms_enabled()),
    "inference_mode": (False, lambda trainer: not trainer.fit_loop.epoch_loop.val_loop.inference_mode),
    "plugins": (TorchCheckpointIO(), lambda trainer: isinstance(trainer.strategy.checkpoint_io, TorchCheckpointIO)),
    "enable_autolog_hparams": (False, lambda trainer: not trainer.enable_autolog_hparams),
}
OTHERS = {  # a value that is refused, where it is not simply true
    "strategy": "ddp",
    "max_time": "00:01:00:00",
    "limit_train_batches": 1,  # one batch: 1.0 would be all of them
    "limit_val_batches": 0.5,
    "limit_test_batches": 0,
    "limit_predict_batches": 3,
    "overfit_batches": 0.1,
    "val_check_interval": 5,
    "check_val_every_n_epoch": None,
    "num_sanity_val_steps": 2,
    "accumulate_grad_batches": 2,
    "gradient_clip_val": 0.5,
    "gradient_clip_algorithm": "value",
    "use_distributed_sampler": False,
    "profiler": "simple",
    "reload_dataloaders_every_n_epochs": 1,
    "default_root_dir": "elsewhere",
    "model_registry": "a/b",
}


def test_every_argument_of_a_lightning_trainer_works_or_is_refused():
    assert set(inspect.signature(Trainer).parameters) == {*WORKS, *REFUSED}
    assert not WORKS.keys() & REFUSED.keys()


@pytest.fixture
def deterministic_kept():
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("key", WORKS)
def test_an_argument_that_works_reaches_the_trainer_that_trains(key, deterministic_kept):
    value, has_arrived = WORKS[key]
    check_trainer(recipe(**{key: value}))
    assert has_arrived(make_trainer(on_machine(recipe(**{key: value}), CPU)))


@pytest.mark.parametrize("key", REFUSED)
def test_an_argument_that_does_not_work_is_refused_by_name_with_what_to_set(key):
    with pytest.raises(UsageError, match=rf"^trainer\.{key} must be .*: got .*; \w+") as caught:
        check_trainer(recipe(**{key: OTHERS.get(key, True)}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", REFUSED)
def test_what_lightning_has_without_an_argument_is_taken(key):
    default = inspect.signature(Trainer).parameters[key].default
    if key not in QUIET and key != "num_sanity_val_steps":
        check_trainer(recipe(**{key: default}))


def test_a_recipe_that_says_nothing_writes_no_checkpoints_and_draws_no_bar():
    trainer = make_trainer(instantiate(LIGHTNINGS, max_steps=1, accelerator="cpu"))
    assert trainer.checkpoint_callbacks == []
    assert trainer.progress_bar_callback is None
    assert trainer.loggers == []
    assert trainer.num_sanity_val_steps == 0


def test_a_check_leaves_the_switches_of_the_process_as_they_were():
    check_trainer(recipe(deterministic=True))
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("kind", REFUSED_CALLBACKS, ids=lambda kind: kind.__name__)
def test_a_callback_that_a_chain_has_no_use_for_is_refused_by_its_class(kind):
    callback = kind.__new__(type("Mine", (kind,), {}))
    with pytest.raises(UsageError, match=r"trainer\.callbacks\[1\] cannot be used in a chain: got Mine; \w+"):
        check_trainer(recipe(callbacks=[Configured(), callback]))


def test_a_plugin_that_writes_later_is_refused():
    with pytest.raises(UsageError, match=r"trainer\.plugins\[0\] cannot be used in a chain: got AsyncCheckpointIO"):
        check_trainer(recipe(plugins=[AsyncCheckpointIO()]))


def test_a_recipe_on_its_machine_keeps_its_callbacks_and_plugins():
    plugin = TorchCheckpointIO()
    trainer = make_trainer(
        on_machine(recipe(callbacks=[Configured()], plugins=[plugin], precision="auto"), CPU), Ours()
    )
    assert [type(callback) for callback in trainer.callbacks] == [Configured, Ours]
    assert trainer.strategy.checkpoint_io is plugin


# Loggers


@pytest.mark.parametrize(
    ("save_dir", "expected"),
    [("mine", "run/mine/metrics/generation_003"), (None, "absolute/run/metrics/generation_003")],
    ids=["relative", "absolute"],
)
def test_a_file_logger_writes_below_the_run_folder_or_by_its_name(save_dir, expected, tmp_path):
    logger = CSVLogger(save_dir or tmp_path / "absolute", name="metrics")
    place = Place(folder=tmp_path / "run", generation=3, seed=5)
    trainer = make_trainer(recipe(logger=logger), place=place)
    trainer.logger.save()
    assert trainer.logger.log_dir == str(tmp_path / expected)
    assert "generation: 3\nseed: 5" in (tmp_path / expected / "hparams.yaml").read_text()


@pytest.mark.parametrize(
    ("logger", "message"),
    [
        ("csv", "trainer.logger must be false, true or a logger: got 'csv'"),
        ([7], r"trainer.logger must be false, true or a logger: got \[7\]"),
    ],
    ids=str,
)
def test_what_is_no_logger_is_refused(logger, message):
    with pytest.raises(UsageError, match=message):
        check_trainer(recipe(logger=logger))


def test_what_the_environment_gives_the_trainer_is_refused_by_name(monkeypatch):
    monkeypatch.setenv("PL_TRAINER_ACCUMULATE_GRAD_BATCHES", "4")
    with pytest.raises(UsageError, match="PL_TRAINER_ACCUMULATE_GRAD_BATCHES would pass by"):
        check_trainer(recipe(max_steps=5))
