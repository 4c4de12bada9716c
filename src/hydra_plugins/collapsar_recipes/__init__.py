"""Hydra finds the sources of a package below `hydra_plugins`: this one has the recipes of a data set in one file."""
