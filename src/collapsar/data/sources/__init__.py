"""Sources of real data."""
