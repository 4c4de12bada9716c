"""The two ways a chain stops: what a user gave is wrong, or the numbers broke down."""


class UsageError(ValueError):
    """What the user gave cannot be used: the text says what is wrong, the value, and what is allowed."""


class NonFiniteError(ArithmeticError):
    """A loss or a sample is NaN or infinite: the text says where."""


def check_positive(**values: int | float) -> None:
    """Refuse the first value that is not above 0, by its name.

    Raises:
        UsageError: a value is 0 or negative.
    """
    for name, value in values.items():
        if not value > 0:
            raise UsageError(f"{name} must be above 0: got {value}")


def check_not_negative(**values: int | float) -> None:
    """Refuse the first value below 0, by its name.

    Raises:
        UsageError: a value is negative.
    """
    for name, value in values.items():
        if not value >= 0:
            raise UsageError(f"{name} must be at least 0: got {value}")


def check_fraction(**values: int | float) -> None:
    """Refuse the first value outside [0, 1], by its name.

    Raises:
        UsageError: a value is below 0 or above 1.
    """
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise UsageError(f"{name} must lie between 0 and 1: got {value}")
