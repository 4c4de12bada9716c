"""From a trained model to the next pool's samples: drawing, correction, selection, labels."""
