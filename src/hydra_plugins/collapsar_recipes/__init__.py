"""The source of recipes, with all recipes of a data set in one file; Hydra finds it below `hydra_plugins`."""
