"""Choose a chain's device, precision, threads, CUDA graphs and compilation before generation 0."""

import os
import shutil
import time
from importlib.util import find_spec

import torch

from collapsar.foundations.errors import UsageError
from collapsar.foundations.recipes import flattened
from collapsar.machine.choice import AUTO, Machine, number_in, restore_machine
from collapsar.machine.devices import has_device
from collapsar.models.plan import DEFAULT_PLAN, Plan
from collapsar.training.trainer import FULL_PRECISION, TrainerRecipe, check_trainer

OWN_THREADS = torch.get_num_threads()  # torch's own choice, before any chain of this process set another
SET_THREADS = "OMP_NUM_THREADS"  # a job side by side reads it when torch has already been imported
HALF_PRECISION, SCALED_PRECISION = "bf16-mixed", "16-mixed"
FAST_RATIO = 1.5  # half precision is used if its matrix products are more than this many times as fast
COMPILED_STEPS = 20_000  # of a generation; on an H200, compiling took 43 s and saved up to 5 ms a step
PRODUCT_SIDES, NUM_PRODUCTS = (128, 1024), 5  # up to 2 GFLOP each: some tenths of a second in all
FAR_APART = 10  # times; emulated half precision may be so slow that large products take minutes


def choose_machine(
    stored: Machine | None,
    *,
    trainer: TrainerRecipe | None,
    num_threads: int | None,
    evaluated_on: str,
    may_move: bool,
    plan: Plan = DEFAULT_PLAN,
    num_steps: int = 0,
    may_be_compiled: bool = False,
) -> Machine:
    """Choose the machine of a new chain, or restore that of a started one (`stored`); set torch's CPU threads.

    `trainer` is None for a model that is fitted by formula. `num_threads` counts for a new chain; None takes torch's
    own choice. `evaluated_on` is the class of the device that would compute features; `num_steps` is of a generation.
    UsageError if the chain's device is absent and it may not move, or for CUDA graphs or compilation that cannot be.
    """
    torch.set_num_threads(stored.threads if stored else num_threads or number_in(SET_THREADS) or OWN_THREADS)
    device = "cpu" if trainer is None else check_trainer(trainer).strategy.root_device.type
    if has_device("cuda"):
        torch.backends.cudnn.deterministic = True  # or transposed convolutions may sum in another order each time
    if stored is not None:
        here = Machine(device=device, precision=stored.precision, threads=stored.threads, evaluated_on=evaluated_on)
        absent = {kind: not has_device(kind) for kind in (stored.device, stored.evaluated_on)}
        return restore_machine(stored, here=here, absent=absent, may_move=may_move)
    precision = None if trainer is None else choose_precision(trainer, device=device)
    graphs = choose_graphs(plan, device=device, precision=precision)
    return Machine(
        device=device,
        precision=precision,
        threads=torch.get_num_threads(),
        evaluated_on=evaluated_on,
        cuda_graphs=graphs,
        compiled=choose_compiled(plan, graphs=graphs, is_long=may_be_compiled and num_steps >= COMPILED_STEPS),
    )


def choose_graphs(plan: Plan, *, device: str, precision: str | None) -> bool | None:
    """Whether steps run as CUDA graphs: if they can, unless the plan forbids it; None without CUDA."""
    can = device == "cuda" and precision not in (None, SCALED_PRECISION)
    if plan.cuda_graphs and not can:
        needed = f"a CUDA device and a precision other than {SCALED_PRECISION}, whose scale is read in every step"
        given = f"got {device} and {precision}; set training.cuda_graphs=null"
        raise UsageError(f"training.cuda_graphs=true needs {needed}: {given}")
    if device != "cuda":
        return None
    return can and plan.cuda_graphs is not False and plan.ungraphed is None


def choose_compiled(plan: Plan, *, graphs: bool | None, is_long: bool) -> bool | None:
    """Whether networks are compiled, by default in a long training of CUDA graphs; None without CUDA."""
    wanted = is_long if plan.compiled is None else plan.compiled
    if plan.compiled and not (graphs and has_compiler()):
        problem = "needs steps that are CUDA graphs, as launches cost more than it saves elsewhere"
        also = "and it needs triton and a C compiler (gcc or clang)"
        raise UsageError(f"training.compiled=true {problem}; {also}: set training.compiled=null")
    return graphs and wanted and has_compiler()


def has_compiler() -> bool:
    """Whether torch.compile can make kernels: it needs triton, and a C compiler for their launchers."""
    return find_spec("triton") is not None and any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang")))


def choose_precision(trainer: TrainerRecipe, *, device: str) -> str:
    """The precision that a recipe sets; in place of `auto`, the one that the device is fast at."""
    if flattened(trainer).keywords.get("precision") != AUTO:
        return str(check_trainer(trainer).precision)
    return HALF_PRECISION if is_fast_in_half_precision(device) else FULL_PRECISION


def is_fast_in_half_precision(device: str) -> bool:
    """Whether bfloat16 pays off; on a CPU this is measured, because a processor's name does not tell it."""
    if device == "cpu":
        full, half = product_seconds(torch.float32, torch.bfloat16)
        return full > FAST_RATIO * half
    return device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def product_seconds(*dtypes: torch.dtype) -> list[float]:
    """CPU seconds, the fewest of several, of a matrix product in each dtype; a large one unless a small one decides."""
    shortest: list[float] = []
    for size in PRODUCT_SIDES:
        sides = [torch.ones(size, size, dtype=dtype) for dtype in dtypes]
        seconds = [[time_product(side) for side in sides] for _ in range(1 + NUM_PRODUCTS)][1:]  # the first warms up
        shortest = [min(column) for column in zip(*seconds, strict=True)]
        if max(shortest) > FAR_APART * min(shortest):
            break
    return shortest


def time_product(side: torch.Tensor) -> float:
    """CPU seconds of one product, without the time that the processor gives to other processes."""
    start = time.process_time()
    torch.mm(side, side)
    return time.process_time() - start
