"""Run folders -> the report: one self-contained page, a table for the terminal, exports and figures.

Everything is made from the records: `chains` reads them, `arms` groups the chains that differ only in their seed,
`summaries` and the modules of statistics turn them into numbers, and `page`, `tables`, `exports` and `paper` show them.
"""
