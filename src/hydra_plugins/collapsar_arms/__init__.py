"""The sweeper that runs a list of arms; Hydra finds it below `hydra_plugins`."""
