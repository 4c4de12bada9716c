"""A multirun whose jobs run side by side: what each gets of the machine, how they are watched, and which failed."""
