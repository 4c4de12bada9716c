"""What a chain runs on: devices and their memory, precision and threads, and signals that ask a process to stop."""
