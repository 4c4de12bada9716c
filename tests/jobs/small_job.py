"""A job as those see it who only watch it."""

from collapsar.jobs.processes import Job


def job_in(folder, *, number=1, title="", num_generations=1):
    """A job of this folder that cannot run: it has no config."""
    job = object.__new__(Job)
    vars(job).update(folder=folder, number=number, title=title, num_generations=num_generations)
    return job
