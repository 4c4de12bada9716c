"""Lightning loggers that a user configured: each generation has its own copies.

Loggers that write files do so below the run folder:

RUN/SAVE_DIR/NAME/generation_003/                  a training that began with its first step
RUN/SAVE_DIR/NAME/generation_003_from_step_400/    one that continued after a kill
"""

import copy
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from collapsar.errors import UsageError

FOLDER = "logs"  # in the run folder, for files without a folder of their own
FILE_LOGGERS = (CSVLogger, TensorBoardLogger)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a training's loggers and callbacks write; `first_step` is above 0 if it continues after a kill."""

    folder: Path
    generation: int
    seed: int
    first_step: int = 0

    @property
    def version(self) -> str:
        """The version under which loggers write the training."""
        return f"generation_{self.generation:03d}" + (f"_from_step_{self.first_step}" if self.first_step else "")


def configured_loggers(configured: Any) -> list[Logger]:
    """The loggers that a recipe sets: none for null and false, a CSV file for true; UsageError for what is none."""
    if configured is None or isinstance(configured, bool):
        return [CSVLogger(FOLDER, name=None)] if configured else []
    loggers = list(configured) if isinstance(configured, list | tuple) else [configured]
    for logger in loggers:
        if not isinstance(logger, Logger):
            raise UsageError(f"trainer.logger must be false, true or a logger: got {configured!r}")
        if type(logger).__module__.startswith("lightning.") and not isinstance(logger, FILE_LOGGERS):
            raise UsageError(
                f"trainer.logger takes {' and '.join(each.__name__ for each in FILE_LOGGERS)} of Lightning's loggers: "
                f"got {type(logger).__name__}; for Weights & Biases set tracking=wandb"
            )
    return loggers


def placed(loggers: Iterable[Logger], place: Place | None) -> list[Logger]:
    """Copies of loggers for a training, which log its generation and seed.

    Their files lie below its place, or in an absolute `save_dir` in a folder named like the run folder. If the training
    starts from its first step, the files that an earlier start of it left are deleted.
    """
    copies: list[Any] = copy.deepcopy(list(loggers))
    if place is None:
        return copies
    for logger in copies:
        if isinstance(logger, FILE_LOGGERS):
            save_dir = Path(str(logger.save_dir))
            root = save_dir / place.folder.name if save_dir.is_absolute() else place.folder / save_dir
            version = place.version if logger._version is None else f"{logger._version}_{place.version}"
            vars(logger).update(_root_dir=str(root), _save_dir=str(root), _version=version)  # there are no setters
            folder = Path(logger.log_dir)
            for stale in [] if place.first_step else (folder, *folder.parent.glob(f"{folder.name}_from_step_*")):
                shutil.rmtree(stale, ignore_errors=True)
        logger.log_hyperparams({"generation": place.generation, "seed": place.seed})
    return copies
