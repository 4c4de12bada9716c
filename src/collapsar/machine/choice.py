"""The device, precision and threads of a chain: chosen before generation 0, stored, and restored when it continues.

They change results only by rounding, but a resumed run must match bit for bit.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from collapsar.foundations.errors import UsageError

AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Device, precision and threads that a chain is trained with."""

    device: str  # class of the device that models are trained and sampled on: cpu, cuda or mps
    precision: str | None  # as Lightning names it: 32-true, bf16-mixed, 16-mixed; None for models fitted by formula
    threads: int  # CPU threads of torch
    evaluated_on: str  # class of the device that features are computed on: cpu or cuda
    cuda_graphs: bool | None = None  # whether steps run as CUDA graphs; None unless the device is cuda
    compiled: bool | None = None  # whether networks are compiled for training; None unless the device is cuda

    def to_dict(self) -> dict[str, Any]:
        """As JSON values for machine.json and for each record, without fields that are None."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def read_machine(stored: Mapping[str, Any]) -> Machine | None:
    """The machine that machine.json or a record holds; None if nothing is stored, UsageError if it is no machine."""
    if not stored:
        return None
    try:
        return Machine(**{"precision": None, **stored})
    except TypeError as error:
        raise UsageError(f"machine.json is damaged: got {dict(stored)}; restore it, or delete it") from error


def restore_machine(stored: Machine, *, here: Machine, absent: Mapping[str, bool], may_move: bool) -> Machine:
    """The machine that a stored chain continues with; raise UsageError if a device is absent and it may not move.

    `here` is what this computer would choose, `absent` says of each class of device whether this computer lacks it.
    """
    missing = [kind for kind in dict.fromkeys((stored.device, stored.evaluated_on)) if absent[kind]]
    if missing and not may_move:
        advice = f"or set continue_on_another_device=true to go on with {here.device}"
        problem = f"this chain was begun on {missing[0]}, and there is none here"
        raise UsageError(f"{problem}: continue it on a machine that has one, {advice}")
    if absent[stored.evaluated_on]:
        stored = replace(stored, evaluated_on=here.evaluated_on)
    if absent[stored.device]:
        stored = replace(stored, device=here.device, cuda_graphs=here.cuda_graphs, compiled=here.compiled)
    return stored


def number_in(variable: str) -> int | None:
    """A whole number above 0 from the environment; None if the variable holds none."""
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() and int(text) else None
