"""How a trained model's samples become what the next pool gets."""
