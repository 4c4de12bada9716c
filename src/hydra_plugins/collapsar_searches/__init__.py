"""Hydra finds the sweepers of a package below `hydra_plugins`: these look for the best chain, or the first good one."""
