"""Sweepers that search for the best chain, or the first good one; Hydra finds them below `hydra_plugins`."""
