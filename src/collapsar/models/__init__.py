"""Generative models over one abstract base: VAEs, GANs and flows as Lightning modules, and models fitted by formula."""
