"""Generation 0 is trained once for the chains that start alike, and what they record does not show it."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from collapsar.machine import signals
from collapsar.models.gan.gan import GAN
from collapsar.models.learned import LearnedModel
from collapsar.training import stored as shared_module
from collapsar.training import train as phases
from collapsar.training import train as train_module
from test_experiment import lasting, samples, weights
from tiny_chains import build_and_run, fail_in

FIRST = "num_generations=1"
HOLD_FOR_A_WHILE = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(3)
"""
RUN_CHAINS = """
import json, os, sys, traceback
from pathlib import Path
from tiny_chains import build_and_run

def run(folder, *overrides):
    code = 1
    try:
        build_and_run(Path(folder), *overrides)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)

children = [os.fork() or run(*arguments) for arguments in json.loads(sys.argv[1])]
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


@pytest.fixture
def run_shared(run_chain, tmp_path):
    """`run_shared("a", "seed=1")` runs a chain that shares with those beside it; gives its records."""
    return lambda name, *overrides: run_chain(tmp_path / name, "share_generation_0=true", *overrides)


@pytest.fixture
def trained(monkeypatch):
    """The generations that are trained from now on."""
    generations, original = [], train_module.train

    def train(recipe, pool, **arguments):
        generations.append(arguments["generation"])
        return original(recipe, pool, **arguments)

    monkeypatch.setattr(train_module, "train", train)
    return generations


@pytest.fixture(scope="module")
def study(run_chain, tmp_path_factory):
    """A study folder in which chain `a` has trained and left its first model; its records."""
    folder = tmp_path_factory.mktemp("study")
    return folder, run_chain(folder / "a", "share_generation_0=true", FIRST)


@pytest.fixture
def begun(study, tmp_path):
    """The records of chain `a`, which lies in a copy of that study."""
    folder, records = study
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return records


def kept(tmp_path):
    """The file of the one kept training."""
    (path,) = (tmp_path / ".generation_0").glob("*.ckpt")
    return path


def parts_of(path):
    """Checksum, note and checkpoint of a kept training."""
    return path.read_bytes().split(b"\n", 2)


# Once, where chains start alike


@pytest.mark.parametrize(
    "override",
    [
        "regime=accumulate",
        "bias=truncated_latents",
        "selection=deduplicated",
        "num_synthetic=150",
        "evaluation.num_samples=90",
        "num_generations=3",
        "name=other",
    ],
)
def test_a_chain_that_differs_only_in_what_comes_later_trains_no_first_model(override, begun, run_shared, trained):
    run_shared("b", override)
    assert trained.count(0) == 0
    assert trained.count(1) == 1


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "model=gan",
        "model.width=16",
        "batch_size=16",
        "trainer.max_steps=6",
        "data.num_train=201",
        "training.gradient_clip_norm=1.0",
    ],
)
def test_a_chain_that_starts_otherwise_trains_its_own(override, begun, run_shared, trained):
    run_shared("b", FIRST, override)
    assert trained == [0]


def test_other_images_of_the_same_settings_are_trained_on(begun, run_shared, trained, monkeypatch):
    original = shared_module.content_of
    monkeypatch.setattr(shared_module, "content_of", lambda samples: original(samples[1:]))
    run_shared("b", FIRST)
    assert trained == [0]


def test_another_number_of_threads_trains_its_own(begun, run_shared, trained):
    run_shared("b", FIRST, f"num_threads={torch.get_num_threads() + 1}")
    assert trained == [0]


def test_a_chain_that_is_told_to_trains_for_itself(begun, run_chain, trained, tmp_path):
    run_chain(tmp_path / "b", FIRST, "share_generation_0=false")
    assert trained == [0]


def test_models_that_are_fitted_by_formula_keep_nothing(tmp_path):
    build_and_run(tmp_path / "a", FIRST, "data=gaussian", "model=gaussian", "evaluation=quick", "tracking=none")
    assert not (tmp_path / ".generation_0").exists()


def test_a_chain_whose_trainer_writes_files_of_its_own_is_not_shared(run_shared, trained, tmp_path):
    logger = f"{{_target_:lightning.pytorch.loggers.CSVLogger,save_dir:{tmp_path}}}"
    for name in "ab":
        run_shared(name, FIRST, f"trainer.logger={logger}")
    assert trained == [0, 0]


def test_a_multirun_over_regimes_trains_one_first_model_for_each_seed(collapsar, tiny, trained, tmp_path):
    code, _ = collapsar(
        "-m", *tiny, "share_generation_0=true", "tracking=none", "regime=replace,accumulate", "seed=0,1"
    )
    assert code == 0
    assert sorted(trained) == [0, 0, 1, 1, 1, 1]
    assert len(list((tmp_path / "outputs" / "study").glob("*/records.jsonl"))) == 4
    assert "in which a first model that chains share counts once" in (
        tmp_path / "outputs" / "study" / "report.html"
    ).read_text().replace("\n", " ")


# What chains record


@pytest.mark.parametrize(
    "overrides",
    [
        ("model=vae", "model.sample_from=likelihood"),
        ("model=gan", "selection=most_realistic"),
        ("model=flow", "bias=scaled_latents"),
        ("model=gan", "trainer.precision=bf16-mixed"),
    ],
    ids=" ".join,
)
def test_records_and_samples_are_those_of_a_chain_that_shares_nothing(overrides, run_chain, run_shared, tmp_path):
    alone = run_chain(tmp_path / "alone", *overrides, "regime=accumulate")
    run_shared("first", *overrides)
    shared = run_shared("second", *overrides, "regime=accumulate")
    assert shared[0].shared_seconds
    assert lasting(shared) == lasting(alone)
    for generation in range(2):
        assert torch.equal(samples(tmp_path / "second", generation), samples(tmp_path / "alone", generation))


def test_a_model_taken_over_has_every_weight_buffer_type_and_layout_of_the_trained_one(run_shared, monkeypatch):
    models, original = [], phases.Training

    def note(**arguments):
        models.append(arguments["model"])
        return original(**arguments)

    for module in (phases, shared_module):
        monkeypatch.setattr(module, "Training", note)
    for name in "ab":
        run_shared(name, FIRST, "model=gan")
    trained_state, taken_state = (model.state_dict() for model in models)
    assert {"averaged_generator.n_averaged", "generator.2.running_var"} < trained_state.keys()
    assert any(name.endswith("parametrizations.weight.0._u") for name in trained_state)
    assert trained_state.keys() == taken_state.keys()
    for name, tensor in trained_state.items():
        other = taken_state[name]
        assert torch.equal(tensor, other)
        assert (tensor.dtype, tensor.stride()) == (other.dtype, other.stride())
    assert not models[1].training


def test_each_chain_stores_a_copy_of_its_own(run_shared, tmp_path):
    for name in "ab":
        run_shared(name, FIRST, "model=gan")
    first, second = (tmp_path / name / "generation_000" / "model.ckpt" for name in "ab")
    assert first.read_bytes() == second.read_bytes() == parts_of(kept(tmp_path))[2]
    assert {path.stat().st_nlink for path in (first, second)} == {1}
    GAN.load_from_checkpoint(second, weights_only=True)
    assert (tmp_path / "a" / "generation_000" / "curve.json").read_bytes() == (
        tmp_path / "b" / "generation_000" / "curve.json"
    ).read_bytes()


def test_a_chain_spends_its_own_seconds_and_marks_those_of_the_other(run_shared, tmp_path):
    first, second = (run_shared(name, FIRST)[0] for name in "ab")
    note = json.loads(parts_of(kept(tmp_path))[1])
    assert first.shared_seconds == {}
    assert second.shared_seconds == note["seconds"]
    assert note["seconds"]["train"] == pytest.approx(first.seconds["train"], abs=0.2)


def test_taking_a_model_over_draws_no_number_that_training_would_not(run_chain, run_shared, tmp_path):
    states = []
    for run in (lambda: run_chain(tmp_path / "alone", FIRST), lambda: run_shared("a", FIRST), lambda: run_shared("b")):
        torch.manual_seed(0)
        run()
        states.append(torch.get_rng_state())
    assert all(torch.equal(state, states[0]) for state in states)


# Kills, damage, and several at once


def test_a_chain_killed_in_its_first_training_leaves_nothing_and_is_trained_again(
    run_shared, run_chain, trained, tmp_path, monkeypatch
):
    with monkeypatch.context() as patched:
        patched.setattr(train_module, "train", fail_in(0))
        with pytest.raises(KeyboardInterrupt):
            run_shared("a")
    assert [path.suffix for path in (tmp_path / ".generation_0").iterdir()] == [".lock"]
    assert lasting(run_shared("a")) == lasting(run_chain(tmp_path / "alone"))


def test_a_chain_that_a_signal_stops_in_its_first_training_leaves_it_to_another(
    run_shared, run_chain, trained, tmp_path, monkeypatch
):
    def stop(self, batch, batch_idx):
        signal.raise_signal(signal.SIGTERM)
        return original(self, batch, batch_idx)

    original = LearnedModel.training_step
    with monkeypatch.context() as patched:
        patched.setattr(LearnedModel, "training_step", stop)
        with pytest.raises(signals.Stopped), signals.catch_signals():
            run_shared("a")
    alone = lasting(run_chain(tmp_path / "alone"))
    trained.clear()
    assert lasting(run_shared("b")) == alone
    assert lasting(run_shared("a")) == alone
    assert trained == [0, 1, 1]
    assert not (tmp_path / "a" / "unfinished.ckpt").exists()


def test_a_chain_killed_after_its_first_training_takes_over_its_own_model(run_shared, run_chain, trained, tmp_path):
    run_shared("a", FIRST)
    for path in (tmp_path / "a").glob("records.jsonl"):
        path.unlink()
    assert lasting(run_shared("a")) == lasting(run_chain(tmp_path / "alone"))
    assert trained == [0, 1, 0, 1]


def test_what_a_kill_left_half_kept_is_made_anew(begun, run_shared, trained, tmp_path):
    whole = kept(tmp_path)
    whole.rename(whole.with_name(f".{whole.name}.partial"))
    run_shared("b", FIRST)
    assert trained == [0]
    assert sorted(path.suffix for path in whole.parent.iterdir()) == [".ckpt", ".lock"]


@pytest.mark.parametrize("damage", ["cut", "note", "weights", "empty", "other"])
def test_a_damaged_model_is_trained_again_with_a_line(damage, begun, run_shared, trained, tmp_path, caplog):
    path = kept(tmp_path)
    content = path.read_bytes()

    def flipped(position):
        return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]

    broken = {"cut": content[: len(content) // 2], "empty": b"", "other": b"[1, 2]"}
    broken |= {"note": flipped(content.index(b'"loss": ') + 8), "weights": flipped(len(content) * 3 // 4)}
    path.write_bytes(broken[damage])
    assert lasting(run_shared("b", FIRST)) == lasting(begun)
    assert trained == [0]
    assert "is damaged" in caplog.text
    run_shared("c", FIRST)
    assert trained == [0]


def test_a_study_folder_that_cannot_be_written_is_said_and_the_chain_trains_for_itself(
    run_shared, trained, tmp_path, caplog
):
    (tmp_path / ".generation_0").write_text("in the way")
    run_shared("a", FIRST)
    assert trained == [0]
    assert "generation 0 is not shared: cannot write to" in caplog.text


def test_processes_that_start_at_once_train_once(tiny, tmp_path):
    named = {"a": "replace", "b": "accumulate"}
    shared = (*tiny, "tracking=none", "share_generation_0=true")
    chains = [[str(tmp_path / name), *shared, f"regime={regime}"] for name, regime in named.items()]
    assert run_at_once(chains) == "[0, 0]\n"
    records = [json.loads((tmp_path / name / "records.jsonl").read_text().splitlines()[0]) for name in named]
    assert sorted("shared_seconds" in record for record in records) == [False, True]
    first, second = (weights(tmp_path / name, 0) for name in named)
    assert all(torch.equal(weight, second[key]) for key, weight in first.items())


def run_at_once(chains):
    """The exit codes, as text, of chains in processes of their own: forks that have imported everything."""
    paths = os.pathsep.join([str(Path(__file__).resolve().parents[1]), *filter(None, sys.path)])
    command = [sys.executable, "-c", RUN_CHAINS, json.dumps(chains)]
    return subprocess.run(
        command, env=os.environ | {"PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def test_a_chain_that_waits_says_what_for_and_its_waiting_is_no_training(
    begun, run_shared, tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(shared_module, "SILENT_SECONDS", 0.1)
    lock = kept(tmp_path).with_suffix(".lock")
    holder = subprocess.Popen([sys.executable, "-c", HOLD_FOR_A_WHILE, str(lock)], stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout.readline() == "held\n"
        (record,) = run_shared("b", FIRST)
    assert f"waiting for another chain that trains the same generation 0, kept in {kept(tmp_path)}" in caplog.text
    assert record.seconds["train"] < 1


def test_others_need_not_wait_for_the_chain_that_trained_to_end(run_shared, run_chain, tmp_path, monkeypatch):
    original, records = train_module.train, []

    def train(recipe, pool, **arguments):
        if arguments["generation"] == 1 and not records:
            records.append(None)
            records[:] = run_shared("b", FIRST)
        return original(recipe, pool, **arguments)

    monkeypatch.setattr(train_module, "train", train)
    run_shared("a")
    assert records[0].shared_seconds
