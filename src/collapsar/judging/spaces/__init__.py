"""Feature spaces: networks and projections that embed samples before metrics compare them."""
