"""Formulas of the metrics: functions of features and labels; UsageError if these fail `collapsar.metrics.checks`."""
