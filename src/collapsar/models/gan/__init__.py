"""Generative adversarial networks: losses, networks and training."""
