"""From a command line to an `Experiment`: how Hydra composes it, its schema, and early refusals."""
