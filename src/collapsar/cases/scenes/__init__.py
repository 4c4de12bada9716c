"""Road scenes drawn from known factors, to see whether rare combinations survive."""
