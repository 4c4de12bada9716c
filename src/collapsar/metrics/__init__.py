"""Formulas of the metrics: functions of feature tensors and labels, without data sets, models or feature spaces."""
