"""Stacked MNIST: images of three digits, with 1,000 modes to count."""
