"""The entry gate: whether generation 0 reproduces the real data well enough for a loss to mean something.

Generation 0 saw real data only, so what it lacks is the model's fault, not collapse. Losses are counted from it, and
the gate is reported on its own. A floor is the value that real samples reach in place of synthetic ones. The shares are
our conventions.
"""

from collections.abc import Mapping
from typing import Literal

EntryGate = Literal["passed", "failed"]

SHARES = {"recall": 0.8, "coverage": 0.7}  # shares of their floors that generation 0 must reach


def entry_gate(metrics: Mapping[str, float]) -> EntryGate | None:
    """Whether generation 0 passed; None if a metric or its floor was not measured and no other metric failed."""
    reached = [_reached(metrics, key) for key in SHARES]
    if False in reached:
        return "failed"
    return None if None in reached else "passed"


def gate_evidence(metrics: Mapping[str, float]) -> str:
    """Each metric's value beside its floor: recall 0.62 of 0.94."""
    words = [
        f"{key} {metrics[key]:.2g} of {metrics[f'{key}_floor']:.2g}"
        for key in SHARES
        if _reached(metrics, key) is not None
    ]
    return ", ".join(words) or "recall and coverage were not measured beside their floors"


def _reached(metrics: Mapping[str, float], key: str) -> bool | None:
    value, floor = metrics.get(key), metrics.get(f"{key}_floor")
    return None if value is None or not floor else bool(value >= SHARES[key] * floor)
