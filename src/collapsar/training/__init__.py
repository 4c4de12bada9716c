"""How a pool becomes a trained model; the only room that makes a Lightning Trainer."""
