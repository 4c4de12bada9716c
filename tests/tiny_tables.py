"""A table of one's own, of people that there are not, and which tables can be read here."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

OF_PACKAGES = {"aids_trial": "lifelines", "credit_default": "causaldata"}  # of the extra tabular
MISSING = {data for data, package in OF_PACKAGES.items() if find_spec(package) is None}


def people(num_rows=60):
    """Ten of them without an income; one in two is ill."""
    numbers = np.arange(num_rows)
    return pd.DataFrame(
        {
            "id": numbers + 1000,
            "age": 20 + numbers % 50,
            "income": np.where(numbers < 10, np.nan, 1.5 * numbers + 0.25),
            "sex": np.where(numbers % 3 == 0, "f", "m"),
            "ill": np.where(numbers % 2 == 0, "yes", "no"),
        }
    )


def settings_of_file(folder: Path, *, num_rows: int = 400) -> dict[str, object]:
    """What `data=table` needs to read a file of people, written into a folder."""
    path = folder / "people.csv"
    people(num_rows).to_csv(path, index=False)
    return {"path": str(path), "target": "ill", "identifiers": ["id"]}


def overrides_of(data: str, folder: Path) -> list[str]:
    """How the command line chooses data; a file of people as data=table."""
    if data != "table":
        return [f"data={data}"]
    return ["data=table", *(f"data.{key}={value}" for key, value in settings_of_file(folder).items())]
