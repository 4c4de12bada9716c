"""Writes sdmetrics_scores.json: what SDMetrics says of the tables in tests/mixed_tables.py.

SDMetrics asks for pandas below 3 and is no dependency; where it is installed beside this package (the file here was
made with 0.32.0, `pip install --no-deps sdmetrics copulas`), run this file with `PYTHONPATH=tests:src` to make its
scores anew.
"""

import json
from importlib.metadata import version
from itertools import combinations
from pathlib import Path

from sdmetrics.column_pairs import ContingencySimilarity, CorrelationSimilarity
from sdmetrics.single_column import BoundaryAdherence, KSComplement, MissingValueSimilarity, TVComplement

from mixed_tables import KINDS, mixed_rows

PLACE = Path(__file__).with_name("sdmetrics_scores.json")


def main() -> None:
    real, synthetic = mixed_rows(400), mixed_rows(300, shift=0.2, twist=0.4)
    numbers = [name for name, kind in KINDS.items() if kind != "category"]
    pairs = {}
    for pair in combinations(KINDS, 2):
        chosen = real[list(pair)].copy(), synthetic[list(pair)].copy()
        binned = [name for name in pair if name in numbers]
        score = (
            CorrelationSimilarity.compute(*chosen)
            if len(binned) == 2
            else ContingencySimilarity.compute(*chosen, continuous_column_names=binned or None)
        )
        pairs[", ".join(pair)] = float(score)
    scores = {
        "version": version("sdmetrics"),
        "columns": {
            name: float((KSComplement if name in numbers else TVComplement).compute(real[name], synthetic[name]))
            for name in KINDS
        },
        "boundary": {name: float(BoundaryAdherence.compute(real[name], synthetic[name])) for name in numbers},
        "missing": {name: float(MissingValueSimilarity.compute(real[name], synthetic[name])) for name in KINDS},
        "pairs": pairs,
    }
    PLACE.write_text(json.dumps(scores, indent=1) + "\n")


if __name__ == "__main__":
    main()
