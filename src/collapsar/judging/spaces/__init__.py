"""Feature spaces: networks and projections that samples are embedded with before they are compared."""
