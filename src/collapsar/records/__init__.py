"""The record of a finished generation, and the settings that define a chain."""
