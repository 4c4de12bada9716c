"""Tables of mixed columns: their sources, encoding, models, metrics and pictures."""
