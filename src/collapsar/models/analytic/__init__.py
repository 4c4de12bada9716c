"""Models that a formula fits: the closed forms of `collapsar.theory` hold for them."""
