"""A table's content for the page, as plain JSON: histograms of its columns, associations, and the first rows.

Real rows appear as histograms and associations only, never one by one: a page is shared more widely than a table.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from collapsar.cases.tables.columns import association_matrix, coded_values, is_outside
from collapsar.cases.tables.schema import Column, Table
from collapsar.errors import printable

MOST_COLUMNS = 48
MOST_CATEGORIES = 16  # the others are added up
NUM_BINS = 20
TAIL = 0.005  # share of the real numbers that each outer bin takes in beyond its edge
NUM_ROWS = 5
LONGEST_TEXT = 60


def table_picture(table: Table, *, real: pd.DataFrame, synthetic: pd.DataFrame) -> dict[str, Any]:
    """Histograms and associations of real and synthetic columns, names of classes, and the first synthetic rows."""
    columns, sides = table.columns[:MOST_COLUMNS], {"real": real, "synthetic": synthetic}
    return {
        "columns": [histogram(each, real=real[each.name], synthetic=synthetic[each.name]) for each in columns],
        "association": {
            name: rounded(association_matrix(columns, real=real, rows=rows)) for name, rows in sides.items()
        },
        "classes": [text(name) for name in table.class_names],
        "rows": example_rows(columns, synthetic[:NUM_ROWS]),
    }


def histogram(column: Column, *, real: pd.Series, synthetic: pd.Series) -> dict[str, Any]:
    """Shares of all values in each bin or category, and of missing ones; two labels are the ends of a number's bins."""
    edges, shares, missing = picture_edges(column, real) if column.is_number else None, {}, {}
    for side, values in {"real": real, "synthetic": synthetic}.items():
        codes, num_codes = coded_values(column, values, edges=edges)
        found = np.bincount(codes, minlength=num_codes) / max(len(codes), 1)
        shares[side], missing[side] = found[:-1], float(found[-1])
    if edges is not None:
        half = 0.5 if column.kind == "count" else 0.0  # a bin of whole numbers ends between two of them
        labels = [f"{edges[0] + half:.4g}", f"{edges[-1] - half:.4g}"]
    else:
        first, others = np.split(np.argsort(-shares["real"], kind="stable"), [MOST_CATEGORIES])
        labels = [text(column.categories[place]) for place in first] + (["others"] if len(others) else [])
        shares = {side: np.append(found[first], found[others].sum())[: len(labels)] for side, found in shares.items()}
    stored = {side: rounded(found) for side, found in shares.items()}
    return {"name": text(column.name), "kind": column.kind, "labels": labels, **stored, "missing": missing}


def picture_edges(column: Column, real: pd.Series) -> np.ndarray:
    """Edges of bins of equal width over most of the real numbers; a count's bins hold equally many whole numbers."""
    numbers = real.dropna().to_numpy(dtype=np.float64)
    low, high = np.quantile(numbers, [TAIL, 1.0 - TAIL]) if len(numbers) else (0.0, 1.0)
    if column.kind == "count":
        width = max(1.0, np.ceil((high - low + 1.0) / NUM_BINS))
        return np.arange(np.floor(low) - 0.5, high + 0.5 + width, width)
    return np.linspace(low, high, NUM_BINS + 1) if high > low else np.array([low - 0.5, low + 0.5])


def example_rows(columns: Sequence[Column], rows: pd.DataFrame) -> list[list[dict[str, Any]]]:
    """Rows as texts, "" for a missing value, each marked if it is invalid in its column."""
    cells = [
        [
            {"text": text(value), "is_outside": bool(bad)}
            for value, bad in zip(rows[column.name], is_outside(column, rows[column.name]), strict=True)
        ]
        for column in columns
    ]
    return [list(row) for row in zip(*cells, strict=True)]


def text(value: Any) -> str:
    """A value or a name from data on one line, without control codes, of at most LONGEST_TEXT characters."""
    if pd.isna(value):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value))[:LONGEST_TEXT]


def rounded(numbers: np.ndarray) -> Any:
    """Numbers as nested lists with four decimals; None for NaN and infinities, which JSON cannot hold."""
    kept = numbers.round(4).astype(object)
    kept[~np.isfinite(numbers)] = None
    return kept.tolist()
