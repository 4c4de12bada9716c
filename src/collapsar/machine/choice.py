"""What a chain is trained with on its machine: chosen before generation 0, stored, and taken again when it goes on.

Samples and scores depend on these by rounding alone, but a continued chain shall equal an uninterrupted one to the bit.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from threadpoolctl import threadpool_limits

from collapsar.errors import UsageError

AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a chain is trained with.

    Attributes:
        device: Class of the device that models are trained and sampled on: cpu, cuda or mps.
        precision: As Lightning names it: 32-true, bf16-mixed or 16-mixed; None for models that are fitted by formula.
        threads: CPU threads of torch.
        evaluated_on: Class of the device that features are computed on: cpu or cuda.
        cuda_graphs: Whether steps are CUDA graphs; None on any other device than cuda.
        compiled: Whether networks are compiled for their training; None on any other device than cuda.
    """

    device: str
    precision: str | None
    threads: int
    evaluated_on: str
    cuda_graphs: bool | None = None
    compiled: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """As it is stored, and named in each record; without a precision where there is none."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def read_machine(stored: Mapping[str, Any]) -> Machine | None:
    """The machine that a run folder names (machine.json); None where it names none.

    Raises:
        UsageError: what is stored is not a machine.
    """
    if not stored:
        return None
    try:
        return Machine(**{"precision": None, **stored})
    except TypeError as error:
        raise UsageError(f"machine.json is damaged: got {dict(stored)}; restore it, or delete it") from error


def take_again(stored: Machine, *, here: Machine, absent: Mapping[str, bool], may_move: bool) -> Machine:
    """What a stored chain goes on with.

    Args:
        stored: What it was trained with.
        here: What this machine would choose for it.
        absent: Whether this machine lacks a device, by its class.
        may_move: Whether it may go on with another device than before, where that one is absent.

    Raises:
        UsageError: a device is absent, and the chain may not move.
    """
    missing = [kind for kind in dict.fromkeys((stored.device, stored.evaluated_on)) if absent[kind]]
    if missing and not may_move:
        raise UsageError(
            f"this chain was begun on {missing[0]}, and there is none here: continue it on a machine that has one, "
            f"or set continue_on_another_device=true to go on with {here.device}"
        )
    moves = absent[stored.device]
    return replace(
        stored,
        device=here.device if moves else stored.device,
        cuda_graphs=here.cuda_graphs if moves else stored.cuda_graphs,
        compiled=here.compiled if moves else stored.compiled,
        evaluated_on=here.evaluated_on if absent[stored.evaluated_on] else stored.evaluated_on,
    )


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Let scikit-learn and NumPy use one thread: several add up in another order, so results would depend on them."""
    with threadpool_limits(limits=1):
        yield
