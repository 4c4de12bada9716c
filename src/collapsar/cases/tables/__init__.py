"""Rows of mixed columns as vectors: what a column is, and how its values are encoded and read back."""
