"""What every room is built on: errors, files, random streams, samples, and the record and settings of a chain."""

__version__ = "0.2.0"
