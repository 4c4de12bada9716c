"""Run folders of version 0.1 are found by the names that it gave them, and known by its versions.json.

The names below were written down from version 0.1 itself.
"""

import pytest
from hydra import compose, initialize_config_dir

from collapsar.config import composition
from collapsar.earlier import earlier_digest, is_earlier
from tiny_chains import compose_settings

RECIPE_THEN = (  # of a VAE on MNIST and CIFAR-10: today's recipes have other bodies, batches and schedules
    "model.body=conv model.width=32 model.learning_rate=0.001 batch_size=64 training.schedule=null "
    "training.warmup_fraction=null trainer.precision=32-true model.beta=1.0"
)
DRAWN_THEN = "model.likelihood=bernoulli model.pixel_sd=0.1 model.sample_from=mean"
NAMES = {
    "": "digits_vae_replace_seed0_b14175cc",
    "seed=3 regime=accumulate": "digits_vae_accumulate_seed3_47e9bac3",
    "model=gan regime=mix_linear bias=scaled_latents": "digits_gan_mix_linear_seed0_b254cab7",
    "data=gaussian model=gaussian": "gaussian_gaussian_replace_seed0_060d3291",
    "data=categorical model=categorical": "categorical_categorical_replace_seed0_be5cfcbd",
    "data=linear_regression model=linear_regression": "linear_regression_linear_regression_replace_seed0_ed491018",
    "data=ring model=mixture": "ring_mixture_replace_seed0_cceb3169",
    "data=grid model=kde": "grid_kde_replace_seed0_1501a3ea",
    f"data=mnist evaluation=full selection=verified {RECIPE_THEN} model.latent_dim=16 trainer.max_steps=2800": (
        "mnist_vae_replace_seed0_2f01d57d"
    ),
    f"data=cifar10 regime=golden_ratio selection=farthest {RECIPE_THEN} {DRAWN_THEN} model.latent_dim=64 "
    "trainer.max_steps=2000": ("cifar10_vae_golden_ratio_seed0_f18170dd"),
    "data.num_train=500 num_synthetic=[100,200,300] +space@evaluation.spaces.dinov2=dinov2": (
        "digits_vae_replace_seed0_d9a8d0e3"
    ),
}


@pytest.mark.parametrize("typed", NAMES)
def test_the_earlier_name_is_the_one_that_version_0_1_gave(typed):
    composition.register()
    with initialize_config_dir(str(composition.config_folder()), version_base="1.3"):
        config = compose("config", overrides=typed.split(), return_hydra_config=True)
    assert composition.earlier_chain_name(config) == NAMES[typed]


@pytest.mark.parametrize("override", ["num_generations=3", "objective=final/fid", "name=x", "alarm=none"])
def test_free_settings_do_not_hide_the_earlier_folder(override):
    digests = [earlier_digest(composition.settings(compose_settings(*given))) for given in ([], [override])]
    assert digests[0] == digests[1] == "b14175cc"


def test_what_version_0_1_could_not_do_has_no_earlier_folder():
    config = composition.settings(compose_settings())
    off = {"_target_": "collapsar.models.plan.Plan", "gradient_clip_norm": None, "callbacks": []}
    assert earlier_digest({**config, "training": off}) == "b14175cc"
    assert earlier_digest({**config, "training": {**off, "gradient_clip_norm": 1.0}}) is None


@pytest.mark.parametrize(
    ("versions", "expected"),
    [({"collapsar": "0.1.0"}, True), ({"collapsar": "0.2.0"}, False), ({"collapsar": "1.0"}, False), ({}, False)],
    ids=str,
)
def test_an_earlier_folder_is_known_by_its_version(versions, expected):
    assert is_earlier(versions) is expected
