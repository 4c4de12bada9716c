"""The report: one self-contained page, a table for the terminal, exports and figures, all made from the records.

`collapsar.study` reads run folders into chains, arms and statistics; `page`, `tables`, `exports` and `paper` show them.
"""
