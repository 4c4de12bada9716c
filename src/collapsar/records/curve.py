"""The names in a reading of a training's curve (`curve.json`): step, epoch, losses, learning rates, gradient norms."""

LEARNING_RATE, GRADIENT_NORM = "learning_rate", "gradient_norm"  # of several networks, each with its network's name


def is_loss(name: str) -> bool:
    """Whether an entry of a reading is a loss."""
    return name not in ("step", "epoch") and not name.startswith((LEARNING_RATE, GRADIENT_NORM))
