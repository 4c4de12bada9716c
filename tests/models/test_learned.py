"""The learner: players move when they are due, through the precision plugin, as the plan says; callbacks see losses."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.plugins import Precision
from torch import nn

from collapsar.data.pool import REAL, Part, Pool
from collapsar.foundations.errors import NonFiniteError, UsageError
from collapsar.foundations.samples import UNLABELLED, Samples
from collapsar.models.course import Player
from collapsar.models.learned import LearnedModel
from collapsar.models.plan import DEFAULT_PLAN
from collapsar.training.train import Recipe, train

NUM_STEPS = 6
VALIDATED = replace(DEFAULT_PLAN, validation_fraction=0.25)


class Duel(LearnedModel):
    """Two players, each a single weight whose loss is steep; the second moves every other step."""

    name = "duel"

    def __init__(self, *, slope=1.0):
        super().__init__(sample_shape=[1, 8, 8], latent_dim=1)
        self.first, self.second = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        self.slope, self.movers, self.labels, self.steps = slope, [], [], []

    def players(self):
        return [
            Player(module=self.first, losses=self.first_losses, learning_rate=0.1),
            Player(module=self.second, losses=self.second_losses, learning_rate=0.1, steps_per_move=2),
        ]

    def decode(self, latents, generator, *, likelihood_spread):
        return torch.zeros(len(latents), *self.sample_shape)

    def share(self, batch, *, movers):
        self.movers.append(list(movers))
        self.labels += [] if batch.labels is None else batch.labels.tolist()
        return torch.tensor(self.slope)

    def first_losses(self, batch, shared):
        return {"first_loss": shared * self.first.weight.sum(), "watched": torch.tensor(5.0)}

    def second_losses(self, batch, shared):
        return {"second_loss": 3 * shared * self.second.weight.sum()}


class Watcher(Callback):
    """Notes what Lightning shows of the losses, in a list that its copies share."""

    def __init__(self, seen):
        self.seen = seen

    def __deepcopy__(self, memo):
        return Watcher(self.seen)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append(sorted(trainer.callback_metrics))

    on_validation_end = on_train_epoch_end = lambda self, trainer, pl_module: self.seen.append(
        sorted(trainer.callback_metrics)
    )


class CountingPrecision(Precision):
    """Counts the steps that go through it, where a scaler for half precision would sit."""

    def __init__(self):
        self.num_steps = 0

    def optimizer_step(self, optimizer, model, closure, **kwargs):
        self.num_steps += 1
        return super().optimizer_step(optimizer, model=model, closure=closure, **kwargs)


def labelled_pool(*, num_samples=40):
    return Pool((Part(Samples(torch.zeros(num_samples, 1, 8, 8, dtype=torch.uint8), torch.arange(num_samples)), REAL),))


def train_duel(*, plan=DEFAULT_PLAN, pool=None, max_steps=NUM_STEPS, slope=1.0, **settings):
    trainer = partial(
        Trainer,
        accelerator="cpu",
        max_steps=max_steps,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **settings,
    )
    recipe = Recipe(model=lambda: Duel(slope=slope), trainer=trainer, plan=plan, batch_size=4)
    pool = pool or labelled_pool()
    return train(recipe, pool, seed=0, generation=0, on_steps=lambda epoch, steps: None)


def test_a_step_is_a_move_of_the_first_player_and_others_move_with_every_nth():
    training = train_duel()
    assert training.summary["steps"] == NUM_STEPS
    assert training.model.movers == [[0, 1], [0], [0, 1], [0], [0, 1], [0]]


def test_each_player_moves_its_own_weights_down_its_own_loss():
    model = train_duel().model
    moved = {name: weight.item() for name, weight in model.named_parameters()}
    longer = train_duel(max_steps=NUM_STEPS + 2).model
    for name, weight in longer.named_parameters():
        assert weight.item() < moved[name]


def test_every_loss_of_a_step_is_watched_by_its_name():
    training = train_duel()
    assert {"first_loss", "watched", "second_loss"} <= training.summary.keys()
    assert training.summary["watched"] == 5.0


def test_any_lightning_callback_sees_every_loss():
    seen = []
    train_duel(callbacks=[Watcher(seen)])
    assert {"first_loss", "second_loss", "watched"} <= set(seen[0])


def test_nothing_is_logged_where_nobody_reads_it():
    assert train_duel().model.trainer.callback_metrics == {}


def test_training_stops_where_a_lightning_callback_says_so():
    stop = EarlyStopping(monitor="watched", patience=2, mode="min")
    training = train_duel(max_steps=1000, callbacks=[stop])
    assert training.summary["epochs"] == 3.0  # the watched loss never moves


def test_every_player_steps_through_the_precision_plugin():
    plugin = CountingPrecision()
    train_duel(plugins=[plugin])
    assert plugin.num_steps == NUM_STEPS + NUM_STEPS // 2


def test_batches_carry_the_labels_of_the_pool():
    assert sorted(train_duel(max_steps=10).model.labels) == list(range(40))


def test_batches_of_an_unlabelled_pool_carry_none():
    pool = Pool((Part(Samples(torch.zeros(40, 1, 8, 8, dtype=torch.uint8)), REAL),))
    assert train_duel(pool=pool).model.labels == []


def test_samples_without_a_class_are_marked_in_mixed_batches():
    bare = Part(Samples(torch.zeros(40, 1, 8, 8, dtype=torch.uint8)), 0)
    labels = train_duel(pool=Pool((*labelled_pool().parts, bare)), max_steps=20).model.labels
    assert sorted(labels) == [UNLABELLED] * 40 + list(range(40))


# The plan


def gradient_norms(model):
    return {name: weight.grad.norm().item() for name, weight in model.named_parameters()}


def test_gradients_are_left_alone_without_a_bound():
    assert gradient_norms(train_duel(slope=10.0).model) == pytest.approx({"first.weight": 10.0, "second.weight": 30.0})


def test_gradients_of_each_player_are_clipped_to_the_bound():
    plan = replace(DEFAULT_PLAN, gradient_clip_norm=0.5)
    assert gradient_norms(train_duel(slope=10.0, plan=plan).model) == pytest.approx(
        {"first.weight": 0.5, "second.weight": 0.5}, rel=1e-4
    )


def test_what_is_kept_for_validation_is_never_trained_on():
    seen_in_training, seen_in_validation = set(), set()

    class Spy(Duel):
        def share(self, batch, *, movers):
            (seen_in_training if self.training else seen_in_validation).update(batch.labels.tolist())
            return super().share(batch, movers=movers)

    trainer = partial(
        Trainer, accelerator="cpu", max_steps=30, max_epochs=-1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    recipe = Recipe(model=Spy, trainer=trainer, plan=VALIDATED, batch_size=4)
    train(recipe, labelled_pool(), seed=0, generation=0, on_steps=lambda epoch, steps: None)
    assert len(seen_in_validation) == 10
    assert seen_in_training | seen_in_validation == set(range(40))
    assert not seen_in_training & seen_in_validation


def test_validation_losses_are_there_for_callbacks():
    seen = []
    train_duel(plan=VALIDATED, max_steps=30, callbacks=[Watcher(seen)])
    assert {"validation/first_loss", "validation/second_loss", "first_loss"} <= set(seen[-1])


def test_a_model_whose_decoder_fails_is_in_training_mode_again(monkeypatch):
    model = Duel().train()
    monkeypatch.setattr(model, "decode", lambda *latents, **settings: torch.full((3, 1, 8, 8), torch.nan))
    with pytest.raises(NonFiniteError):
        model.sample(3, torch.Generator())
    assert model.training


def test_validating_leaves_the_generator_of_any_gpu_as_it_was(monkeypatch):
    """No MPS is needed: a list of what its generator was set to stands for it."""
    states = ["as it was"]
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda *_: states[-1])
    for name in ("manual_seed", "set_rng_state"):
        monkeypatch.setattr(torch.mps, name, lambda state, *_: states.append(state))
    monkeypatch.setattr(Duel, "device", torch.device("mps"))
    model = Duel()
    monkeypatch.setattr(model, "log", lambda *arguments, **others: None)
    before = torch.get_rng_state()
    model.validation_step(Samples(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)), 3)
    assert states == ["as it was", 3, "as it was"]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gradient_clip_norm": 0.0}, "gradient_clip_norm must be above 0, or be null: got 0.0"),
        ({"validation_fraction": 0.0}, "validation_fraction must lie between 0 and 1, or be null: got 0.0"),
        ({"validation_fraction": 1.0}, "validation_fraction must lie between 0 and 1, or be null: got 1.0"),
    ],
)
def test_a_plan_out_of_range_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        replace(DEFAULT_PLAN, **changes)
