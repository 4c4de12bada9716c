"""Devices: a full memory is told in one sentence, and what is set for a training is set back."""

import pytest
import torch

from collapsar.foundations.errors import DeviceMemoryError
from collapsar.machine.devices import device_seeded, explain_out_of_memory, has_device, tensor_cores_allowed

CPU = torch.device("cpu")
TOO_MANY_BYTES = 2**60


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_full_memory_is_told_with_what_to_lower(error):
    with (
        pytest.raises(DeviceMemoryError, match=r"^out of memory in training: lower batch_size; finished .* stay$"),
        explain_out_of_memory("training", advice="lower batch_size"),
    ):
        raise error


def test_the_cpus_own_error_is_known():
    with pytest.raises(DeviceMemoryError), explain_out_of_memory("a test", advice="ask for less"):
        torch.empty(TOO_MANY_BYTES, dtype=torch.uint8)


def test_other_errors_pass_as_they_are():
    with pytest.raises(RuntimeError, match="shapes") as caught, explain_out_of_memory("a test", advice="nothing"):
        raise RuntimeError("shapes do not fit")
    assert type(caught.value) is RuntimeError


def test_every_machine_has_a_cpu_and_none_a_quantum_computer():
    assert has_device("cpu")
    assert not has_device("quantum")


def test_products_on_a_cpu_are_not_shortened():
    before = torch.get_float32_matmul_precision()
    with tensor_cores_allowed(CPU):
        assert torch.get_float32_matmul_precision() == before


def test_a_cpu_needs_no_seed_of_its_own():
    state = torch.get_rng_state()
    with device_seeded(CPU, 7):
        assert torch.equal(torch.get_rng_state(), state)
