"""Precision, recall, density, coverage and their variants, from exact nearest neighbours in bounded memory."""

from collapsar.metrics.neighbours.scores import NeighbourScores, neighbour_scores

__all__ = ["NeighbourScores", "neighbour_scores"]
