"""Flow matching: the velocity that turns noise into data, and its networks."""
