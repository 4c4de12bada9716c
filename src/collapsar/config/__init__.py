"""From a command line to an `Experiment`: composition by Hydra, the schema, and early refusals."""
