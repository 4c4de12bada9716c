"""Formulas of the metrics: functions of feature tensors and labels, without data sets, models or feature spaces.

All of them raise UsageError if features or labels fail their checks (`collapsar.metrics.checks`).
"""
