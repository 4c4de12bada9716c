"""Three stacked MNIST digits: 1,000 modes to count."""
