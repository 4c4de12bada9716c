"""The front door from Python: models by recipe, data for a Lightning Trainer, and chains, as the commands make them."""
