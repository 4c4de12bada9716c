"""How a pool becomes a trained model; the only place that knows a Lightning Trainer."""
