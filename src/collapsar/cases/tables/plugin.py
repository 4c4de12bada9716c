"""Register the metric keys of tables, and a section of the page with columns, associations and rows."""

from collapsar.judging.metric_keys import COLUMNS, DOWNSTREAM, NOT_NEGATIVE, SHARE, Metric, MetricKey, add_metric
from collapsar.report.sections import Section, add_section

add_metric(
    "table_downstream",
    Metric(
        also=("downstream_accuracy", "downstream_f1", "downstream_f1_class_{index}", "downstream_auc"),
        of_first_space=True,
        needs="classes",
        keys={
            "downstream_auc_worst_group": MetricKey("Downstream AUC worst group", DOWNSTREAM, SHARE, "higher"),
            "downstream_calibration_error": MetricKey("Downstream calibration error", DOWNSTREAM, SHARE, "lower"),
            "downstream_brier": MetricKey("Downstream Brier score", DOWNSTREAM, SHARE, "lower"),
            "downstream_auc_linear": MetricKey("Downstream AUC, linear", DOWNSTREAM, SHARE, "higher"),
            "downstream_f1_linear": MetricKey("Downstream F1, linear", DOWNSTREAM, SHARE, "higher"),
            "downstream_calibration_error_linear": MetricKey(
                "Downstream calibration error, linear", DOWNSTREAM, SHARE, "lower"
            ),
            "downstream_brier_linear": MetricKey("Downstream Brier score, linear", DOWNSTREAM, SHARE, "lower"),
        },
    ),
)
add_metric(
    "table_columns",
    Metric(
        of_first_space=True,
        keys={
            "column_shapes": MetricKey("Column shapes", COLUMNS, SHARE, "higher", is_headline=True),
            "categories_dropped": MetricKey("Categories dropped", COLUMNS, NOT_NEGATIVE, "lower"),
            "rows_outside": MetricKey("Rows outside the valid domain", COLUMNS, SHARE, "lower"),
            "boundary_adherence": MetricKey("Boundary adherence", COLUMNS, SHARE, "higher"),
            "missing_similarity": MetricKey("Missing value similarity", COLUMNS, SHARE, "higher"),
            "column_shape": MetricKey("Column shape", COLUMNS, SHARE, "higher"),
        },
    ),
)
add_metric(
    "table_pairs",
    Metric(
        of_first_space=True,
        keys={
            "column_pairs": MetricKey("Column pairs", COLUMNS, SHARE, "higher", is_headline=True),
            "correlation_similarity": MetricKey("Correlation similarity", COLUMNS, SHARE, "higher"),
            "contingency_similarity": MetricKey("Contingency similarity", COLUMNS, SHARE, "higher"),
            "cramers_v_difference": MetricKey("Cramér's V, difference", COLUMNS, SHARE, "lower"),
        },
    ),
)


add_section(Section(name="tables", title="The table", content="collapsar.cases.tables.table_pictures:content"))
