"""Causes: defects of the real training set that a chain begins with."""
