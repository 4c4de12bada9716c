"""What a chain stored of a table, with a planted collapse: a column that shrinks and a category that dies."""

import json
from pathlib import Path
from typing import Any

import numpy as np

NAMES = ("age", "visits", "plan", "outcome")
KINDS = ("continuous", "count", "category", "category")
PLANS = ("bronze", "silver", "gold", "platinum")


def write_tables(run: Path, *, num_generations: int, name: str = "age") -> None:
    """One table.json for each generation of a run folder; `name` is what its first column is called."""
    for generation in range(num_generations):
        folder = run / f"generation_{generation:03d}"
        folder.mkdir(exist_ok=True)
        (folder / "table.json").write_text(json.dumps(table_at(generation, name=name)))


def table_at(generation: int, *, name: str = "age") -> dict[str, Any]:
    kept = 0.7**generation
    places = np.linspace(-3, 3, 20)
    plans = np.array([0.4, 0.3, 0.2, 0.1])
    left = plans * np.array([1.0, 1.0, kept, 0.0 if generation > 2 else kept])
    spread = {"real": normal(places), "synthetic": normal(places / max(kept, 0.1))}
    visits = {"real": normal(places + 2), "synthetic": normal(places + 2 + generation / 4)}
    outcome = {"real": [0.6, 0.4], "synthetic": [1 - 0.4 * kept, 0.4 * kept]}
    shares = [spread, visits, {"real": plans.tolist(), "synthetic": (left / left.sum()).tolist()}, outcome]
    labels = [["20", "80"], ["0", "19"], [*PLANS], ["no", "yes"]]
    association = np.array([[1, 0.6, 0.2, 0.5], [0.6, 1, 0.3, 0.1], [0.2, 0.3, 1, 0.4], [0.5, 0.1, 0.4, 1]])
    faded = np.where(np.eye(4) > 0, 1.0, association * kept)
    return {
        "columns": [
            {"name": called, "kind": kind, "labels": label, **share, "missing": {"real": 0.0, "synthetic": 0.0}}
            for called, kind, label, share in zip((name, *NAMES[1:]), KINDS, labels, shares, strict=True)
        ],
        "association": {"real": [[None if cell == 0.1 else cell for cell in row] for row in association.tolist()],
                        "synthetic": faded.tolist()},
        "rows": [
            [
                {"text": f"{50 + kept * place:.4g}", "is_outside": place > 6},
                {"text": str(place), "is_outside": False},
                {"text": PLANS[place % 3], "is_outside": False},
                {"text": "", "is_outside": False},
            ]
            for place in range(8)
        ],
    }  # fmt: skip


def normal(places: np.ndarray) -> list[float]:
    weights = np.exp(-(places**2) / 2)
    return (weights / weights.sum()).round(4).tolist()
