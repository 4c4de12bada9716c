"""Devices and their memory, precision and threads of a chain, and signals that ask a process to stop."""
