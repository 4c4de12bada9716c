"""Feature spaces: where real and synthetic samples are compared."""
