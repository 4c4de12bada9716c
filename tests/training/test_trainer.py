"""The Trainer of a generation: what could not train is refused when it is composed, configured callbacks are kept."""

import copy
from functools import partial

import pytest
import torch
from lightning import Callback, Trainer

from collapsar.errors import UsageError
from collapsar.training.trainer import check_trainer, make_trainer

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
    return partial(Trainer, **{**QUIET, **changes})


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
