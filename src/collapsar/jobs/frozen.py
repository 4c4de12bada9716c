"""What the fork server imports, for all jobs: a fork that collects garbage would copy every page of what is there."""

import atexit
import gc
from importlib import import_module

IMPORTED = [  # what most chains import
    *("lightning.pytorch", "torchmetrics", "collapsar.chain.run", "collapsar.config.experiment"),
    *("collapsar.config.forecast", "collapsar.jobs.job", "collapsar.report.page", "collapsar.report.tables"),
    "collapsar.training.train",
]

gc.disable()  # looking for garbage takes a fifth of the time of the imports
for name in IMPORTED:
    import_module(name)
gc.freeze()
gc.enable()
atexit.register(gc.unfreeze)  # or libraries report at the end what is frozen as leaked
