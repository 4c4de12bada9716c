"""Pretraining without labels: the representation learns, nothing else moves, and the model gets the other steps."""

from functools import partial

import pytest
import torch
from lightning import Trainer
from torch import nn

from collapsar.config import composition
from collapsar.data.pool import REAL, Part, Pool, PoolBatches
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.foundations.seeding import make_generator
from collapsar.judging.spaces.preprocessing import Augmentation
from collapsar.models.gan.gan import GAN
from collapsar.models.learned import LearnedModel
from collapsar.models.plan import DEFAULT_PLAN
from collapsar.models.vae.vae import VAE
from collapsar.training.pretraining import Contrastive, Rotation, check_pretraining, pretrain
from collapsar.training.train import train, with_real
from collapsar.training.trainer import total_steps
from collapsar.training.unfinished import Unfinished
from tiny_chains import compose_settings
from tiny_models import GAN_SETTINGS, VAE_SETTINGS

MODELS = {"vae": partial(VAE, **VAE_SETTINGS), "gan": partial(GAN, **GAN_SETTINGS)}
ROTATION = Rotation(fraction=0.25)
UNTOUCHED = Augmentation(
    rotation_degrees=0.0, shift_fraction=0.0, scale_change=0.0, shear=0.0, blur=0.0, noise_std=0.0, flip=False
)
CONTRASTIVE = Contrastive(fraction=0.25, temperature=0.5, projection_dim=16, augmentation=UNTOUCHED)
TASKS = {"rotation": ROTATION, "contrastive": CONTRASTIVE}
LEVERS = [f"self_supervised_{task}" for task in TASKS]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def digits():
    return composition.build(compose_settings("tracking=none")).data.load()


def random_pool(num_samples=64):
    images = torch.randint(256, (num_samples, 1, 8, 8), generator=generator(), dtype=torch.uint8)
    return Pool((Part(Samples(images), REAL),))


def pretrained(family, task, *, pool=None, num_steps=3, **changes):
    """A model before and after, and what is said of it."""
    stream = make_generator(0, 0, "pretraining")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS[family](**changes)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        said = pretrain(
            model,
            TASKS[task],
            PoolBatches(pool or random_pool(), device=torch.device("cpu"), batch_size=16, generator=stream),
            num_steps=num_steps,
            generation=0,
            on_steps=lambda *_: None,
            unfinished=Unfinished(),
            state=None,
        )
    return before, model.state_dict(), said


def trained(*overrides, generation=0, real=None):
    settings = compose_settings(
        "tracking=none", "trainer.accelerator=cpu", "batch_size=16", "trainer.max_steps=20", *overrides
    )
    told = []
    training = train(
        composition.build(settings).parts.recipe,
        random_pool(),
        seed=0,
        generation=generation,
        on_steps=lambda epoch, step: told.append(step),
        real=real,
    )
    return training, told


def test_turned_images_are_turned_as_often_as_the_answer_says():
    images = torch.rand(40, 2, 3, 3, generator=generator())
    turned, answers = ROTATION.pose(images, generator(1))
    assert answers.unique().tolist() == [0, 1, 2, 3]
    assert all(
        torch.equal(image, original.rot90(int(answer), (1, 2)))
        for image, original, answer in zip(turned, images, answers, strict=True)
    )


def test_views_come_in_pairs_and_the_answer_is_the_other_one():
    images = torch.rand(3, 1, 4, 4, generator=generator())
    views, answers = CONTRASTIVE.pose(images, generator(1))
    assert torch.allclose(views, images.repeat(2, 1, 1, 1), atol=1e-5)
    assert answers.tolist() == [3, 4, 5, 0, 1, 2]


def test_the_contrastive_loss_is_nt_xent():
    head = CONTRASTIVE.head(5)
    features = torch.randn(4, 5, generator=generator())
    views = nn.functional.normalize(head[2].project(head[:2](features)), dim=1)
    similarity = (views @ views.T / 0.5).exp()
    other = torch.tensor([2, 3, 0, 1])
    expected = [-(similarity[i, other[i]] / (similarity[i].sum() - similarity[i, i])).log() for i in range(4)]
    assert torch.isclose(nn.functional.cross_entropy(head(features), other), torch.stack(expected).mean())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("num_classes", [None, 3])
@pytest.mark.parametrize(("family", "part"), [("vae", "encoder."), ("gan", "critic.")])
def test_only_the_part_that_sees_images_moves(family, part, num_classes, task):
    before, after, _ = pretrained(family, task, num_classes=num_classes)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith(part) for name in moved)


@pytest.mark.parametrize(
    ("family", "changes"),
    [("vae", {"width": 16, "learning_rate": 0.004}), ("gan", {"critic_width": 16, "critic_learning_rate": 0.004})],
)
def test_turns_of_real_digits_are_learned_as_far_as_digits_tell_them(family, changes):
    pool = Pool((Part(digits().train, REAL),))  # 0, 1 and 8 look alike after half a turn
    first, last = (
        pretrained(family, "rotation", pool=pool, num_steps=steps, **changes)[2]["pretraining_accuracy"]
        for steps in (5, 200)
    )
    assert first < 0.45
    assert last > 0.65


@pytest.mark.parametrize("lever", LEVERS)
@pytest.mark.parametrize("family", MODELS)
def test_a_model_and_its_pretraining_share_the_steps(family, lever):
    training, told = trained(f"model={family}", f"lever=[{lever}]")
    assert training.summary["pretraining_steps"] == 4
    assert training.summary["steps"] == 20 == told[-1]


def test_steps_given_in_epochs_are_shared_too():
    training, _ = trained("lever=[self_supervised_rotation]", "trainer.max_steps=-1", "trainer.max_epochs=5")
    assert (training.summary["pretraining_steps"], training.summary["steps"]) == (4, 20)


@pytest.mark.parametrize("lever", LEVERS)
def test_pretraining_changes_what_is_trained_and_is_the_same_each_time(lever):
    plain, first, again = (
        trained(*given)[0].model.state_dict() for given in ([], [f"lever=[{lever}]"] * 1, [f"lever=[{lever}]"])
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], plain[name]) for name in first)


def test_the_real_training_set_takes_part_in_every_generation():
    real, other = digits().train[:64], digits().train[64:128]
    ends = [trained("lever=[self_supervised_rotation]", generation=1, real=each)[0].summary for each in (real, other)]
    assert ends[0]["pretraining_loss"] != ends[1]["pretraining_loss"]


def test_real_samples_that_are_in_the_pool_already_are_not_taken_twice():
    pool = random_pool()
    assert len(with_real(pool, pool.parts[0].samples)) == 64
    assert len(with_real(pool, pool.parts[0].samples[:10])) == 74
    assert len(with_real(pool, None)) == 64


@pytest.mark.parametrize(
    ("limits", "expected"),
    [({"max_steps": 7, "max_epochs": -1}, 7), ({"max_epochs": 3}, 12), ({"max_steps": 20, "max_epochs": 3}, 12)],
    ids=str,
)
def test_the_steps_of_a_trainer_are_counted(limits, expected):
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **limits)
    assert total_steps(trainer, steps_per_epoch=4) == expected


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5])
def test_a_share_that_leaves_nothing_is_refused(fraction):
    with pytest.raises(UsageError, match=f"pretraining.fraction must lie between 0 and 1: got {fraction}"):
        Rotation(fraction=fraction)


def refuse(pretext, model, *, batch_size, **limits):
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **limits or {"max_steps": 2})
    num_steps = total_steps(trainer, steps_per_epoch=1)
    check_pretraining(pretext, model, num_steps=num_steps, batch_size=batch_size)


@pytest.mark.parametrize("limits", [{"max_steps": 1}, {"max_epochs": 1}], ids=str)
def test_a_single_step_has_nothing_to_share(limits):
    with pytest.raises(UsageError, match="shares the steps of a generation, two at least: got 1"):
        refuse(ROTATION, VAE(**VAE_SETTINGS), batch_size=8, **limits)


def test_images_that_are_not_square_are_not_turned():
    with pytest.raises(UsageError, match="8x16 pixels cannot be turned: choose lever="):
        refuse(ROTATION, VAE(**VAE_SETTINGS | {"sample_shape": [1, 8, 16]}), batch_size=8)


def test_a_batch_of_one_has_no_other_views():
    with pytest.raises(UsageError, match="batch_size must be at least 2: got 1"):
        refuse(CONTRASTIVE, VAE(**VAE_SETTINGS), batch_size=1)


def test_a_model_without_a_part_for_it_is_refused():
    class Flat(LearnedModel):
        name = "flat"

        def players(self):
            return []

        def decode(self, latents, generator, *, likelihood_spread):
            return torch.zeros(len(latents), *self.sample_shape)

    with pytest.raises(UsageError, match=r"model=flat has no encoder or critic .* set training.pretraining=null"):
        refuse(ROTATION, Flat(sample_shape=[1, 8, 8], latent_dim=1), batch_size=8)


def test_nothing_is_pre_trained_by_default():
    assert DEFAULT_PLAN.pretraining is None
    assert "pretraining_steps" not in trained()[0].summary
