"""The machine of a chain: taken again as it was, moved only where its device is absent and the user allows it."""

import pytest

from collapsar.foundations.errors import UsageError
from collapsar.machine.choice import Machine, read_machine, restore_machine

HERE = Machine(device="cpu", precision="bf16-mixed", threads=8, evaluated_on="cpu")
ELSEWHERE = Machine(device="cuda", precision="16-mixed", threads=3, evaluated_on="cuda")
NO_GPU = {"cpu": False, "cuda": True}
WITH_GPU = {"cpu": False, "cuda": False}


@pytest.mark.parametrize("machine", [HERE, Machine(device="cpu", precision=None, threads=1, evaluated_on="cpu")])
def test_a_machine_survives_the_way_to_its_file_and_back(machine):
    assert read_machine(machine.to_dict()) == machine


def test_a_chain_without_a_file_has_no_machine_yet():
    assert read_machine({}) is None


@pytest.mark.parametrize("stored", [{"device": "cpu"}, {**HERE.to_dict(), "colour": "red"}])
def test_a_damaged_file_is_refused(stored):
    with pytest.raises(UsageError, match="is damaged"):
        read_machine(stored)


def test_what_can_be_had_is_taken_again_whatever_would_be_chosen_here():
    assert restore_machine(ELSEWHERE, here=HERE, absent=WITH_GPU, may_move=False) == ELSEWHERE


def test_a_device_that_is_absent_is_refused_with_the_setting_that_lets_the_chain_go_on():
    with pytest.raises(UsageError, match=r"begun on cuda.* set continue_on_another_device=true to go on with cpu$"):
        restore_machine(ELSEWHERE, here=HERE, absent=NO_GPU, may_move=False)


def test_a_chain_that_moves_changes_its_device_and_nothing_else():
    moved = restore_machine(ELSEWHERE, here=HERE, absent=NO_GPU, may_move=True)
    assert moved == Machine(device="cpu", precision="16-mixed", threads=3, evaluated_on="cpu")
