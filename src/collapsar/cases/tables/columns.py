"""Metrics of single columns: how close their distribution is to the real one, and which values are valid.

SDMetrics calls the closeness column shapes, and leaves missing values out of it. Real rows are the held-out ones. The
table decides what is valid: its ranges are those of the training set.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from collapsar.cases.tables.schema import Column
from collapsar.metrics.modes import DROPPED_BELOW

ROUNDING = 1e-5  # of a range: encoding rounds to float32, and the smallest and largest number must stay valid
DECIMALS = 14  # numbers are compared to this many, as in SDMetrics' KSComplement


def column_shape(column: Column, *, real: pd.Series, synthetic: pd.Series) -> float:
    """1 - the Kolmogorov-Smirnov distance of numbers, 1 - the total variation distance of categories; in [0, 1].

    SDMetrics' KSComplement and TVComplement. 0 if all synthetic values are missing, which SDMetrics leaves undefined;
    NaN if all real ones are.
    """
    real, synthetic = real.dropna(), synthetic.dropna()
    if real.empty or synthetic.empty:
        return math.nan if real.empty else 0.0
    if not column.is_number:
        return 1.0 - total_variation(category_shares(column, real), category_shares(column, synthetic))
    numbers = [values.to_numpy(dtype=np.float64).round(DECIMALS) for values in (real, synthetic)]
    return 1.0 - float(ks_2samp(*numbers, method="asymp").statistic)


def total_variation(first: np.ndarray, second: np.ndarray) -> float:
    """Half the sum of absolute differences of two arrays of shares, in [0, 1]."""
    return 0.5 * float(np.abs(first - second).sum())


def category_shares(column: Column, values: pd.Series) -> np.ndarray:
    """The share of each category among the values that are not missing; zeros if all are missing."""
    codes = category_codes(column, values.dropna())
    return np.bincount(codes, minlength=len(column.categories)) / max(len(codes), 1)


def category_codes(column: Column, values: pd.Series) -> np.ndarray:
    """The index of each value among the column's categories; -1 if it is missing."""
    return pd.Index(column.categories, dtype=object).get_indexer(values.astype(object).where(values.notna(), None))


def num_categories_dropped(column: Column, *, real: pd.Series, synthetic: pd.Series) -> int:
    """Number of categories with less than a tenth of their real share, the rule for dropped classes."""
    return int((category_shares(column, synthetic) < DROPPED_BELOW * category_shares(column, real)).sum())


def is_outside(column: Column, values: pd.Series) -> np.ndarray:
    """Which values are invalid: numbers out of range, unknown categories, missing values in a column without any."""
    is_missing = values.isna().to_numpy()
    if column.is_number:
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        assert column.minimum is not None, "a number has a range"
        assert column.maximum is not None, "a number has a range"
        slack = ROUNDING * (column.maximum - column.minimum)
        is_known = (column.minimum - slack <= numbers) & (numbers <= column.maximum + slack)
    else:
        is_known = values.isin(column.categories).to_numpy()
    return ~np.where(is_missing, column.may_be_missing, is_known)


def boundary_adherence(column: Column, values: pd.Series) -> float:
    """Share of the numbers that lie within the range of the training set: SDMetrics' BoundaryAdherence.

    NaN if all values are missing.
    """
    values = values.dropna() if column.may_be_missing else values
    return 1.0 - float(is_outside(column, values).mean()) if len(values) else math.nan


def share_outside(columns: Sequence[Column], rows: pd.DataFrame) -> float:
    """Share of the rows with an invalid value."""
    return float(np.any([is_outside(column, rows[column.name]) for column in columns], axis=0).mean())


def missing_similarity(*, real: pd.Series, synthetic: pd.Series) -> float:
    """1 - the absolute difference of the shares of missing values: SDMetrics' MissingValueSimilarity."""
    return 1.0 - abs(float(real.isna().mean()) - float(synthetic.isna().mean()))
