"""Hydra finds the launchers of a package below `hydra_plugins`: these run the jobs of a multirun side by side."""
