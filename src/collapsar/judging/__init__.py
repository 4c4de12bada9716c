"""Evaluation of a generation: feature spaces, the real side, the floor, and the table of metrics."""
