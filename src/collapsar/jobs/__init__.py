"""Multiruns: jobs side by side, their shares of a machine, searches, and the page over a study."""
