"""A training that a signal stops goes on inside its generation, and ends as one that was never stopped, bit by bit."""

import signal
from functools import cache
from typing import ClassVar

import pytest
import torch
from lightning import Callback

from collapsar.config import composition
from collapsar.data.pool import REAL, Part, Pool
from collapsar.foundations.samples import Samples
from collapsar.machine import signals
from collapsar.machine.choice import Machine
from collapsar.models.learned import LearnedModel
from collapsar.training import unfinished as unfinished_module
from collapsar.training.pretraining import Rotation
from collapsar.training.train import Recipe, train
from collapsar.training.unfinished import Unfinished, belonging, pack
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
    "callbacks": (
        "trainer.callbacks=[{_target_: test_unfinished.Halves},"
        "{_target_:lightning.pytorch.callbacks.EarlyStopping,monitor:loss,patience:1,min_delta:1000}]",
        "trainer.min_steps=10",
    ),
}


def labelled_pool(num_samples=70):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (num_samples, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return Pool((Part(Samples(images, torch.arange(num_samples) % 10), REAL),))


@cache
def recipe_of(overrides):
    recipe = composition.build(compose_settings(*SHORT, *overrides)).parts.recipe
    return Recipe(model=recipe.model, trainer=recipe.trainer, plan=recipe.plan, batch_size=16)


@pytest.fixture
def signal_in(monkeypatch):
    """`signal_in({3, 5})` sends a SIGTERM in the third and fifth step from now on; gives the steps taken."""
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
            with signals.catch_signals():
                return call(), num_stops
        except signals.Stopped:
            num_stops += 1


def outcome(training, path):
    """All that a training gives, as values that compare."""
    training.save(path)
    stored = torch.load(path, weights_only=True)
    weights = {name: value.tolist() for name, value in training.model.state_dict().items()}
    return training.summary, training.curve, weights, str(stored.get("optimizer_states"))


OF_ANY_MODEL = {  # what is stored of them does not depend on the model: one of them is enough
    "best weights": "vae",
    "plateau": "gan",
    "average": "vae",
    "fading noise": "gan",
    "augmentation": "vae",
    "dropout": "gan",
    "clipping": "gan",
    "epochs": "vae",
    "callbacks": "vae",
}


def stopped(lever, model):
    is_slow = OF_ANY_MODEL.get(lever, model) != model
    return pytest.param(lever, model, marks=[pytest.mark.slow] if is_slow else [], id=f"{lever}-{model}")


@pytest.mark.parametrize(("lever", "model"), [stopped(lever, model) for lever in LEVERS for model in SMALL])
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


@pytest.mark.parametrize("model", SMALL)
def test_a_pretraining_that_is_stopped_in_each_step_equals_a_whole_one(model, train_with, monkeypatch, tmp_path):
    overrides = (*SMALL[model], "lever=[dropout,self_supervised_rotation]", "training.pretraining.fraction=.5")
    whole, original = train_with(*overrides, keeps="whole"), Rotation.pose
    posed = []

    def pose(self, images, generator):
        posed.append(images.sum().item())
        signal.raise_signal(signal.SIGTERM)
        return original(self, images, generator)

    monkeypatch.setattr(Rotation, "pose", pose)
    stopped, num_stops = until_it_ends(lambda: train_with(*overrides))
    assert num_stops == len(posed) == NUM_STEPS // 2
    assert outcome(stopped, tmp_path / "stopped") == outcome(whole, tmp_path / "whole")


def test_a_configured_callback_goes_on_from_its_state(train_with, signal_in, monkeypatch, tmp_path):
    kept = "+trainer.callbacks=[{_target_: test_unfinished.CountsBatches}]"
    monkeypatch.setattr(CountsBatches, "ended_with", [])
    signal_in({3, 7})
    until_it_ends(lambda: train_with(*SMALL["vae"], kept))
    assert CountsBatches.ended_with == [NUM_STEPS]


class CountsBatches(Callback):
    """Counts the batches of a training."""

    ended_with: ClassVar[list[int]] = []

    def __init__(self):
        self.num_batches = 0

    def state_dict(self):
        return {"num_batches": self.num_batches}

    def load_state_dict(self, state_dict):
        self.num_batches = state_dict["num_batches"]

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.num_batches += 1

    def on_train_end(self, trainer, pl_module):
        self.ended_with.append(self.num_batches)


class Halves(Callback):
    """Halves a weight in every third step that it has seen."""

    def __init__(self):
        self.num_batches = 0

    def state_dict(self):
        return {"num_batches": self.num_batches}

    def load_state_dict(self, state_dict):
        self.num_batches = state_dict["num_batches"]

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.num_batches += 1
        if self.num_batches % 3 == 0:
            with torch.no_grad():
                next(pl_module.parameters()).mul_(0.5)


def test_a_logger_of_a_training_that_goes_on_keeps_what_was_logged_before(signal_in, tmp_path):
    logger = "trainer.logger={_target_:lightning.pytorch.loggers.CSVLogger,save_dir:csv,name:null}"

    def call():
        unfinished = Unfinished(tmp_path / "unfinished.ckpt", belongs_to={"generation": 0}, minutes=None)
        return train(
            recipe_of((*SMALL["vae"], logger, "trainer.log_every_n_steps=2")), labelled_pool(), seed=0, generation=0,
            on_steps=lambda epoch, steps: None, unfinished=unfinished, folder=tmp_path,
        )  # fmt: skip

    signal_in({7})
    until_it_ends(call)
    parts = [tmp_path / "csv" / name / "metrics.csv" for name in ("generation_000", "generation_000_from_step_7")]
    steps = [line.rpartition(",")[2] for part in parts for line in part.read_text().splitlines()[1:]]
    assert steps == ["1", "3", "5", "7", "9", "11"]


# When something is stored


@pytest.fixture
def written(monkeypatch):
    """The steps after which something is stored."""
    steps, original = [], Unfinished.write

    def write(self, state):
        steps.append(state["step"])
        original(self, state)

    monkeypatch.setattr(Unfinished, "write", write)
    return steps


def test_a_training_is_stored_whenever_the_minutes_are_over(train_with, written):
    train_with(*SMALL["vae"], minutes=1e-9)
    assert written == list(range(1, NUM_STEPS))


def test_a_short_training_that_nobody_stops_is_not_stored(train_with, written):
    train_with(*SMALL["vae"], minutes=5.0)
    assert written == []


def test_a_long_training_is_stored_before_its_last_step(train_with, written, monkeypatch):
    monkeypatch.setattr(unfinished_module, "WORTH_STORING_SECONDS", 0.0)
    train_with(*SMALL["vae"], minutes=None)
    assert written == [NUM_STEPS - 1]


def test_a_training_goes_on_after_a_kill_from_what_was_stored_last(train_with, signal_in, monkeypatch):
    steps, original = signal_in(set()), Unfinished.write

    def write_and_die(self, state):
        original(self, state)
        if state["step"] == 7:
            raise ZeroDivisionError("a kill")

    with monkeypatch.context() as patched:
        patched.setattr(Unfinished, "write", write_and_die)
        with pytest.raises(ZeroDivisionError):
            train_with(*SMALL["vae"], minutes=1e-9)
    train_with(*SMALL["vae"])
    assert steps == list(range(NUM_STEPS))


def test_the_seconds_of_both_parts_of_a_training_are_counted(train_with, signal_in, monkeypatch):
    signal_in({4})
    monkeypatch.setattr(unfinished_module.time, "monotonic", iter(range(0, 10000, 10)).__next__)
    with pytest.raises(signals.Stopped), signals.catch_signals():
        train_with(*SMALL["vae"])
    assert train_with(*SMALL["vae"]).earlier_seconds > 0


def test_a_disk_that_takes_no_checkpoint_is_named_and_the_training_goes_on(train_with, tmp_path, caplog):
    (tmp_path / ".unfinished.ckpt.partial").mkdir()  # a file cannot be written here
    assert train_with(*SMALL["vae"], minutes=1e-9).summary["steps"] == NUM_STEPS
    assert "cannot store the unfinished generation" in caplog.text


SLURM = {"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "chains", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4"}


def test_lightning_puts_no_handler_of_its_own_in_place_of_ours_and_requeues_nothing(train_with, monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    original, present = LearnedModel.training_step, []

    def training_step(self, batch, batch_idx):
        present.append([signal.getsignal(number) for number in signals.EXIT_CODES])
        return original(self, batch, batch_idx)

    monkeypatch.setattr(LearnedModel, "training_step", training_step)
    with signals.catch_signals():
        ours = [signal.getsignal(number) for number in signals.EXIT_CODES]
        train_with(*SMALL["vae"])
    assert present == [ours] * NUM_STEPS


# What is not used


def spoil(path, *, how):
    """Damage a stored training."""
    content = path.read_bytes()
    if how == "torn":
        path.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.write_bytes(pack({"belongs_to": {"generation": 7}, "seconds": 1.0, "step": 3}))


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("torn", "it is damaged"),
        ("flipped", "it is damaged"),
        ("empty", "it is damaged"),
        ("foreign", "another generation"),
    ],
)
def test_a_stored_training_that_cannot_be_used_is_named_in_one_line_and_done_from_its_start(
    how, why, train_with, signal_in, tmp_path, caplog
):
    signal_in({4})
    with pytest.raises(signals.Stopped), signals.catch_signals():
        train_with(*SMALL["vae"])
    spoil(tmp_path / "unfinished.ckpt", how=how)
    steps = signal_in(set())
    caplog.clear()
    train_with(*SMALL["vae"])
    assert steps == list(range(NUM_STEPS))
    said = [record.getMessage() for record in caplog.records if record.name.startswith("collapsar")]
    path = tmp_path / "unfinished.ckpt"
    assert said == [f"{path} is not used ({why}): generation 0 is trained from its start"]


def test_what_a_kill_left_of_a_generation_that_was_kept_is_passed_over_in_silence(tmp_path, caplog):
    path = tmp_path / "unfinished.ckpt"
    path.write_bytes(pack({"belongs_to": {"generation": 2, "settings": "a"}, "seconds": 1.0, "step": 3}))
    assert Unfinished(path, belongs_to={"generation": 3, "settings": "a"}, minutes=None).read() is None
    assert caplog.text == ""
    assert Unfinished(path, belongs_to={"generation": 1, "settings": "a"}, minutes=None).read() is None
    assert "is not used (another generation)" in caplog.text


def test_no_stored_code_runs(tmp_path, caplog):
    path = tmp_path / "unfinished.ckpt"
    path.write_bytes(pack({"belongs_to": {"generation": 0}, "path": path}))  # a Path is no plain value
    assert Unfinished(path, belongs_to={"generation": 0}, minutes=None).read() is None
    assert "is not used (UnpicklingError)" in caplog.text


@pytest.mark.parametrize(
    "changes",
    [{"generation": 3}, {"config": {"batch_size": 8}}, {"machine": None}],
)
def test_a_training_belongs_to_its_settings_its_generation_and_its_machine(changes):
    machine = Machine(device="cpu", precision="32-true", threads=1, evaluated_on="cpu")
    mine = {"config": {"batch_size": 16}, "generation": 2, "machine": machine}
    arguments = mine | changes
    assert belonging(mine.pop("config"), **mine) != belonging(arguments.pop("config"), **arguments)


def test_a_training_goes_on_with_another_number_of_generations():
    few, many = ({"num_generations": number, "checkpoint_minutes": number} for number in (2, 5))
    assert belonging(few, generation=0, machine=None) == belonging(many, generation=0, machine=None)
