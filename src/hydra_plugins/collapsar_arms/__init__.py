"""Hydra finds the sweepers of a package below `hydra_plugins`: this one makes the jobs of a list of arms."""
