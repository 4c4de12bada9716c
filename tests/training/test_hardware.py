"""What a chain is trained with: measured before generation 0, stored in its folder, and taken again."""

import json
import time
from functools import partial

import pytest
import torch
from lightning import Trainer

from collapsar.foundations.errors import UsageError
from collapsar.machine.choice import Machine
from collapsar.training import hardware
from collapsar.training import train as train_module
from collapsar.training.hardware import choose_machine
from collapsar.training.trainer import check_trainer, on_machine
from tiny_chains import fail_in, pretend_it_was_begun

SETTINGS = {
    "devices": 1,
    "max_steps": 3,
    "max_epochs": -1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
STORED = Machine(device="cpu", precision="bf16-mixed", threads=1, evaluated_on="cpu")


def recipe(*, accelerator="cpu", precision="auto"):
    return partial(Trainer, **SETTINGS, accelerator=accelerator, precision=precision)


def settle(stored=None, *, trainer=None, num_threads=None):
    return choose_machine(
        stored, trainer=trainer or recipe(), num_threads=num_threads, evaluated_on="cpu", may_move=False
    )


@pytest.fixture(autouse=True)
def threads():
    """Threads are set back after each test."""
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


@pytest.fixture
def measured(monkeypatch):
    """`measured(1.0, 0.2)`: seconds that a product is said to take in full and in half precision."""

    def call(full, half):
        monkeypatch.setattr(hardware, "product_seconds", lambda *dtypes: [full, half])

    return call


# Precision


@pytest.mark.parametrize(("half", "expected"), [(0.2, "bf16-mixed"), (0.9, "32-true"), (3.0, "32-true")])
def test_auto_takes_half_precision_where_it_was_measured_to_be_fast(half, expected, measured):
    measured(1.0, half)
    assert settle().precision == expected


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_precision_that_is_asked_for_is_taken_without_measuring(precision, measured):
    measured(None, None)
    assert settle(trainer=recipe(precision=precision)).precision == precision


def test_a_model_that_is_fitted_by_formula_has_no_precision():
    machine = choose_machine(None, trainer=None, num_threads=1, evaluated_on="cpu", may_move=False)
    assert (machine.device, machine.precision) == ("cpu", None)


def test_the_trainer_gets_what_stood_as_auto():
    trainer = on_machine(recipe(accelerator="auto"), STORED)()
    assert (trainer.strategy.root_device.type, trainer.precision) == ("cpu", "bf16-mixed")


def test_what_is_asked_for_stays_as_it_is():
    assert on_machine(recipe(precision="32-true"), STORED)().precision == "32-true"


def test_auto_is_taken_by_the_check_and_whole_halves_are_not():
    assert check_trainer(recipe()).precision == "32-true"
    with pytest.raises(UsageError, match="must be auto or one of 32-true, bf16-mixed, 16-mixed: got bf16-true"):
        check_trainer(recipe(precision="bf16-true"))


def test_products_in_a_precision_that_is_emulated_are_kept_small(monkeypatch):
    sizes = []

    def time_product(side):
        sizes.append(len(side))
        return 1.0 if side.dtype == torch.bfloat16 else 0.03

    monkeypatch.setattr(hardware, "time_product", time_product)
    assert not hardware.is_fast_in_half_precision("cpu")
    assert max(sizes) == 128


def test_seconds_in_which_other_processes_have_the_processor_do_not_count(monkeypatch):
    monkeypatch.setattr(torch, "mm", lambda *sides: time.sleep(0.2))
    assert hardware.time_product(torch.ones(2, 2)) < 0.1


# Threads


def test_the_number_of_threads_is_written_down_where_torch_chose_it(threads, monkeypatch):
    monkeypatch.setattr(hardware, "OWN_THREADS", threads)
    assert settle().threads == threads


@pytest.mark.parametrize("given", ["3", "2,1"])
def test_a_job_side_by_side_takes_the_threads_of_its_share_if_that_is_a_number(given, monkeypatch):
    monkeypatch.setattr(hardware, "OWN_THREADS", 2)
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert settle().threads == (3 if given == "3" else 2)


def test_a_chain_that_leaves_threads_to_torch_does_not_inherit_those_of_the_one_before(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(hardware, "OWN_THREADS", 2)
    assert settle(num_threads=1).threads == 1
    assert settle().threads == 2


def test_stored_threads_and_precision_are_taken_again(measured):
    measured(1.0, 3.0)
    torch.set_num_threads(2)
    assert settle(STORED) == STORED
    assert torch.get_num_threads() == 1


# Chains


def machine_of(folder):
    return json.loads((folder / "machine.json").read_text())


def test_every_record_names_the_machine(run_chain, tmp_path):
    records = run_chain(tmp_path / "run", "num_threads=1")
    expected = {"device": "cpu", "precision": "32-true", "threads": 1, "evaluated_on": "cpu"}
    assert [record.machine for record in records] == [expected] * 2
    assert machine_of(tmp_path / "run") == expected


def test_the_machine_is_stored_before_generation_0_is_trained(run_chain, tmp_path, monkeypatch):
    monkeypatch.setattr(train_module, "train", fail_in(0))
    with pytest.raises(KeyboardInterrupt):
        run_chain(tmp_path / "run")
    assert machine_of(tmp_path / "run")["precision"] == "32-true"


def test_what_auto_chose_stays_chosen_when_the_chain_goes_on(run_chain, tmp_path, measured):
    measured(1.0, 0.2)
    run_chain(tmp_path / "run", "trainer.precision=auto", "num_generations=1")
    measured(1.0, 3.0)
    records = run_chain(tmp_path / "run", "trainer.precision=auto", "num_generations=2")
    assert [record.machine["precision"] for record in records] == ["bf16-mixed"] * 2


def test_a_chain_of_an_earlier_commit_goes_on_and_gets_its_machine(run_chain, tmp_path):
    run_chain(tmp_path / "run", "num_generations=1")
    (tmp_path / "run" / "machine.json").unlink()
    assert len(run_chain(tmp_path / "run", "num_generations=2")) == 2
    assert machine_of(tmp_path / "run")["device"] == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_chain_goes_on_with_another_device_only_if_that_is_allowed(run_chain, tmp_path):
    run_chain(tmp_path / "run", "num_generations=1")
    pretend_it_was_begun(tmp_path / "run", device="cuda")
    with pytest.raises(UsageError, match="set continue_on_another_device=true to go on with cpu"):
        run_chain(tmp_path / "run", "num_generations=2")
    records = run_chain(tmp_path / "run", "num_generations=2", "continue_on_another_device=true")
    assert records[-1].machine["device"] == machine_of(tmp_path / "run")["device"] == "cpu"
