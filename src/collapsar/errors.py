"""The two ways a chain stops: what a user gave is wrong, or the numbers broke down."""


class UsageError(ValueError):
    """What the user gave cannot be used: the text says what is wrong, the value, and what is allowed."""


class NonFiniteError(ArithmeticError):
    """A loss or a sample is NaN or infinite: the text says where."""
