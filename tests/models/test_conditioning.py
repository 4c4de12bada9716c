"""Conditional models: the classes are those of the pool, samples carry them, and show what they carry."""

from functools import partial

import pytest
import torch

from collapsar.config import composition
from collapsar.data.pool import REAL, Part, Pool
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import UNLABELLED, Samples
from collapsar.judging.spaces.stick import StickSpace
from collapsar.models.conditioning import Condition, check_classes
from collapsar.models.flow.flow import Flow
from collapsar.models.gan.gan import GAN
from collapsar.models.vae.vae import VAE
from collapsar.training.train import train
from tiny_chains import compose_settings
from tiny_models import FLOW_SETTINGS, GAN_SETTINGS, VAE_SETTINGS

NUM_CLASSES = 3
MODELS = {
    "vae": partial(VAE, **VAE_SETTINGS),
    "gan": partial(GAN, **GAN_SETTINGS),
    "flow": partial(Flow, **FLOW_SETTINGS),
}
every_model = pytest.mark.parametrize("family", MODELS)


def conditional(family, **changes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS[family](num_classes=NUM_CLASSES, **changes).eval()
        for parameter in model.parameters():  # or layers that begin at zero would hide the class
            parameter.data.add_(0.05 * torch.randn_like(parameter))
        return model


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def shares_of(labels, weights=None):
    condition = Condition(NUM_CLASSES)
    condition.learn(None if labels is None else torch.tensor(labels), weights=weights)
    return condition.shares.tolist()


def test_shares_are_those_of_the_labels():
    assert shares_of([0, 0, 0, 2]) == [0.75, 0.0, 0.25]


def test_shares_count_labels_with_their_weights():
    weights = torch.tensor([0.1, 0.1, 0.8], dtype=torch.float64)
    assert shares_of([0, 0, 1], weights=weights) == pytest.approx([0.2, 0.8, 0.0])


def test_unknown_labels_have_no_share():
    assert shares_of([0, UNLABELLED, UNLABELLED, 1]) == [0.5, 0.5, 0.0]


@pytest.mark.parametrize("labels", [None, [UNLABELLED, UNLABELLED]], ids=str)
def test_a_pool_without_labels_is_refused(labels):
    with pytest.raises(UsageError, match=r"num_classes=3 needs a pool with labels, .* set model.num_classes=null"):
        shares_of(labels)


def test_a_label_that_is_too_high_is_refused():
    with pytest.raises(UsageError, match=r"below model.num_classes=3: got 3"):
        shares_of([0, 3])


def test_labels_of_a_pool_go_through_its_parts_in_order():
    values = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    parts = (Part(Samples(values, torch.tensor([4, 5])), REAL), Part(Samples(values), 0))
    assert Pool(parts).labels.tolist() == [4, 5, UNLABELLED, UNLABELLED]
    assert Pool(parts[1:]).labels is None


@every_model
def test_classes_are_drawn_in_the_proportions_of_the_pool(family):
    model = conditional(family)
    model.condition.learn(torch.tensor([0] * 80 + [1] * 20), weights=None)
    counts = model.sample(2000, generator()).labels.bincount(minlength=NUM_CLASSES)
    assert counts[2] == 0
    assert counts[1] == pytest.approx(400, abs=4 * 18)


@every_model
def test_the_class_changes_the_image(family):
    model = conditional(family)
    latents = torch.zeros(2, model.latent_dim)
    images = model.decode(latents, generator(), likelihood_spread=1.0, labels=torch.tensor([0, 1]))
    assert not torch.allclose(images[0], images[1])


def test_a_generator_gets_latents_and_the_class_as_one_number():
    generator_network = conditional("gan").generator
    seen = []
    generator_network.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    latents = torch.randn(2, GAN_SETTINGS["latent_dim"])
    generator_network(latents, torch.tensor([1, NUM_CLASSES]))
    assert torch.equal(seen[0], torch.cat([latents, torch.tensor([[0.0, 2, 0, 0], [0, 0, 0, 2]])], dim=1))


def test_images_of_one_class_vary_nearly_as_much_as_without_classes_before_any_training():
    """Else batch norm cannot keep the generator from ignoring its latents."""

    def variance_within(model, labels):
        with torch.no_grad():
            latents = torch.randn(256, model.latent_dim, generator=generator())
            outputs = model.generator(latents) if labels is None else model.generator(latents, labels)
        return outputs[::NUM_CLASSES].var(0).mean() / outputs.var(0).mean()

    wide = {"latent_dim": 32, "generator_width": 16}
    model = conditional("gan", **wide).train()
    assert variance_within(model, torch.arange(256) % NUM_CLASSES) > 0.9


@every_model
def test_a_film_strip_has_the_same_classes_in_every_generation(family):
    model = conditional(family)
    before = model.film_strip(6, latents=generator(1), noise=generator(2))
    model.condition.learn(torch.tensor([2, 2]), weights=None)
    assert torch.equal(model.film_strip(6, latents=generator(1), noise=generator(2)), before)


@every_model
def test_a_model_without_classes_draws_what_it_drew_before_and_has_no_labels(family):
    model = MODELS[family]().eval()
    samples = model.sample(5, generator())
    assert samples.labels is None
    assert torch.equal(
        samples.values, model.render(torch.randn(5, model.latent_dim, generator=generator()), generator(1))
    )


def test_the_critic_judges_an_image_by_its_class():
    model = conditional("gan")
    images = torch.randint(256, (1, 1, 8, 8), generator=generator(), dtype=torch.uint8).repeat(2, 1, 1, 1)
    same, other = (model.realism(Samples(images, torch.tensor(labels))) for labels in ([0, 0], [0, 1]))
    assert torch.allclose(same[0], same[1])
    assert not torch.allclose(other[0], other[1])


def test_the_projection_is_an_inner_product_with_the_features():
    critic = conditional("gan").critic
    images, labels = torch.rand(2, 1, 8, 8), torch.tensor([0, 2])
    features = critic.features(images)
    expected = critic.head(features) + (critic.vectors.weight[labels] * features).sum(1, keepdim=True)
    assert torch.allclose(critic(images, labels), expected)


@every_model
def test_samples_of_no_known_class_have_a_class_of_their_own(family):
    model = conditional(family)
    batch = Samples(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, UNLABELLED, 2]))
    assert model.classes_of(batch).tolist() == [0, NUM_CLASSES, 2]
    assert model.classes_of(Samples(batch.values)).tolist() == [NUM_CLASSES] * 3


@every_model
def test_a_checkpoint_holds_the_shares(family, tmp_path):
    pool = Pool((Part(Samples(torch.zeros(40, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 1, 1] * 10)), REAL),))
    training = trained(pool, f"model={family}", "model.num_classes=10", "batch_size=8", "trainer.max_steps=2")
    training.save(tmp_path / "model.ckpt")
    loaded = type(training.model).load_from_checkpoint(tmp_path / "model.ckpt", map_location="cpu", weights_only=True)
    assert loaded.condition.shares.tolist() == [0.25, 0.75, *[0.0] * 8]
    expected, again = (model.sample(5, generator()) for model in (training.model, loaded))
    assert torch.equal(again.values, expected.values)
    assert torch.equal(again.labels, expected.labels)


@pytest.mark.parametrize(
    ("of_data", "advice"), [(10, "set model.num_classes=10, or null"), (0, "set model.num_classes=null")]
)
def test_other_classes_than_the_data_have_are_refused(of_data, advice):
    with pytest.raises(UsageError, match=f"which is {of_data}: got 3; {advice}"):
        check_classes(3, of_data=of_data)


def test_other_classes_are_refused_when_an_experiment_is_composed():
    with pytest.raises(UsageError, match=r"model\.num_classes must be the data's, which is 10: got 7"):
        composition.build(compose_settings("model.num_classes=7", "tracking=none"))


def trained(pool, *overrides):
    settings = compose_settings("tracking=none", "trainer.accelerator=cpu", "evaluation.accelerator=cpu", *overrides)
    return train(composition.build(settings).parts.recipe, pool, seed=0, generation=0, on_steps=lambda *_: None)


def share_that_shows_its_class(tmp_path, *overrides):
    """Share of a trained model's samples that the measuring stick takes for the class they were drawn for."""
    experiment = composition.build(compose_settings("lever=[class_conditional]", *overrides))
    real = experiment.data.load()
    samples = trained(Pool((Part(real.train, REAL),)), "lever=[class_conditional]", *overrides).model.sample(
        500, generator()
    )
    stick = experiment.evaluation.spaces["classifier"]
    assert isinstance(stick, StickSpace)
    space = stick.fit(real, device=torch.device("cpu"), cache_dir=tmp_path)
    return (space.classify(space.extract(samples.values)).argmax(1) == samples.labels).float().mean()


@pytest.mark.parametrize(("family", "num_steps"), [("vae", 200), ("gan", 400)])
def test_samples_show_the_class_they_were_drawn_for(family, num_steps, tmp_path):
    assert share_that_shows_its_class(tmp_path, f"model={family}", f"trainer.max_steps={num_steps}") > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("body", ["vae_patch", "vae_mlp", "vae_residual", "gan_sn_conv", "gan_sn_residual"])
def test_samples_of_every_body_show_the_class_they_were_drawn_for(body, tmp_path):
    assert share_that_shows_its_class(tmp_path, f"model={body}") > 0.9
