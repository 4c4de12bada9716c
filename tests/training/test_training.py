"""Training: every generation gets a model that was really trained, and a loss that breaks down is named."""

import pytest
import torch
from torch import nn

from collapsar.config import composition
from collapsar.data.pool import REAL, Part, Pool
from collapsar.foundations.errors import NonFiniteError, UsageError
from collapsar.foundations.samples import Samples
from collapsar.models.course import Player
from collapsar.models.learned import LearnedModel
from collapsar.models.vae.vae import VAE
from collapsar.training.callbacks import STEPS_BETWEEN_READINGS
from collapsar.training.train import Recipe, train
from tiny_chains import compose_settings


class Brittle(LearnedModel):
    """A model whose loss is 1, but for one step."""

    name = "brittle"

    def __init__(self, *, bad_step=None, bad_value=1.0):
        super().__init__(sample_shape=[1, 8, 8], latent_dim=1)
        self.weight = nn.Parameter(torch.zeros(()))
        self.bad_step, self.bad_value = bad_step, bad_value

    def decode(self, latents, generator, *, likelihood_spread):
        raise NotImplementedError

    def players(self):
        return [Player(module=self, losses=self.losses, learning_rate=1e-12)]

    def losses(self, batch, shared):
        value = self.bad_value if self.global_step == self.bad_step else 1.0
        return {"loss": self.weight + value}


def random_pool(num_samples):
    images = torch.randint(256, (num_samples, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Pool((Part(Samples(images), REAL),))


@pytest.fixture(scope="module")
def vae_recipes(tiny):
    """The recipes of model and trainer, and the plan, as the loop gets them from the configuration."""
    recipe = composition.build(compose_settings(*tiny, "tracking=none", "model.width=4")).parts.recipe
    return {"model": recipe.model, "trainer": recipe.trainer, "plan": recipe.plan}


@pytest.fixture(scope="module")
def train_vae(vae_recipes):
    def call(*, pool=None, seed=0, generation=0, on_steps=ignore_progress, **changes):
        recipe = Recipe(**{"batch_size": 8, **vae_recipes, **changes})
        return train(recipe, pool or random_pool(40), seed=seed, generation=generation, on_steps=on_steps)

    return call


def ignore_progress(epoch, steps):
    pass


def with_steps(trainer, max_steps):
    return lambda **arguments: trainer(**arguments, max_steps=max_steps)


def weights_of(training):
    return torch.cat([weight.detach().flatten() for weight in training.model.parameters()])


def test_the_trainer_takes_the_steps_it_is_given(train_vae, vae_recipes):
    training = train_vae(trainer=with_steps(vae_recipes["trainer"], 13))
    assert training.summary["steps"] == 13


def test_every_weight_moves_from_where_a_fresh_model_has_it(train_vae, vae_recipes):
    fresh = []

    def recipe():
        model = vae_recipes["model"]()
        fresh.append({name: weight.detach().clone() for name, weight in model.named_parameters()})
        return model

    training = train_vae(model=recipe)
    assert [name for name, weight in training.model.named_parameters() if torch.equal(weight, fresh[0][name])] == []


def test_a_second_generation_is_trained_as_long_as_the_first(train_vae):
    trainings = [train_vae(generation=generation) for generation in range(3)]
    assert [training.summary["steps"] for training in trainings] == [5, 5, 5]


def test_generations_have_models_of_their_own(train_vae):
    first, second = (train_vae(generation=generation) for generation in range(2))
    assert first.model is not second.model
    assert not torch.equal(weights_of(first), weights_of(second))


def test_the_same_seed_gives_the_same_weights_whatever_was_drawn_before(train_vae):
    first = train_vae()
    torch.rand(17)
    assert torch.equal(weights_of(train_vae()), weights_of(first))


def test_seed_one_gives_other_weights_than_seed_zero(train_vae):
    assert not torch.equal(weights_of(train_vae(seed=0)), weights_of(train_vae(seed=1)))


def test_training_leaves_the_global_generator_as_it_was(train_vae):
    state = torch.get_rng_state()
    train_vae()
    assert torch.equal(torch.get_rng_state(), state)


def test_training_leaves_the_pool_as_it_was(train_vae):
    pool = random_pool(40)
    train_vae(pool=pool)
    assert torch.equal(pool.concatenated(), random_pool(40).concatenated())


def test_the_trained_model_is_ready_to_sample_on_the_cpu(train_vae):
    model = train_vae().model
    assert not model.training
    assert model.device.type == "cpu"


def test_training_lowers_the_loss(train_vae, vae_recipes):
    curve = train_vae(trainer=with_steps(vae_recipes["trainer"], 60)).curve
    assert curve[-1]["loss"] < curve[0]["loss"]


def test_the_curve_has_a_reading_for_every_group_of_steps_and_the_rest(train_vae, vae_recipes):
    training = train_vae(trainer=with_steps(vae_recipes["trainer"], 2 * STEPS_BETWEEN_READINGS + 3))
    assert [reading["step"] for reading in training.curve] == [20, 40, 43]
    assert {"loss", "reconstruction", "kl"} <= training.summary.keys()
    assert training.summary["loss"] == training.curve[-1]["loss"]


def test_progress_is_told_up_to_the_last_step(train_vae, vae_recipes):
    told = []
    train_vae(trainer=with_steps(vae_recipes["trainer"], 25), on_steps=lambda epoch, steps: told.append(steps))
    assert told == [20, 25]


def test_a_checkpoint_gives_the_model_back_without_pickled_code(train_vae, tmp_path):
    training = train_vae()
    training.save(tmp_path / "model.ckpt")
    loaded = VAE.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    generator = torch.Generator()
    expected, samples = (model.sample(4, generator.manual_seed(0)).values for model in (training.model, loaded.eval()))
    assert torch.equal(samples, expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("bad_step", [0, 7, 19, 20, 23])
def test_a_loss_that_is_not_finite_names_generation_epoch_and_step(bad, bad_step, train_vae, vae_recipes):
    with pytest.raises(NonFiniteError) as caught:
        train_vae(
            model=lambda: Brittle(bad_step=bad_step, bad_value=bad),
            trainer=with_steps(vae_recipes["trainer"], 25),
            generation=4,
            pool=random_pool(24),  # three batches an epoch
        )
    assert f"loss is {bad} in generation 4, epoch {bad_step // 3}, step {bad_step}:" in str(caught.value)


def test_a_finite_loss_is_averaged_over_its_reading(train_vae):
    training = train_vae(model=lambda: Brittle(bad_step=2, bad_value=6.0))
    assert training.summary["loss"] == pytest.approx((4 * 1 + 6) / 5)


def test_a_batch_larger_than_the_pool_is_refused(train_vae):
    with pytest.raises(UsageError, match="between 1 and the pool's 4 samples: got 8"):
        train_vae(pool=random_pool(4))
