"""Variational autoencoders: likelihood, networks and training."""
