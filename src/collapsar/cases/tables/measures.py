"""The metrics of tables (`collapsar.judging.suite`): only for samples that are rows, and in the first space only."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, count

import numpy as np
import pandas as pd
import torch

from collapsar.cases.tables.columns import (
    boundary_adherence,
    column_shape,
    mean_of,
    missing_similarity,
    num_categories_dropped,
    pair_scores,
    share_outside,
)
from collapsar.cases.tables.names import find_name
from collapsar.cases.tables.predictors import Labelled, TableTask, predict, score_predictions
from collapsar.cases.tables.schema import Column, Table
from collapsar.data.real_data import RowFormat
from collapsar.judging.comparison import Comparison
from collapsar.judging.downstream import area_under_curve
from collapsar.judging.measuring import ExtraMetrics, Measure
from collapsar.samples import Samples

MOST_PARTS = 64  # columns or groups of rows that get their own keys; means are over all
LONGEST_NAME = 40  # characters of a column's name in a key
SUBGROUP = "evaluation.table.task.subgroup"
LINEAR_SCORES = ("auc", "f1", "calibration_error", "brier")  # of logistic regression; boosting has all


def columns(comparison: Comparison) -> dict[str, float]:
    """column_shapes, boundary_adherence, rows_outside, missing_similarity, categories_dropped; column/NAME/...."""
    table = comparison.real.table
    if not isinstance(table, Table):
        return {}
    real, rows = comparison.real.rows, comparison.rows
    sides = {each: {"real": real[each.name], "synthetic": rows[each.name]} for each in table.columns}
    shapes = {each.name: column_shape(each, **both) for each, both in sides.items()}
    dropped = {each.name: num_categories_dropped(each, **both) for each, both in sides.items() if not each.is_number}
    adherence = [boundary_adherence(each, rows[each.name]) for each in table.columns if each.is_number]
    missing = [missing_similarity(**both) for each, both in sides.items() if each.may_be_missing]
    keys = safe_names(shapes)
    return {
        "column_shapes": mean_of(np.array([*shapes.values()])),
        "boundary_adherence": mean_of(np.array(adherence)),
        "rows_outside": share_outside(table.columns, rows),
        "missing_similarity": mean_of(np.array(missing)),
        **({"categories_dropped": float(sum(dropped.values()))} if dropped else {}),
        **{f"column/{key}/column_shape": shapes[name] for name, key in keys.items()},
        **{f"column/{key}/categories_dropped": float(dropped[name]) for name, key in keys.items() if name in dropped},
    }


def pairs(comparison: Comparison) -> dict[str, float]:
    """column_pairs, correlation_similarity, contingency_similarity and cramers_v_difference."""
    table = comparison.real.table
    if not isinstance(table, Table):
        return {}
    return pair_scores(table.columns, real=comparison.real.rows, synthetic=comparison.rows)


def downstream(comparison: Comparison, *, task: TableTask) -> dict[str, float]:
    """downstream_auc, .._f1, .._calibration_error and .._brier of boosting; with _linear, of logistic regression.

    Boosting alone gives downstream_accuracy, downstream_f1_class_0.., group/NAME/downstream_auc and
    downstream_auc_worst_group.
    """
    table = comparison.real.table
    if not isinstance(table, Table) or not table.class_names:
        return {}
    train, test = (labelled(table, samples) for samples in (comparison.samples, comparison.real.held_out))
    boosted, linear = (
        predict(predictor, train, test, num_classes=len(table.class_names))
        for predictor in (task.boosting(), task.linear())
    )
    scores, linear_scores = (
        score_predictions(probabilities, classes=test.classes, num_bins=task.num_bins)
        for probabilities in (boosted, linear)
    )
    values = {f"downstream_{name}": score for name, score in scores.items()}
    if task.subgroup is not None:
        by_name = {column.name: column for column in table.columns}
        column = by_name[find_name(SUBGROUP, task.subgroup, by_name)]
        groups = row_groups(column, comparison.real.rows[column.name])
        values |= scores_by_group(groups, boosted, classes=test.classes)
    return values | {f"downstream_{name}_linear": linear_scores[name] for name in LINEAR_SCORES}


def labelled(table: Table, samples: Samples) -> Labelled:
    """Features and classes for predictors: a row's target gives its class and is not a feature."""
    values = samples.values.cpu()
    classes = table.classes(values)
    assert classes is not None, "there are class names"
    is_target = torch.zeros(values.shape[1], dtype=torch.bool)
    is_target[table.target_column.block] = True
    return Labelled(features=values[:, ~is_target].double().numpy(), classes=classes.numpy())


def scores_by_group(
    groups: Mapping[str, np.ndarray], probabilities: np.ndarray, *, classes: np.ndarray
) -> dict[str, float]:
    """AUC of each group of held-out rows, and the lowest of them."""
    areas = {
        f"group/{key}/downstream_auc": area_under_curve(probabilities[groups[name]], classes=classes[groups[name]])
        for name, key in safe_names(groups).items()
    }
    known = [area for area in areas.values() if np.isfinite(area)]
    return areas | ({"downstream_auc_worst_group": min(known)} if known else {})


def row_groups(column: Column, values: pd.Series) -> dict[str, np.ndarray]:
    """The rows of each category, or of the lower and the upper half of numbers; no groups if all are missing."""
    if not column.is_number:
        return {name: (values == name).to_numpy(dtype=bool) for name in column.categories}
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isnan(numbers).all():
        return {}
    middle = float(np.nanmedian(numbers))
    return {f"at most {middle:g}": numbers <= middle, f"above {middle:g}": numbers > middle}


def safe_names(names: Iterable[str]) -> dict[str, str]:
    """Distinct keys for the first names; of a to z, 0 to 9 and _ only, so that none can end a line, a path or a tag."""
    keys: dict[str, str] = {}
    for name in list(names)[:MOST_PARTS]:
        plain = unicodedata.normalize("NFKD", name).casefold()
        without_accents = re.sub(r"[\u0300-\u036f]", "", plain)
        stem = re.sub(r"[^a-z0-9]+", "_", without_accents).strip("_")[:LONGEST_NAME] or "unnamed"
        candidates = chain([stem], (f"{stem}_{number}" for number in count(2)))
        keys[name] = next(key for key in candidates if key not in keys.values())
    return keys


@dataclass(frozen=True, kw_only=True)
class TableMetrics(ExtraMetrics):
    """Extra metrics of tables: groups added to those of the evaluation if samples are rows of a table."""

    metrics: Sequence[str]
    task: TableTask

    def groups(self) -> Mapping[str, Measure]:
        return {"table_columns": columns, "table_pairs": pairs, "table_downstream": partial(downstream, task=self.task)}

    def check(self, table: RowFormat) -> None:
        assert isinstance(table, Table), "rows of a table"
        if self.task.subgroup is not None:
            find_name(SUBGROUP, self.task.subgroup, (column.name for column in table.columns))
