"""A training that a signal stops goes on inside its generation, and ends as one that was never stopped, bit by bit."""

import signal
from functools import cache

import pytest
import torch

from collapsar import composition, signals
from collapsar.data.pool import REAL, Part, Pool
from collapsar.models.learned import LearnedModel
from collapsar.samples import Samples
from collapsar.training.train import Recipe, train
from collapsar.training.unfinished import Unfinished
from tiny_chains import TINY, compose_settings

NUM_STEPS = 12  # of four batches an epoch, three where a part of the pool is kept
SHORT = (*TINY, "tracking=none", f"trainer.max_steps={NUM_STEPS}", "batch_size=16")
SMALL = {
    "vae": ("model=vae", "model.width=4"),
    "gan": ("model=gan", "model.generator_width=4", "model.critic_width=4", "model.critic_steps=2"),
}
VALIDATED = ("training.validation_fraction=.2", "training.validation_checks=6")
LEVERS = {
    "as it is": (),
    "early stopping": (*VALIDATED, "training.early_stopping_patience=1"),
    "best weights": (*VALIDATED, "training.early_stopping_patience=9"),
    "plateau": (*VALIDATED, "training.schedule=plateau", "training.decay_factor=.5", "training.plateau_patience=1"),
    "average": (*VALIDATED, "training.early_stopping_patience=9", "training.average_decay=.9"),
    "cosine with a warm-up": ("lever=[cosine]", "training.warmup_fraction=.3"),
    "warm start with optimiser": ("lever=[warm_start_with_optimizer]",),
    "fading noise": ("lever=[fading_noise]",),
    "augmentation": ("lever=[augmentation]",),
    "dropout": ("lever=[dropout]",),
    "clipping": ("lever=[gradient_clipping]",),
    "momentum": ("lever=[sgd]",),
    "labelled": ("lever=[class_conditional]",),
    "self-supervised": ("lever=[self_supervised_contrastive]", "training.pretraining.fraction=.5"),
    "half precision": ("trainer.precision=bf16-mixed",),
    "epochs": ("trainer.max_steps=-1", "trainer.max_epochs=3"),
}


def labelled_pool(num_samples=70):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (num_samples, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return Pool((Part(Samples(images, torch.arange(num_samples) % 10), REAL),))


@cache
def recipe_of(overrides):
    experiment = composition.build(compose_settings(*SHORT, *overrides))
    return Recipe(model=experiment.model, trainer=experiment.trainer, plan=experiment.training, batch_size=16)


@pytest.fixture
def signal_in(monkeypatch):
    """`signal_in({3, 5})` sends a SIGTERM in the third and fifth step from now on; it gives the steps that are taken."""
    original = LearnedModel.training_step

    def call(steps, *, number=signal.SIGTERM):
        taken = []

        def training_step(self, batch, batch_idx):
            taken.append(self.global_step)
            if len(taken) in steps:
                signal.raise_signal(number)
            return original(self, batch, batch_idx)

        monkeypatch.setattr(LearnedModel, "training_step", training_step)
        return taken

    return call


@pytest.fixture
def train_with(tmp_path):
    """`train_with(*overrides, keeps=...)` trains once on a pool, keeping how far it came in a file of this name."""

    def call(*overrides, keeps="unfinished.ckpt", generation=0, start=None, minutes=None):
        return train(
            recipe_of(overrides),
            labelled_pool(),
            seed=0,
            generation=generation,
            on_steps=lambda epoch, steps: None,
            start=start,
            unfinished=Unfinished(tmp_path / keeps, belongs_to={"generation": generation}, minutes=minutes),
        )

    return call


def until_it_ends(call):
    """What is trained at last, and how often it was stopped before."""
    num_stops = 0
    while True:
        try:
            with signals.heeded():
                return call(), num_stops
        except signals.Stopped:
            num_stops += 1


def outcome(training, path):
    """All that a training gives, as values that compare."""
    training.save(path)
    stored = torch.load(path, weights_only=True)
    weights = {name: value.tolist() for name, value in training.model.state_dict().items()}
    return training.summary, training.curve, weights, str(stored.get("optimizer_states"))


@pytest.mark.parametrize("model", SMALL)
@pytest.mark.parametrize("lever", LEVERS)
def test_a_training_that_is_stopped_in_each_step_equals_a_whole_one(lever, model, train_with, signal_in, tmp_path):
    overrides, start = (*SMALL[model], *LEVERS[lever]), None
    if "start" in lever:
        start = tmp_path / "start.ckpt"
        train_with(*overrides, generation=0, keeps="first").save(start)
    whole_steps = signal_in(set())
    whole = train_with(*overrides, generation=1, start=start, keeps="whole")
    steps = signal_in(set(range(1, NUM_STEPS + 1)))
    stopped, num_stops = until_it_ends(lambda: train_with(*overrides, generation=1, start=start))
    assert num_stops >= len(whole_steps) - 1
    assert steps[: len(whole_steps)] == whole_steps
    assert outcome(stopped, tmp_path / "stopped") == outcome(whole, tmp_path / "whole")
