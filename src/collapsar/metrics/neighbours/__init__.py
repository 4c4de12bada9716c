"""Precision, recall, density, coverage and their descendants, from nearest neighbours in tiles of bounded memory."""

from collapsar.metrics.neighbours.scores import NeighbourScores, neighbour_scores

__all__ = ["NeighbourScores", "neighbour_scores"]
