"""Models that a formula fits; the closed forms of `collapsar.theory` describe their chains."""
