"""What is measured of tables alone: columns, pairs of columns, and predictors that learn from synthetic rows.

Names and definitions are SDMetrics' where it has them (https://docs.sdv.dev/sdmetrics), and equal to it in the tests.
Functions take rows as `Table.decode` gives them: categories as strings, numbers as numbers, what is missing as missing.
"""
