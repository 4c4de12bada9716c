"""Training data: real sets, pools, and the regimes that make the next pool."""
