"""What a generation is trained on: real data, pools, and the regimes that make the next pool."""
