"""The report: one self-contained page, a table for the terminal, exports and figures, all made from the records."""
