"""What a user hands over reaches its place: callbacks, loggers and classes of the user's own, through the command."""

import csv
import json
import sys

import pytest
import yaml

from collapsar.config import composition
from collapsar.foundations.errors import UsageError
from collapsar.study.study import read_study
from tiny_chains import TINY, compose_settings
from tiny_models import VAE_SETTINGS

MINE = '''
"""Parts of a user's own."""

from pathlib import Path
from threading import Lock

from lightning import Callback

from collapsar.models.vae.vae import VAE as OurVAE


class Counts(Callback):
    """Notes every step and every end of a training in a file."""

    def __init__(self):
        self.num_steps = 0

    def state_dict(self):
        return {"num_steps": self.num_steps}

    def load_state_dict(self, state_dict):
        self.num_steps = state_dict["num_steps"]

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.num_steps += 1

    def on_train_end(self, trainer, pl_module):
        with Path("counted.txt").open("a") as file:
            file.write(f"{self.num_steps} {trainer.default_root_dir}\\n")


class Locked(Counts):
    """Cannot be copied."""

    def __init__(self):
        super().__init__()
        self.lock = Lock()


class Unstorable(Counts):
    """Has a state that no file of ours holds."""

    def state_dict(self):
        return {"path": Path("x")}


class Broken(Callback):
    """Cannot be made."""

    def __init__(self):
        raise RuntimeError("no such\\nthing")


class VAE(OurVAE):
    """Ours under another path, with an option of its own."""

    def __init__(self, *, extra: int = 1, **settings):
        super().__init__(**settings)
'''
STOPPING = "{_target_:lightning.pytorch.callbacks.EarlyStopping,monitor:%s,patience:1,min_delta:1000}"
COUNTS = "trainer.callbacks=[{_target_:mine.Counts}]"


@pytest.fixture
def run(collapsar, tiny, tmp_path, monkeypatch):
    """`run("seed=1")` runs two generations of five steps beside mine.py: exit code, standard error, and run folders."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.setattr(sys, "path", sys.path.copy())

    def call(*overrides):
        flags = [override for override in overrides if override.startswith("-")]
        code, stderr = collapsar(*flags, *tiny, "tracking=none", *(each for each in overrides if each not in flags))
        return code, stderr, sorted((tmp_path / "outputs" / "study").glob("digits*"))

    yield call
    sys.modules.pop("mine", None)


def lines_of(stderr):
    return [line for line in stderr.splitlines() if line.strip()]


def records_of(folder):
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def test_callbacks_that_the_command_is_given_see_every_step_of_each_generation(run, tmp_path):
    code, _, (folder,) = run(COUNTS)
    assert code == 0
    noted = [line.split() for line in (tmp_path / "counted.txt").read_text().splitlines()]
    assert noted == [["5", str(folder / "logs" / f"generation_00{number}")] for number in (0, 1)]


def test_an_early_stopping_that_the_command_is_given_ends_each_generation(run):
    code, _, (folder,) = run("trainer.max_steps=100", f"trainer.callbacks=[{STOPPING % 'loss'}]")
    assert code == 0
    assert [record["training"]["epochs"] for record in records_of(folder)] == [2.0, 2.0]
    assert [record["training"]["steps"] for record in records_of(folder)] == [12.0, 12.0]  # 200 images in batches of 32


def test_a_callback_may_stand_alone_and_a_multirun_counts_in_every_chain(run, tmp_path):
    code, _, folders = run(
        "-m", "regime=replace,accumulate", "share_generation_0=true", "trainer.callbacks={_target_:mine.Counts}"
    )
    assert (code, len(folders)) == (0, 2)
    assert len((tmp_path / "counted.txt").read_text().splitlines()) == 4


CALLBACKS = "lightning.pytorch.callbacks"


def test_a_callback_that_monitors_what_is_not_there_is_one_line_after_the_first_epoch(run, tmp_path):
    before = set(tmp_path.iterdir())
    code, stderr, (folder,) = run(f"trainer.callbacks=[{STOPPING % 'validation/loss'}]")
    assert code == 2
    (line,) = [line for line in lines_of(stderr) if "trainer.callbacks" in line]
    assert line.startswith("collapsar: trainer.callbacks: Early stopping conditioned on metric `validation/loss` which")
    assert "`loss`" in line
    assert not (folder / "records.jsonl").exists()
    assert set(tmp_path.iterdir()) - before <= {tmp_path / "outputs", tmp_path / "__pycache__"}


@pytest.fixture
def build(tmp_path, monkeypatch):
    """`build("seed=1")` builds the experiment of these overrides beside mine.py."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda *overrides: composition.build(compose_settings(*TINY, "tracking=none", *overrides))
    sys.modules.pop("mine", None)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.callbacks=[{_target_:mine.Locked}]", r"trainer.callbacks\[0\] \(Locked\) cannot be copied or"),
        ("trainer.callbacks=[{_target_:mine.Unstorable}]", r"trainer.callbacks\[0\] \(Unstorable\) .* stored"),
        ("trainer.callbacks=[{_target_:mine.Missing}]", r"trainer.callbacks\[0\]._target_ .*'mine.Missing'; .*Missing"),
        (
            "trainer.callbacks=[{_target_:elsewhere.A}]",
            r"trainer.callbacks\[0\]._target_ .*module .elsewhere. .*found in .* and on PYTHONPATH",
        ),
        (
            "trainer.callbacks=[{_target_:builtins.dict}]",
            r"trainer.callbacks\[0\] must be a Lightning callback",
        ),
        (
            f"trainer.callbacks=[{{_target_:{CALLBACKS}.ModelCheckpoint}}]",
            r"trainer.callbacks\[0\] cannot be used in a chain: got ModelCheckpoint; .*generation_000/model.ckpt",
        ),
        (f"trainer.callbacks=[{{_target_:{CALLBACKS}.DeviceStatsMonitor}}]", "set trainer.logger=true"),
        ("trainer.enable_checkpointing=true", "trainer.enable_checkpointing must be false: got true"),
        ("trainer.accumulate_grad_batches=2", "trainer.accumulate_grad_batches must be 1: got 2; set batch_size"),
        ("trainer.logger={_target_:lightning.pytorch.loggers.WandbLogger}", "set tracking=wandb"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_composed(override, message, build):
    with pytest.raises(UsageError, match=message) as caught:
        build(override)
    assert "\n" not in str(caught.value)


def test_a_callback_that_cannot_be_made_is_named_with_the_reason(run):
    code, stderr, _ = run("trainer.callbacks=[{_target_:mine.Broken}]")
    assert code == 2
    (line,) = lines_of(stderr)
    assert [part for part in ("trainer.callbacks", "mine.Broken", "no such") if part not in line] == []


def test_a_logger_writes_below_the_run_folder_by_generation_and_has_no_holes(run, tmp_path):
    logger = "{_target_:lightning.pytorch.loggers.CSVLogger,save_dir:mine}"
    code, _, (folder,) = run(f"trainer.logger={logger}", "trainer.max_steps=60", "trainer.log_every_n_steps=7")
    assert code == 0
    for generation in (0, 1):
        logged = folder / "mine" / "lightning_logs" / f"generation_00{generation}"
        with (logged / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [int(row["step"]) for row in rows] == [6, 13, 20, 27, 34, 41, 48, 55]
        assert all(row["loss"] for row in rows)
        assert f"generation: {generation}" in (logged / "hparams.yaml").read_text()
    assert not (tmp_path / "lightning_logs").exists()
    assert not (tmp_path / "mine").exists()


def test_a_logger_has_the_last_loss_of_each_player_in_every_row(run):
    logger = "{_target_:lightning.pytorch.loggers.CSVLogger,save_dir:mine,name:null}"
    gan = ("model=gan", "model.generator_width=8", "model.critic_width=8", "model.critic_steps=5", "num_generations=1")
    code, _, (folder,) = run(*gan, f"trainer.logger={logger}", "trainer.max_steps=31", "trainer.log_every_n_steps=3")
    assert code == 0
    with (folder / "mine" / "generation_000" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [*range(2, 31, 3)]
    assert all(row["critic_loss"] and row["generator_loss"] for row in rows)
    moved = [row["generator_loss"] for row in rows]
    assert len(set(moved)) == 6  # at steps 0, 5, .. 25


# Classes of the user's own


MY_VAE = """
_target_: mine.VAE
_partial_: true
sample_shape: ${data.sample_shape}
latent_dim: 16
"""


@pytest.fixture
def run_mine(run, tmp_path):
    """`run_mine("seed=1")` runs a chain of `model=my_vae`, whose YAML says as little as it can."""
    (tmp_path / "my_conf" / "model").mkdir(parents=True)
    (tmp_path / "my_conf" / "model" / "my_vae.yaml").write_text(MY_VAE)
    left_out = [
        f"model.{key}={'null' if value is None else value}"
        for key, value in VAE_SETTINGS.items()
        if key not in ("sample_shape", "latent_dim")
    ]
    return lambda *overrides: run("--config-dir=my_conf", "model=my_vae", "num_generations=1", *left_out, *overrides)


def test_what_a_constructor_takes_is_an_option_without_a_plus_and_anything_else_is_refused(run_mine):
    code, stderr, (folder,) = run_mine("model.extra=3")
    assert code == 0, stderr
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert (config["model"]["extra"], config["model"]["width"]) == (3, 8)
    assert folder.name.startswith("digits_my_vae_replace_model.")


def test_ours_and_theirs_of_one_name_are_two_chains_and_two_arms(run, tmp_path):
    narrow = ("model.width=8", "num_generations=1")
    assert run(*narrow)[0] == run(*narrow, "model._target_=mine.VAE")[0] == 0
    folders = sorted((tmp_path / "outputs" / "study").glob("digits*"))
    assert len(folders) == 2
    names = [arm.name for arm in read_study([tmp_path / "outputs" / "study"]).arms]
    assert len(names) == len(set(names)) == 2
    assert "model=mine.VAE" in " ".join(names)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("trainer.min_stpes=3", ["trainer.min_stpes is not an option", "did you mean min_steps?", "profiler"]),
        ("model.widht=3", ["model.widht is not an option", "did you mean width?"]),
        ("data.treshold=3", ["data.treshold is not an option"]),
    ],
)
def test_a_mistyped_option_is_refused_with_what_there_is(override, expected, run):
    code, stderr, _ = run(override)
    (line,) = lines_of(stderr)
    assert code == 2
    assert [part for part in expected if part not in line] == []
