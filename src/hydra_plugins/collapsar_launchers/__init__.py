"""Launchers that run the jobs of a multirun side by side; Hydra finds them below `hydra_plugins`."""
