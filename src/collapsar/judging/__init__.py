"""How a generation is judged: feature spaces, the real side, its floor, and the table of metrics."""
