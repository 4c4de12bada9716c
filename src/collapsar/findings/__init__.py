"""The findings board: published claims about collapse as contracts, run and decided by `collapsar-findings`."""
