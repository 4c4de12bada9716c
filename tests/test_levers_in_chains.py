"""Levers in chains: each file in conf/lever trains each family, or is refused for it when it is composed."""

import pytest

from collapsar.config.composition import config_folder
from collapsar.foundations.errors import UsageError
from tiny_chains import NARROW, TINY, build_and_run, killed_and_whole

LEVERS = sorted(path.stem for path in (config_folder() / "lever").glob("*.yaml"))
OF_A_VAE = {"kl_warmup", "free_bits", "truncated_cross_entropy", "latent_mixture", "residual"}
SHORT = (*TINY, "tracking=none", "trainer.max_steps=8")


NOT_OF_A_FLOW = OF_A_VAE | {
    "input_noise", "fading_noise", "fewer_latents", "more_latents", "over_capacity", "under_capacity",
    "self_supervised_rotation", "self_supervised_contrastive",
}  # fmt: skip
REFUSED = {"vae": set(), "gan": OF_A_VAE, "flow": NOT_OF_A_FLOW}
LIKE_ANOTHER = {  # they turn what another lever turns, by another amount or in another way of the same library
    "group_norm", "layer_norm", "wider", "narrower", "over_capacity", "more_latents", "step_decay", "weight_decay",
    "strong_augmentation", "fading_noise", "self_supervised_contrastive", "warm_up",
}  # fmt: skip
NEEDED = {("sgd", "flow"): ["training.learning_rate_factor=0.1"]}  # a flow diverges at what suits a VAE


def is_refused(lever, model):
    return lever in REFUSED[model]


def slow(lever):
    """A lever whose way of going on after a kill another one shares."""
    return pytest.param(lever, marks=pytest.mark.slow)


def alone(lever, model):
    """A lever by itself; that those of the VAE train, test_pairs shows of many at once."""
    is_slow = (model == "vae" or lever in LIKE_ANOTHER) and not is_refused(lever, model)
    return pytest.param(lever, model, marks=[pytest.mark.slow] if is_slow else [])


@pytest.mark.parametrize(
    ("lever", "model"), [alone(lever, model) for model in ("vae", "gan", "flow") for lever in LEVERS]
)
def test_a_lever_trains_a_model_or_is_refused_when_composed(lever, model, tmp_path):
    overrides = (*SHORT, f"model={model}", *NARROW[model], f"lever=[{lever}]", *NEEDED.get((lever, model), []))
    if is_refused(lever, model):
        with pytest.raises(UsageError, match=r"(training|model)\."):
            build_and_run(tmp_path, *overrides)
        assert not list(tmp_path.iterdir())
    else:
        assert len(build_and_run(tmp_path, *overrides)) == 2


@pytest.mark.parametrize(
    "lever",
    [
        slow("warm_start"),
        "warm_start_with_optimizer",
        slow("early_stopping"),
        "early_stopping_on_real",
        "class_conditional",
        "latent_mixture",
        slow("self_supervised_rotation"),
        "self_supervised_contrastive",
    ],
)
def test_a_killed_chain_with_a_lever_ends_with_the_records_of_a_whole_one(lever, tmp_path, monkeypatch):
    overrides = (*SHORT, *NARROW["vae"], "num_generations=3", f"lever=[{lever}]")
    killed, whole = killed_and_whole(tmp_path, monkeypatch, *overrides)
    assert killed == whole


@pytest.mark.parametrize(
    "lever", [slow("warm_start_with_optimizer"), "early_stopping", slow("class_conditional"), "ema"]
)
def test_a_killed_flow_with_a_lever_ends_with_the_records_of_a_whole_one(lever, tmp_path, monkeypatch):
    overrides = (*SHORT, "model=flow", *NARROW["flow"], "num_generations=3", f"lever=[{lever}]")
    killed, whole = killed_and_whole(tmp_path, monkeypatch, *overrides)
    assert killed == whole


def test_real_samples_that_are_held_out_are_missing_from_the_first_pool(tmp_path):
    first, _ = build_and_run(tmp_path, *SHORT, "lever=[early_stopping_on_real]")
    assert first.pool["size"] == 180  # of 200


@pytest.mark.parametrize("body", ["conv", "sn_conv", "sn_residual"])
def test_a_critic_that_compares_images_goes_with_levers_of_networks_and_with_classes(body, tmp_path):
    levers = "lever=[deeper,wider,dropout,group_norm,input_noise,self_supervised_rotation,class_conditional]"
    compared = ("model=gan", *NARROW["gan"], f"model.body={body}", "model.deviation_group_size=8", levers)
    assert len(build_and_run(tmp_path, *SHORT, *compared)) == 2
