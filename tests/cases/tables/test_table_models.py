"""Models of rows: the likelihood of mixed columns, draws of categories, and chains on tables."""

import json

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Normal

from collapsar.cases.tables.table_models import Heads, TableGAN, TableVAE
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.models.bias import ScaledLatents, TemperedLikelihood
from tiny_chains import TINY, build_and_run, killed_and_whole
from tiny_models import SWITCHED_OFF, VAE_SWITCHED_OFF

BLOCKS = [["number", 0, 1], ["flag", 1, 2], ["number", 2, 3], ["choice", 3, 6]]
NUM_VALUES = 6
VAE_SETTINGS = {
    "sample_shape": [NUM_VALUES], "blocks": BLOCKS, "latent_dim": 2, "width": 8, "beta": 1.0, "number_sd": None,
    "sample_from": "likelihood", "learning_rate": 1e-3, **VAE_SWITCHED_OFF,
}  # fmt: skip
GAN_SETTINGS = {
    "sample_shape": [NUM_VALUES], "blocks": BLOCKS, "latent_dim": 2, "generator_width": 8, "critic_width": 8,
    "temperature": 0.5, "loss": "wgan_gp", "has_spectral_norm": True, "gradient_penalty": 10.0, "critic_steps": 1,
    "ema_decay": 0.9, "generator_learning_rate": 1e-3, "critic_learning_rate": 1e-3, "adam_betas": [0.5, 0.9],
    **SWITCHED_OFF,
}  # fmt: skip
MODELS = {"table_vae": (TableVAE, VAE_SETTINGS), "table_gan": (TableGAN, GAN_SETTINGS)}
every_model = pytest.mark.parametrize("name", MODELS)
SHORT = (
    *[override for override in TINY if not override.startswith(("judge.", "data."))],
    "data=breast_cancer",
    "tracking=none",
    "evaluation.metrics=[frechet]",
    "evaluation.table.task.num_trees=5",
)
slow = pytest.mark.slow


def make(name, **changes):
    model, settings = MODELS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return model(**{**settings, **changes})


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def outputs(num_rows, seed=0):
    return torch.randn(num_rows, NUM_VALUES, generator=generator(seed))


def rows():
    return torch.tensor([[0.5, 0.0, -1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 2.0, 0.0, 0.0, 1.0]])


def same(row):
    """A hundred thousand times the same outputs."""
    return torch.tensor([row]).repeat(100_000, 1)


# The likelihood


def test_the_likelihood_is_that_of_torch_distributions_without_the_number_that_is_missing():
    given, log_sd = outputs(2), torch.tensor([0.3, -0.2])
    ours = -Heads(NUM_VALUES, BLOCKS).negative_log_likelihood(given, values=rows(), log_sd=log_sd)
    numbers = Normal(given[:, [0, 2]], log_sd.exp()).log_prob(rows()[:, [0, 2]])
    numbers[1, 0] = 0.0
    flags = Bernoulli(logits=given[:, 1]).log_prob(rows()[:, 1])
    choices = Categorical(logits=given[:, 3:]).log_prob(rows()[:, 3:].argmax(1))
    assert torch.allclose(ours, numbers.sum(1) + flags + choices, atol=1e-5)


def test_without_blocks_every_value_is_a_number():
    heads = Heads(3, None)
    assert heads.numbers.tolist() == [0, 1, 2]
    assert not heads.choices
    assert not len(heads.flags)


def test_draws_have_the_probabilities_of_the_outputs():
    drawn = Heads(NUM_VALUES, BLOCKS).drawn(
        same([0.5, 1.0, -1.0, 0.0, 1.0, 2.0]), log_sd=torch.tensor([0.0, 0.7]), spread=1.0, generator=generator()
    )
    assert drawn[:, 1].mean().item() == pytest.approx(torch.tensor(1.0).sigmoid().item(), abs=0.01)
    assert drawn[:, 3:].mean(0).tolist() == pytest.approx(torch.tensor([0.0, 1.0, 2.0]).softmax(0).tolist(), abs=0.01)
    assert (drawn[:, 2].mean().item(), drawn[:, 2].std().item()) == pytest.approx((-1.0, torch.e**0.7), abs=0.03)


def test_a_missing_number_is_drawn_as_nothing():
    drawn = Heads(NUM_VALUES, BLOCKS).drawn(outputs(1000), log_sd=torch.zeros(2), spread=1.0, generator=generator())
    assert (drawn[drawn[:, 1] == 1, 0] == 0).all()
    assert (drawn[drawn[:, 1] == 0, 0] != 0).all()


def test_a_spread_below_1_narrows_numbers_and_sharpens_categories():
    narrowed = Heads(NUM_VALUES, BLOCKS).drawn(
        same([0.0, -2.0, 0.0, 0.0, 1.0, 2.0]), log_sd=torch.zeros(2), spread=0.25, generator=generator()
    )
    assert narrowed[:, 2].std().item() == pytest.approx(0.5, abs=0.01)
    assert narrowed[:, 3:].mean(0).tolist() == pytest.approx(
        torch.tensor([0.0, 4.0, 8.0]).softmax(0).tolist(), abs=0.01
    )


def test_relaxed_rows_are_draws_through_which_gradients_go_to_every_category():
    given = outputs(500).requires_grad_()
    uniform = torch.rand(given.shape, generator=generator())
    relaxed = Heads(NUM_VALUES, BLOCKS).relaxed(given, temperature=0.5, uniform=uniform)
    assert torch.allclose(relaxed[:, 3:].sum(1), torch.ones(500))
    assert torch.allclose(relaxed[:, 3:].max(1).values, torch.ones(500))
    relaxed[:, 3].sum().backward()
    assert given.grad[:, 3:].abs().sum(0).min() > 0
    assert torch.allclose(given.grad[:, 3:].sum(1), torch.zeros(500), atol=1e-5)  # of a softmax


# Models


def test_a_vae_learns_the_standard_deviation_of_each_number():
    model = make("table_vae", sample_shape=[2], blocks=None, beta=0.0)
    values = torch.randn(4000, 2, generator=generator()) * torch.tensor([1.0, 0.2])
    zero = torch.zeros_like(values)
    optimizer = torch.optim.Adam([model.log_sd], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        model.negative_log_likelihood(zero, values=values).backward()
        optimizer.step()
    assert model.log_sd.exp().tolist() == pytest.approx([1.0, 0.2], rel=0.05)


def test_a_standard_deviation_that_is_given_is_not_learnt():
    assert not make("table_vae", number_sd=0.1).log_sd.requires_grad


@every_model
@pytest.mark.parametrize("num_classes", [None, 3])
def test_a_model_is_loaded_from_plain_hyperparameters(name, num_classes, tmp_path):
    model = make(name, num_classes=num_classes).eval()
    state = {
        "state_dict": model.state_dict(),
        "hyper_parameters": dict(model.hparams),
        "pytorch-lightning_version": "2",
    }
    torch.save(state, tmp_path / "model.ckpt")
    assert json.loads(json.dumps(dict(model.hparams))) == dict(model.hparams)
    loaded = type(model).load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True).eval()
    drawn, again = (one.sample(50, generator()) for one in (model, loaded))
    assert torch.equal(drawn.values, again.values)


@every_model
def test_the_same_generator_draws_the_same_rows(name):
    model = make(name).eval()
    assert model.sample(10, generator()).values.shape == (10, NUM_VALUES)
    assert torch.equal(model.sample(10, generator()).values, model.sample(10, generator()).values)


def test_the_mode_of_a_vae_is_the_same_for_the_same_latents():
    model = make("table_vae", sample_from="mean").eval()
    latents = torch.randn(5, 2, generator=generator())
    assert torch.equal(model.render(latents, generator(0)), model.render(latents, generator(1)))


def test_tempering_the_mode_of_a_vae_is_refused():
    with pytest.raises(UsageError, match=r"set model.sample_from=likelihood"):
        make("table_vae", sample_from="mean").check_bias(TemperedLikelihood(spread=0.5))


def test_narrowed_latents_bring_rows_nearer_together():
    model = make("table_vae", sample_from="mean").eval()
    wide, narrow = (model.sample(500, generator(), bias=ScaledLatents(spread=spread)) for spread in (1.0, 0.01))
    assert narrow.values[:, 2].std() < wide.values[:, 2].std()


def test_a_gan_says_how_real_rows_are():
    assert make("table_gan").eval().realism(Samples(rows())).shape == (2,)


# Chains


@every_model
@pytest.mark.parametrize("condition", ["null", "2"])
def test_rows_are_labelled_with_their_targets(name, condition, tmp_path):
    build_and_run(tmp_path, *SHORT, f"model={name}", f"model.num_classes={condition}", "num_generations=1")
    (line,) = (json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines())
    assert line["labels_from"] == "row"


@pytest.mark.parametrize(
    "model", ["table_vae", "table_gan", pytest.param("flow", marks=slow), pytest.param("gaussian", marks=slow), "kde"]
)
def test_a_killed_chain_on_a_table_ends_with_the_records_of_a_whole_one(model, tmp_path, monkeypatch):
    overrides = (*SHORT, f"model={model}", "num_generations=3", "regime=accumulate")
    killed, whole = killed_and_whole(tmp_path, monkeypatch, *overrides)
    assert killed == whole


@slow  # in CI, test_combinations has each of them with each model and each data
@pytest.mark.parametrize("cause", ["long_tail", "few_samples", "duplicated_samples", "label_noise", "biased_subset"])
def test_a_cause_befalls_a_table(cause, tmp_path):
    assert len(build_and_run(tmp_path, *SHORT, "model=table_vae", f"cause=[{cause}]")) == 2


@slow  # in CI, test_combinations has each of them with each model and each data
@pytest.mark.parametrize("correction", ["optimal_transport", "nearest_mean", "extrapolation", "partial_samples"])
def test_a_correction_moves_rows(correction, tmp_path):
    few = ["correction.num_anchors=100", "correction.batch_size=50"] if correction == "optimal_transport" else []
    few = ["correction.num_means=2"] if correction == "nearest_mean" else few
    assert len(build_and_run(tmp_path, *SHORT, "model=table_vae", f"correction={correction}", *few)) == 2


LEVERS = ["input_noise", "kl_warmup", "free_bits", "latent_mixture", "warm_start", "early_stopping", "ema", "dropout"]
OF_IMAGES = ["augmentation", "truncated_cross_entropy", "self_supervised_rotation", "residual"]


@pytest.mark.parametrize("lever", LEVERS)
def test_a_lever_trains_a_vae_of_rows(lever, tmp_path):
    records = build_and_run(tmp_path, *SHORT, "model=table_vae", f"lever=[{lever}]", "evaluation.table=null")
    assert len(records) == 2


@pytest.mark.parametrize("lever", OF_IMAGES)
def test_a_lever_of_images_is_refused(lever, tmp_path):
    with pytest.raises(UsageError, match=r"(training|model)\."):
        build_and_run(tmp_path, *SHORT, "model=table_vae", f"lever=[{lever}]")
