"""The generative models, as Lightning modules over one abstract base."""
