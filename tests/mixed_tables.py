"""Tables whose every value is arithmetic, so that scores of them can be written down and compared anywhere."""

import numpy as np
import pandas as pd

from collapsar.cases.tables.numerals import typed
from collapsar.cases.tables.schema import Kind, Table, fit_table

KINDS: dict[str, Kind] = {
    "age": "continuous",
    "visits": "count",
    "income": "continuous",
    "sex": "category",
    "plan": "category",
    "outcome": "category",
}


def mixed_rows(num_rows: int, *, shift: float = 0.0, twist: float = 1.0) -> pd.DataFrame:
    """Rows of all kinds; `shift` moves numbers and shares, `twist` scales how income goes with age."""
    place = np.arange(num_rows)
    spread = (place * 0.618033988749895 + shift) % 1.0  # evenly spread, in no order
    other = (place * 0.7548776662466927) % 1.0
    age = 20.0 + 60.0 * spread + 30.0 * shift
    income = twist * 0.05 * age + 2.0 * other
    plan = np.array(["bronze", "silver", "gold"])[np.floor(3.0 * other ** (1.0 + shift)).astype(int)]
    return pd.DataFrame(
        {
            "age": age,
            "visits": np.floor(8.0 * other**2 * (1.0 + shift)).astype(int),
            "income": np.where(place % 11 == 3, np.nan, income),
            "sex": np.where((place * 7) % 10 < 4 + 3 * shift, "female", "male"),
            "plan": np.where(place % 13 == 5, None, plan),
            "outcome": np.where(age + 20.0 * other > 62.0, "yes", "no"),
        }
    )


def mixed_table(frame: pd.DataFrame) -> Table:
    """The schema of such rows, all of them training rows."""
    return fit_table(
        typed(frame, KINDS), train=np.arange(len(frame)), kinds=KINDS, target="outcome", scale="standardise"
    )
