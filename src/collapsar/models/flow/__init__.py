"""Flow matching: the velocity that leads noise to data, and its networks."""
