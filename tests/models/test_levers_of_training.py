"""Each lever of training acts: what changes is what its name says, and nothing else."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from lightning import Callback, Trainer
from torch import nn

from collapsar.data.pool import REAL, Part, Pool
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.foundations.seeding import derive_seed
from collapsar.models.analytic.analytic import Gaussian
from collapsar.models.course import Plateau, Player, WeightAverage
from collapsar.models.flow.flow import Flow
from collapsar.models.gan.gan import GAN, sliced_wasserstein
from collapsar.models.plan import DEFAULT_PLAN
from collapsar.models.vae.vae import VAE
from collapsar.training.train import Recipe, train
from tiny_models import FLOW_SETTINGS, GAN_SETTINGS, VAE_SETTINGS

NUM_STEPS = 12
VALIDATED = {"validation_fraction": 0.25, "validation_checks": 6}
MODELS = {
    "vae": partial(VAE, **VAE_SETTINGS),
    "gan": partial(GAN, **GAN_SETTINGS),
    "flow": partial(Flow, **FLOW_SETTINGS),
}


class Notes(Callback):
    """Notes something after each step, in a list that its copies share."""

    def __init__(self, note, kept):
        self.note, self.kept = note, kept

    def __deepcopy__(self, memo):
        return Notes(self.note, self.kept)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.kept.append(self.note(trainer, pl_module))


def images(num_images=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (num_images, 1, 8, 8), generator=generator, dtype=torch.uint8)


def fit(model="vae", *, note=None, max_steps=NUM_STEPS, values=None, held_out=None, start=None, generation=0, **plan):
    """A trained model, its training, and what was noted after each step."""
    kept = []
    trainer = partial(
        Trainer, accelerator="cpu", max_steps=max_steps, max_epochs=-1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        callbacks=[Notes(note, kept)] if note else None,
    )  # fmt: skip
    recipe = Recipe(model=MODELS.get(model, model), trainer=trainer, plan=replace(DEFAULT_PLAN, **plan), batch_size=16)
    pool = Pool((Part(Samples(images() if values is None else values), REAL),))
    training = train(
        recipe, pool, seed=0, generation=generation, on_steps=lambda *_: None, held_out=held_out, start=start
    )
    return training, kept


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def rate(trainer, _model):
    return trainer.optimizers[0].param_groups[0]["lr"]


# Learning rates and optimisers


def test_a_step_schedule_falls_by_its_factor_after_each_share_of_the_steps():
    _, rates = fit(note=rate, schedule="step", decay_factor=0.1, decay_every_fraction=0.5)
    assert rates == pytest.approx([1e-3] * 6 + [1e-4] * 6)


def test_a_plateau_multiplies_the_rate_when_the_score_has_not_fallen_for_its_patience():
    plateau = Plateau(decay_factor=0.5, patience=2)
    seen = []
    for score in (3.0, 2.0, 2.0, 2.5, 1.0, 1.5, 1.5):
        plateau.tell(score)
        seen.append(plateau.factor)
    assert seen == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]


def test_a_plateau_lowers_the_rate_of_a_model_that_gets_no_better():
    stuck = {"validation_fraction": 0.25, "validation_checks": 12, "learning_rate_factor": 1e-9}
    _, rates = fit(note=rate, schedule="plateau", decay_factor=0.5, plateau_patience=1, **stuck)
    assert rates[-1] < rates[0]


def test_a_factor_multiplies_every_learning_rate():
    _, rates = fit(note=rate, learning_rate_factor=0.1)
    assert rates == pytest.approx([1e-4] * NUM_STEPS)


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("nadam", torch.optim.NAdam),
        ("radam", torch.optim.RAdam),
        ("rmsprop", torch.optim.RMSprop),
        ("sgd", torch.optim.SGD),
    ],
)
def test_an_optimiser_is_torchs_of_that_name(name, cls):
    _, used = fit(note=lambda trainer, _: type(trainer.optimizers[0]), optimizer=name, max_steps=1)
    assert used == [cls]


def test_weight_decay_shrinks_weights_that_have_no_gradient():
    layer = nn.Linear(2, 2, bias=False)
    before = layer.weight.detach().clone()
    player, plan = Player(module=layer, losses=dict, learning_rate=0.1), replace(DEFAULT_PLAN, optimizer="adamw")
    optimizer = player.optimizer(plan, layer.parameters(), weight_decay=0.5, is_fused=False, capturable_on=None)
    layer.weight.grad = torch.zeros_like(layer.weight)
    optimizer.step()
    assert torch.allclose(layer.weight, before * 0.95)


# Averages


def test_an_average_of_weights_is_that_of_its_formula():
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(1.0)
    average = WeightAverage(layer, decay=0.15)
    layer.weight.data.fill_(2.0)
    average.follow()  # d = min(.15, 1/10)
    average.follow()  # d = min(.15, 2/11)
    average.exchange()
    first = 0.1 * 1.0 + 0.9 * 2.0
    assert layer.weight.item() == pytest.approx(0.15 * first + 0.85 * 2.0)


def test_an_exchange_twice_changes_nothing():
    layer = nn.Linear(3, 3)
    average = WeightAverage(layer, decay=0.9)
    layer.weight.data.fill_(2.0)
    average.exchange()
    average.exchange()
    assert bool((layer.weight == 2.0).all())


def test_a_vae_is_left_with_the_average_of_its_weights():
    seen = []
    averaged, _ = fit(note=lambda _, model: seen.append(weights(model)), average_decay=0.999)
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(0, 0, "train"))
        expected = weights(VAE(**VAE_SETTINGS))
    for n, present in enumerate(seen):
        share = min(0.999, (1 + n) / (10 + n))
        expected = share * expected + (1 - share) * present
    assert torch.allclose(weights(averaged.model), expected, atol=1e-6)


def test_a_gans_own_average_takes_the_plans_decay_and_its_critic_has_none():
    last = []
    training, _ = fit("gan", note=lambda _, model: last.append(weights(model.critic)), average_decay=0.9)
    assert torch.equal(weights(training.model.critic), last[-1])


# Early stopping


def test_early_stopping_ends_a_training_that_gets_no_better():
    training, _ = fit(**VALIDATED, early_stopping_patience=2, learning_rate_factor=300.0)
    assert training.summary["steps"] < NUM_STEPS


def test_early_stopping_keeps_the_weights_of_the_best_score():
    seen = {}
    training, _ = fit(
        note=lambda trainer, model: seen.update({trainer.global_step: weights(model)}),
        **VALIDATED, early_stopping_patience=2, learning_rate_factor=300.0,
    )  # fmt: skip
    best = int(training.summary["best_step"])
    assert best < training.summary["steps"]
    assert torch.equal(weights(training.model), seen[best])


def test_a_model_is_validated_as_often_as_the_plan_says():
    class Counts(Notes):
        def on_validation_end(self, trainer, pl_module):
            self.kept.append(trainer.global_step)

        def on_train_batch_end(self, *_):
            pass

        def __deepcopy__(self, memo):
            return Counts(self.note, self.kept)

    kept = []
    trainer = partial(
        Trainer, accelerator="cpu", max_steps=NUM_STEPS, max_epochs=-1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[Counts(None, kept)], num_sanity_val_steps=0,
    )  # fmt: skip
    recipe = Recipe(model=MODELS["vae"], trainer=trainer, plan=replace(DEFAULT_PLAN, **VALIDATED), batch_size=16)
    train(recipe, Pool((Part(Samples(images()), REAL),)), seed=0, generation=0, on_steps=lambda *_: None)
    assert kept == [2, 4, 6, 8, 10, 12]


def test_a_gan_is_validated_by_the_distance_of_its_samples():
    training, _ = fit("gan", **VALIDATED, early_stopping_patience=3)
    assert 0 < training.summary["best_score"] < 1


def test_validation_on_held_out_real_samples_leaves_the_whole_pool_to_train_on():
    black = torch.zeros(8, 1, 8, 8, dtype=torch.uint8)
    training, _ = fit(held_out=Samples(black), **VALIDATED, validate_on="real", early_stopping_patience=6)
    assert training.summary["epochs"] == NUM_STEPS // (64 // 16)


def test_a_score_on_held_out_real_samples_is_theirs():
    plan = VALIDATED | {"validate_on": "real", "early_stopping_patience": 6, "learning_rate_factor": 10.0}
    black, noise = torch.zeros(64, 1, 8, 8, dtype=torch.uint8), images(8)
    scores = [
        fit(values=black, held_out=Samples(held_out), **plan)[0].summary["best_score"] for held_out in (black, noise)
    ]
    assert scores[0] < scores[1]


def test_validating_changes_nothing_of_the_training():
    plain, _ = fit(validation_fraction=0.25)
    often, _ = fit(**VALIDATED)
    assert torch.equal(weights(plain.model), weights(often.model))


def test_the_distance_is_zero_between_equal_sets_and_grows_with_a_shift():
    torch.manual_seed(0)
    first = torch.rand(100, 5)
    near, far = sliced_wasserstein(first, first + 0.1), sliced_wasserstein(first, first + 1.0)
    assert sliced_wasserstein(first, first.flip(0)).item() < 1e-6  # a product rounds rows in another order differently
    assert near < far


def test_the_distance_of_a_shift_is_its_projection_on_a_line():
    torch.manual_seed(0)
    first, shift = torch.rand(50, 4), torch.tensor([3.0, 0.0, 0.0, 0.0])
    assert sliced_wasserstein(first, first + shift).item() == pytest.approx(3 / 2, rel=0.1)  # 3 / sqrt(4)


# Losses of the VAE


def vae_losses(*, progress=0.0, likelihood="bernoulli", **plan):
    torch.manual_seed(0)
    model = VAE(**VAE_SETTINGS | {"likelihood": likelihood})
    model.plan = replace(DEFAULT_PLAN, **plan)
    if progress:
        model._course = type("Course", (), {"progress": progress})()
    torch.manual_seed(1)
    return {name: loss.item() for name, loss in model.losses(Samples(images()), None).items()}


def test_the_weight_of_the_kl_term_rises_from_nothing():
    plain = vae_losses()
    for progress, share in ((1e-9, 0.0), (0.25, 0.5), (0.5, 1.0), (0.9, 1.0)):
        warmed = vae_losses(progress=progress, kl_warmup_fraction=0.5)
        assert warmed["loss"] == pytest.approx(plain["reconstruction"] + share * plain["kl"], rel=1e-5)


def test_free_bits_charge_each_latent_at_least_that_much():
    free = vae_losses(free_bits=2.0)
    assert free["loss"] == pytest.approx(free["reconstruction"] + 2.0 * VAE_SETTINGS["latent_dim"], rel=1e-5)


def test_pixels_that_are_certain_enough_are_left_out():
    assert vae_losses(confidence_cap=1e-6)["reconstruction"] == 0
    assert 0 < vae_losses(confidence_cap=0.5)["reconstruction"] < vae_losses()["reconstruction"]


def test_a_cap_on_confidence_needs_probabilities():
    with pytest.raises(UsageError, match=r"training.confidence_cap needs model.likelihood=bernoulli"):
        VAE(**VAE_SETTINGS | {"likelihood": "gaussian"}).check_plan(replace(DEFAULT_PLAN, confidence_cap=0.9))


# Noise and augmentation


def test_noise_has_its_standard_deviation_and_fades():
    model = VAE(**VAE_SETTINGS)
    model.plan = replace(DEFAULT_PLAN, noise_sd=0.2, noise_schedule="linear")
    model._course = type("Course", (), {"progress": 0.75})()
    grey = torch.full((500, 1, 8, 8), 0.5)
    assert (model.noised(grey) - grey).std().item() == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize("model", ["vae", "gan", "flow"])
def test_augmentation_changes_what_is_learnt_from_and_not_the_pool(model):
    values = images()
    before = values.clone()
    plain, _ = fit(model, values=values)
    augmented, _ = fit(model, values=values, augmentation=["translation"])
    assert torch.equal(values, before)
    assert not torch.equal(weights(plain.model), weights(augmented.model))


@pytest.mark.parametrize("model", ["vae", "gan"])
def test_validation_sees_images_without_noise_and_augmentation(model):
    learner = MODELS[model]()
    learner.plan = replace(DEFAULT_PLAN, noise_sd=0.5, augmentation=["cutout"])
    learner.eval()
    grey = torch.rand(4, 1, 8, 8)
    assert torch.equal(learner.noised(learner.augmented(grey)), grey)


# Warm starts


def test_a_warm_start_begins_with_the_last_weights(tmp_path):
    first, _ = fit()
    first.save(tmp_path / "model.ckpt")
    begun = []
    fit(start=tmp_path / "model.ckpt", warm_start="weights", learning_rate_factor=1e-12, max_steps=1, generation=1,
        note=lambda _, model: begun.append(weights(model)))  # fmt: skip
    assert torch.allclose(begun[0], weights(first.model), atol=1e-8)


def test_a_warm_start_with_the_optimiser_goes_on_with_its_moments(tmp_path):
    first, _ = fit(warm_start="weights_and_optimizer")
    first.save(tmp_path / "model.ckpt")

    def num_updates(trainer, _model):
        return float(next(iter(trainer.optimizers[0].state.values()))["step"])

    _, counted = fit(start=tmp_path / "model.ckpt", warm_start="weights_and_optimizer", note=num_updates, generation=1)
    assert counted[0] == NUM_STEPS + 1


def test_a_warm_start_takes_the_learning_rate_of_the_schedule_and_not_the_last_one(tmp_path):
    first, _ = fit(warm_start="weights_and_optimizer", schedule="linear")
    first.save(tmp_path / "model.ckpt")
    _, rates = fit(start=tmp_path / "model.ckpt", warm_start="weights_and_optimizer", note=rate, generation=1)
    assert rates == pytest.approx([1e-3] * NUM_STEPS)


def test_a_missing_start_is_refused_in_one_line(tmp_path):
    with pytest.raises(UsageError, match=r"cannot be begun with \(FileNotFoundError\)"):
        fit(start=tmp_path / "model.ckpt", warm_start="weights")


# What does not go together


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"early_stopping_patience": 2}, "training.early_stopping_patience does nothing without training.validation"),
        ({"noise_schedule": "linear"}, "training.noise_schedule does nothing without training.noise_sd"),
        ({"schedule": "step"}, "training.schedule=step and training.decay_every_fraction go together"),
        ({"schedule": "plateau"}, "training.schedule=plateau and training.plateau_patience go together"),
        ({"validate_on": "real"}, "training.validate_on does nothing without training.validation_fraction"),
        ({"cuda_graphs": True, "optimizer": "sgd"}, "training.cuda_graphs=true does not go with training.optimizer"),
        ({"compiled": True, "optimizer": "sgd"}, "training.compiled=true needs steps that are CUDA graphs"),
        ({"compiled": True, "cuda_graphs": False}, "training.compiled=true needs steps that are CUDA graphs"),
        ({"weight_decay": -1.0}, "training.weight_decay must not be negative, or be null: got -1.0"),
        ({"validation_checks": 0, "validation_fraction": 0.1}, "training.validation_checks must be at least 1"),
        ({"noise_sd": 0.0}, "training.noise_sd must be above 0, or be null: got 0.0"),
    ],
)
def test_a_plan_that_does_nothing_or_is_out_of_range_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        replace(DEFAULT_PLAN, **changes)


@pytest.mark.parametrize("key", ["kl_warmup_fraction", "free_bits", "confidence_cap"])
@pytest.mark.parametrize("model", ["gan", "flow"])
def test_a_lever_of_the_vae_is_refused_for_another_model(model, key):
    with pytest.raises(UsageError, match=f"training.{key} does nothing to model {model}"):
        MODELS[model]().check_plan(replace(DEFAULT_PLAN, **{key: 0.5}))


def test_noise_on_what_is_seen_is_refused_for_a_flow_which_sees_noise_anyway():
    with pytest.raises(UsageError, match=r"training.noise_sd does nothing to model flow"):
        MODELS["flow"]().check_plan(replace(DEFAULT_PLAN, noise_sd=0.1))


def test_a_lever_of_training_is_refused_for_a_model_that_a_formula_fits():
    gaussian = Gaussian(sample_shape=[2], covariance="full", variance="unbiased")
    with pytest.raises(UsageError, match="acts on models that are trained in steps, and gaussian is fitted"):
        gaussian.check_plan(replace(DEFAULT_PLAN, gradient_clip_norm=1.0))
