"""Metrics of columns and of pairs: how close they are to the real ones, and which values are valid; their picture.

SDMetrics' column shapes, which leave missing values out, and column pair trends: correlation for two numbers, for all
others the contingency table, with missing values as a category and numbers in ten bins of the real column. SDMetrics
bins each table by its own range, and so misses a synthetic column that shrank. Ranges are those of the training set.
"""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp
from scipy.stats.contingency import association

from collapsar.cases.tables.schema import Column, Table
from collapsar.foundations.errors import printable
from collapsar.metrics.modes import DROPPED_BELOW

ROUNDING = 1e-5  # of a range: encoding rounds to float32, and the smallest and largest number must stay valid
DECIMALS = 14  # numbers are compared to this many, as in SDMetrics' KSComplement
NUM_BINS = 10  # of numbers in contingency tables; SDMetrics' num_discrete_bins
MOST_COLUMNS = 48  # of a picture
MOST_CATEGORIES = 16  # the others are added up
PICTURED_BINS = 20  # of a histogram
TAIL = 0.005  # share of the real numbers that each outer bin takes in beyond its edge
NUM_ROWS = 5
LONGEST_TEXT = 60


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
    codes = column.codes(values.dropna())
    return np.bincount(codes, minlength=len(column.categories)) / max(len(codes), 1)


def num_categories_dropped(column: Column, *, real: pd.Series, synthetic: pd.Series) -> int:
    """Number of categories with less than a tenth of their real share, the rule for dropped classes."""
    return int((category_shares(column, synthetic) < DROPPED_BELOW * category_shares(column, real)).sum())


def is_outside(column: Column, values: pd.Series) -> np.ndarray:
    """Which values are invalid: numbers out of range, unknown categories, missing values in a column without any."""
    is_missing = values.isna().to_numpy()
    if column.minimum is None or column.maximum is None:
        is_known = values.isin(column.categories).to_numpy()
    else:
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        slack = ROUNDING * (column.maximum - column.minimum)
        is_known = (column.minimum - slack <= numbers) & (numbers <= column.maximum + slack)
    return ~np.where(is_missing, column.may_be_missing, is_known)


def boundary_adherence(column: Column, values: pd.Series) -> float:
    """Share of the numbers within the training set's range: SDMetrics' BoundaryAdherence; NaN if all are missing."""
    values = values.dropna() if column.may_be_missing else values
    return 1.0 - float(is_outside(column, values).mean()) if len(values) else math.nan


def share_outside(columns: Sequence[Column], rows: pd.DataFrame) -> float:
    """Share of the rows with an invalid value."""
    return float(np.any([is_outside(column, rows[column.name]) for column in columns], axis=0).mean())


def missing_similarity(*, real: pd.Series, synthetic: pd.Series) -> float:
    """1 - the absolute difference of the shares of missing values: SDMetrics' MissingValueSimilarity."""
    return 1.0 - abs(float(real.isna().mean()) - float(synthetic.isna().mean()))


def pair_scores(columns: Sequence[Column], *, real: pd.DataFrame, synthetic: pd.DataFrame) -> dict[str, float]:
    """How well pairs of columns are kept: means over pairs, NaN if there is no such pair; all in [0, 1].

    `correlation_similarity` is over pairs of numbers, `contingency_similarity` and `cramers_v_difference` (the mean
    absolute difference of Cramér's V) over the others, `column_pairs` over all. A pair without a correlation in the
    real rows (one is constant, say) is left out.
    """
    correlations = correlation_similarities(columns, real=real, synthetic=synthetic)
    of_real, of_synthetic = (contingency_tables(columns, real=real, rows=rows) for rows in (real, synthetic))
    contingencies = np.array([contingency_similarity(of_real[pair], of_synthetic[pair]) for pair in of_real])
    associations = np.array([abs(cramers_v(of_real[pair]) - cramers_v(of_synthetic[pair])) for pair in of_real])
    return {
        "column_pairs": mean_of(np.concatenate([correlations, contingencies])),
        "correlation_similarity": mean_of(correlations),
        "contingency_similarity": mean_of(contingencies),
        "cramers_v_difference": mean_of(associations),
    }


def correlation_similarities(columns: Sequence[Column], *, real: pd.DataFrame, synthetic: pd.DataFrame) -> np.ndarray:
    """1 - |rho_real - rho_synthetic| / 2 with Pearson's rho, for each pair of numbers: CorrelationSimilarity.

    NaN if rho is undefined in the real rows. A synthetic column that has become constant has rho = 0; SDMetrics leaves
    its pairs out, and so misses its collapse.
    """
    names = [column.name for column in columns if column.is_number]
    above = np.triu_indices(len(names), k=1)
    of_real, of_synthetic = (correlations(rows[names])[above] for rows in (real, synthetic))
    return 1.0 - np.abs(of_real - np.nan_to_num(of_synthetic)) / 2.0


def correlations(numbers: pd.DataFrame) -> np.ndarray:
    """Pearson's rho of each pair of columns, over rows in which neither is missing; NaN beside a constant."""
    matrix = numbers.astype(np.float64).corr().to_numpy()
    is_constant = (numbers.nunique() < 2).to_numpy()  # a constant's variance may be a rounding error above 0
    return np.where(is_constant[:, None] | is_constant, np.nan, matrix)


def contingency_tables(
    columns: Sequence[Column], *, real: pd.DataFrame, rows: pd.DataFrame
) -> dict[tuple[str, str], np.ndarray]:
    """Counts of each pair of columns that are not both numbers; numbers are in bins of the real ones, gaps last."""
    edges = {each.name: bin_edges(real[each.name]) if each.is_number else None for each in columns}
    coded = {each.name: coded_values(each, rows[each.name], edges=edges[each.name]) for each in columns}
    tables = {}
    for first, second in combinations(columns, 2):
        if not (first.is_number and second.is_number):
            (codes, num_codes), (others, num_others) = coded[first.name], coded[second.name]
            joint = np.bincount(codes * num_others + others, minlength=num_codes * num_others)
            tables[first.name, second.name] = joint.reshape(num_codes, num_others)
    return tables


def coded_values(column: Column, values: pd.Series, *, edges: np.ndarray | None) -> tuple[np.ndarray, int]:
    """Indices of categories, or of bins with open outer ones, and how many there are; the last is of missing values."""
    if edges is None:
        codes, num_codes = column.codes(values), len(column.categories) + 1
        return np.where(codes < 0, num_codes - 1, codes), num_codes
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isnan(numbers), len(edges) - 1, np.searchsorted(edges[1:-1], numbers, side="right")), len(edges)


def bin_edges(real: pd.Series) -> np.ndarray:
    """Edges of ten bins of equal width over the real numbers, the outer ones open; fewer if float64 cannot hold ten."""
    numbers = real.dropna().to_numpy(dtype=np.float64)
    try:
        edges = np.histogram_bin_edges(numbers, bins=NUM_BINS)
    except ValueError:  # the numbers are neighbouring floats: a bin for each
        edges = np.append(np.unique(numbers), np.inf)
    edges[0], edges[-1] = -np.inf, np.inf
    return edges


def contingency_similarity(real: np.ndarray, synthetic: np.ndarray) -> float:
    """1 - the total variation distance of two tables of counts, as shares: ContingencySimilarity."""
    return 1.0 - total_variation(real / real.sum(), synthetic / synthetic.sum())


def cramers_v(counts: np.ndarray) -> float:
    """Cramér's V of counts (Cramér 1946, Mathematical Methods of Statistics, chapter 21), in [0, 1]; constants: 0."""
    counts = counts[counts.any(axis=1)][:, counts.any(axis=0)]
    return 0.0 if min(counts.shape) < 2 else float(association(counts, method="cramer"))


def association_matrix(columns: Sequence[Column], *, real: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
    """Pearson's rho of each two numbers of `rows` (NaN if undefined), else Cramér's V with numbers in real bins."""
    names = [column.name for column in columns]
    numbers = [column.name for column in columns if column.is_number]
    found = pd.DataFrame(1.0, index=names, columns=names)
    found.loc[numbers, numbers] = correlations(rows[numbers])
    for (first, second), counts in contingency_tables(columns, real=real, rows=rows).items():
        found.loc[first, second] = found.loc[second, first] = cramers_v(counts)
    return found.to_numpy()


def mean_of(scores: np.ndarray) -> float:
    """The mean of the scores that are not NaN; NaN if there is none."""
    known = scores[~np.isnan(scores)]
    return float(known.mean()) if known.size else math.nan


def table_picture(table: Table, *, real: pd.DataFrame, synthetic: pd.DataFrame) -> dict[str, Any]:
    """Histograms and associations of real and synthetic columns, names of classes, and the first synthetic rows.

    Real rows never appear one by one: a page is shared more widely than a table.
    """
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
        width = max(1.0, np.ceil((high - low + 1.0) / PICTURED_BINS))
        return np.arange(np.floor(low) - 0.5, high + 0.5 + width, width)
    return np.linspace(low, high, PICTURED_BINS + 1) if high > low else np.array([low - 0.5, low + 0.5])


def example_rows(columns: Sequence[Column], rows: pd.DataFrame) -> list[list[dict[str, Any]]]:
    """Rows as texts, "" for a missing value, each marked if it is invalid in its column."""
    invalid = {column.name: is_outside(column, rows[column.name]) for column in columns}
    return [
        [{"text": text(rows[name].iloc[place]), "is_outside": bool(bad[place])} for name, bad in invalid.items()]
        for place in range(len(rows))
    ]


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
