"""A plain Lightning Trainer trains our models as a chain does, on batches in any form."""

from pathlib import Path

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples, as_samples
from collapsar.models.flow.flow import Flow
from collapsar.models.gan.gan import GAN
from collapsar.models.plan import Plan
from collapsar.models.vae.vae import VAE

SHAPE = (1, 8, 8)
MODELS = {
    "vae": lambda **changes: VAE(sample_shape=SHAPE, width=4, latent_dim=3, **changes),
    "gan": lambda **changes: GAN(sample_shape=SHAPE, generator_width=4, critic_width=4, latent_dim=3, **changes),
    "flow": lambda **changes: Flow(sample_shape=SHAPE, width=4, num_steps=2, **changes),
}
IMAGES = torch.rand(48, *SHAPE, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(48) % 3


def make(name="vae", **changes):
    torch.manual_seed(0)
    return MODELS[name](**changes)


def loader(*tensors, batch_size=16):
    return DataLoader(TensorDataset(*tensors), batch_size=batch_size)


def trainer(folder, *callbacks, **settings):
    return Trainer(
        **{"max_epochs": 2, **settings},
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=bool(callbacks),
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def fit(model, folder, batches, *, validation=None, **settings):
    torch.manual_seed(1)
    made = trainer(folder, **settings)
    made.fit(model, batches, validation)
    return made


def weights(model):
    return [weight.detach().clone() for weight in model.parameters()]


def are_equal(first, second):
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_values_with_labels_train_and_validate_a_model(name, tmp_path):
    model = make(name)
    before = weights(model)
    done = fit(model, tmp_path, loader(IMAGES, LABELS), validation=loader(IMAGES, LABELS))
    assert done.global_step == 6
    assert not any(torch.equal(one, other) for one, other in zip(before, weights(model), strict=True) if one.ndim > 1)
    assert f"validation/{model.watched}" in done.callback_metrics
    samples = model.sample(5)
    assert (samples.values.dtype, samples.shape) == (torch.uint8, SHAPE)


@pytest.mark.parametrize("form", ["values", "uint8", "samples"])
def test_every_form_of_a_batch_gives_the_same_training(form, tmp_path):
    levels = (IMAGES * 255).round().to(torch.uint8)
    forms = {
        "values": loader(levels.float() / 255),
        "uint8": loader(levels, LABELS),
        "samples": DataLoader([Samples(part) for part in levels.split(16)], batch_size=None),
    }
    expected, found = make(), make()
    fit(expected, tmp_path, loader(levels))
    fit(found, tmp_path, forms[form])
    assert are_equal(weights(found), weights(expected))


@pytest.mark.parametrize(
    ("batch", "text"),
    [
        (torch.rand(4, 1, 9, 9), r"sample_shape, \[1, 8, 8\]: got \[1, 9, 9\]"),
        (2 * torch.ones(4, *SHAPE) - 3, "uint8, or floats from 0 to 1: got torch.float32 from -1 to -1"),
        (torch.ones(4, *SHAPE, dtype=torch.int64), "uint8, or floats from 0 to 1: got torch.int64"),
        ((torch.rand(4, *SHAPE), torch.rand(4)), "one whole number for each sample: got torch.float32"),
        ((torch.rand(4, *SHAPE), torch.tensor([0, 1, 2, 3])), "below model.num_classes=3: got 3"),
        ({"image": torch.rand(4, *SHAPE)}, r"samples with their labels: got \(dict\)"),
        ((torch.rand(4, *SHAPE),) * 3, r"samples with their labels: got \(Tensor, Tensor, Tensor\)"),
    ],
)
def test_a_wrong_batch_is_refused_in_one_line(batch, text):
    with pytest.raises(UsageError, match=text):
        as_samples(batch, shape=SHAPE, num_classes=3)


def test_vectors_become_float32():
    assert as_samples(torch.zeros(3, 2, dtype=torch.float64), shape=(2,)).values.dtype == torch.float32


def test_a_conditional_model_learns_how_often_each_class_is_drawn(tmp_path):
    model = make(num_classes=4)
    fit(model, tmp_path, loader(IMAGES, torch.tensor([0] * 24 + [1] * 24)))
    assert model.condition.shares.tolist() == [0.5, 0.5, 0.0, 0.0]


def test_a_conditional_model_without_labels_is_refused(tmp_path):
    with pytest.raises(UsageError, match="needs a pool with labels"):
        fit(make(num_classes=3), tmp_path, loader(IMAGES))


def test_a_mixture_of_latents_is_fitted(tmp_path):
    model = make(latent_components=2)
    fit(model, tmp_path, loader(IMAGES))
    assert model.mixture.means.abs().sum() > 0


def test_a_schedule_and_an_average_act_as_in_a_chain(tmp_path):
    plain, planned = make(), make()
    planned.plan = Plan(schedule="linear", average_decay=0.5)
    fit(plain, tmp_path, loader(IMAGES))
    fit(planned, tmp_path, loader(IMAGES))
    assert not are_equal(weights(plain), weights(planned))


def test_a_plateau_follows_the_validation_of_the_trainer(tmp_path):
    model = make()
    model.plan = Plan(
        schedule="plateau", plateau_patience=1, decay_factor=0.5, validation_fraction=0.1, validation_checks=1
    )
    with pytest.raises(UsageError, match="validation_fraction of the plan needs validation batches"):
        fit(model, tmp_path, loader(IMAGES))
    fit(model, tmp_path, loader(IMAGES), validation=loader(IMAGES))


@pytest.mark.parametrize(
    ("plan", "settings", "text"),
    [
        ({"warm_start": "weights"}, {}, "warm_start of the plan is carried out in chains only"),
        ({"compiled": True}, {}, "compiled of the plan is carried out in chains only"),
        ({"schedule": "linear"}, {"max_epochs": -1, "max_time": "00:00:01:00"}, "set max_epochs or max_steps"),
        ({}, {"precision": "bf16-true"}, "precision of the Trainer must be one of 32-true, bf16-mixed, 16-mixed"),
    ],
)
def test_what_a_trainer_cannot_do_is_refused(plan, settings, text, tmp_path):
    model = make()
    model.plan = Plan(**plan)
    with pytest.raises(UsageError, match=text):
        fit(model, tmp_path, loader(IMAGES), **settings)


def test_in_half_precision_samples_are_decoded_in_it(tmp_path):
    model = make()
    fit(model, tmp_path, loader(IMAGES), precision="bf16-mixed")
    assert model.autocast_dtype == torch.bfloat16


@pytest.mark.parametrize("name", MODELS)
def test_a_checkpoint_gives_the_trained_model_and_its_plan(name, tmp_path):
    model, kept = make(name), ModelCheckpoint(dirpath=tmp_path, save_last=True)
    model.plan = Plan(average_decay=0.9)
    torch.manual_seed(1)
    trainer(tmp_path, kept).fit(model, loader(IMAGES))
    again = type(model).load_from_checkpoint(kept.last_model_path, weights_only=True)
    assert again.plan == model.plan
    first, second = (each.sample(6, torch.Generator().manual_seed(2)).values for each in (model, again))
    assert torch.equal(first, second)


def test_a_training_continues_from_a_checkpoint_with_its_average(tmp_path):
    def train(max_epochs, model, **settings):
        model.losses = lambda batch, shared: {"loss": sum(weight.square().sum() for weight in model.parameters())}
        trainer(tmp_path, ModelCheckpoint(dirpath=tmp_path / str(max_epochs)), max_epochs=max_epochs).fit(
            model, loader(IMAGES), **settings
        )
        return weights(model)

    def planned():
        model = make()
        model.plan = Plan(average_decay=0.9)
        return model

    whole = train(4, planned())
    train(2, planned())
    (half,) = Path(tmp_path / "2").glob("*.ckpt")
    assert are_equal(train(4, make(), ckpt_path=half, weights_only=True), whole)


def test_a_vae_reconstructs():
    model = make().eval()
    found = model(IMAGES)
    assert found.shape == IMAGES.shape
    assert found.requires_grad
    found = found.detach()
    assert torch.equal(found, model(Samples(IMAGES)))
    assert 0 <= float(found.min()) <= float(found.max()) <= 1


@pytest.mark.parametrize("name", ["gan", "flow"])
def test_other_models_decode(name):
    model = make(name).eval()
    noise = torch.randn(4, model.latent_dim, generator=torch.Generator().manual_seed(3))
    found = model(noise)
    assert found.shape == (4, *SHAPE)
    drawn = model.sample(4, torch.Generator().manual_seed(3)).values
    assert torch.equal((found.clamp(0, 1) * 255).round().to(torch.uint8), drawn)


def test_labels_and_conditions_go_together():
    noise = torch.randn(2, 3)
    with pytest.raises(UsageError, match="has no classes, and takes no labels"):
        make("gan")(noise, torch.tensor([0, 1]))
    with pytest.raises(UsageError, match="is conditional, and needs labels"):
        make("gan", num_classes=2)(noise)
    assert make("gan", num_classes=2)(noise, torch.tensor([0, 1])).shape == (2, *SHAPE)


def test_without_a_generator_samples_follow_the_global_seed():
    model = make()
    torch.manual_seed(5)
    first = model.sample(3).values
    torch.manual_seed(5)
    assert torch.equal(first, model.sample(3).values)


def test_a_batch_that_does_not_fit_stops_a_fit(tmp_path):
    with pytest.raises(UsageError, match="sample_shape"):
        fit(make(), tmp_path, loader(torch.rand(16, 3, 8, 8)))
