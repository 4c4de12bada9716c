"""collapsar: what happens to a generative model trained on what the last one made, and what stops it.

Read `chain/loop.py` first: it is the loop, and everything else is a part of it.
"""

__version__ = "0.2.0"
