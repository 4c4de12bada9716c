"""What is wrong with the real training set that a chain begins with."""
