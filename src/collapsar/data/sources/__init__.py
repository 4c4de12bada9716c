"""Where real data come from."""
