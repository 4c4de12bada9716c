"""Road scenes drawn from known factors: whether rare combinations survive."""
