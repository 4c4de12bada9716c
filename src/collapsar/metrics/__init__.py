"""How a generation is judged: features, then statistics, then distances.

Functions here know tensors only; they import neither data nor models.
"""
