"""One chain: the loop over generations."""
