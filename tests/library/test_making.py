"""A recipe's model, from Python."""

import pytest
import torch
from lightning import Trainer

from collapsar.foundations.errors import UsageError
from collapsar.foundations.seeding import derive_seed
from collapsar.library.composing import as_overrides, make_model
from collapsar.library.pools import PoolDataModule

SHORT = {"trainer": {"max_steps": 4, "accelerator": "cpu"}}


def test_a_recipe_gives_a_model_the_arguments_of_its_trainer_and_its_plan():
    made = make_model("vae", data="mnist", width=8, lever=["ema"], **SHORT)
    model, arguments = made
    assert (model.hparams.body, model.hparams.width, made.batch_size) == ("mlp", 8, 128)
    assert model.plan.settings().keys() == {"schedule", "warmup_fraction", "average_decay"}
    assert Trainer(**arguments).max_steps == 4


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"model": "vea"}, "did you mean vae?"),
        ({"model": "vae", "data": "mnits"}, "did you mean mnist?"),
        ({"model": "vae", "widht": 3}, "model.widht is not an option: did you mean width?"),
        ({"model": "vae", "width": -1}, "width must be above 0: got -1"),
        ({"model": "vae", "size": "full"}, "size=full has no recipe"),
        ({"model": "vae", "lever": ["early_stopping"]}, "early_stopping_patience of the plan is carried out in chains"),
        ({"model": "gaussian", "data": "gaussian"}, "model=gaussian is fitted by a formula"),
        ({"model": "vae", "lever": ["ema", "no_such"]}, "lever/no_such"),
    ],
)
def test_a_mistake_is_refused_in_the_words_of_the_command(arguments, text):
    with pytest.raises(UsageError, match=text):
        make_model(**arguments)


def test_a_plain_trainer_trains_what_a_chain_trains(run_chain, tmp_path):
    settings = {"num_train": 200}
    chain = {"data.num_train": 200, "batch_size": 32, "trainer.max_steps": 5, "trainer.accelerator": "cpu"}
    typed = [f"{key}={value}" for key, value in chain.items()]
    run_chain(tmp_path / "run", *typed, "num_generations=1", "lever=[ema]", "model.width=8")
    torch.manual_seed(derive_seed(0, 0, "train"))
    model, arguments = make_model("vae", data="digits", width=8, lever=["ema"], **chain)
    Trainer(**arguments).fit(model, PoolDataModule("digits", batch_size=32, **settings))
    stored = torch.load(tmp_path / "run" / "generation_000" / "model.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(weight, stored[name]) for name, weight in model.state_dict().items())


def test_values_become_overrides_that_hydra_reads_as_they_are():
    values = {
        "name": "2024",
        "lever": ["ema", "cosine"],
        "objective": None,
        "model": {"width": 8, "norm": "batch"},
        "tracking.tags": ["a, b", "c=d"],
        "dry_run": True,
        "width": 1e-5,
    }
    assert as_overrides(values, others_below="model") == [
        "name='2024'",
        "lever=[ema,cosine]",
        "objective=null",
        "model.width=8",
        "model.norm=batch",
        "tracking.tags=['a, b','c=d']",
        "dry_run=true",
        "model.width=1e-05",
    ]
