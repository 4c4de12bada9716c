"""A callback of Hydra's that kills the process of some jobs."""

import os
import signal

from hydra.experimental.callback import Callback


class Dying(Callback):
    """Kills the process of every job with this seed, as a machine without memory would."""

    def __init__(self, seed):
        self.seed = seed

    def on_job_start(self, config, **kwargs):
        if config.seed == self.seed:
            os.kill(os.getpid(), signal.SIGKILL)
