"""`scripts/bench` and `collapsar-bench`: speed and memory, ours beside the plain way."""
