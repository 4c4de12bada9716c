"""The command `collapsar`: one experiment, or a Hydra multirun.

A mistake of the user's gets one line on stderr and exit code 2; HYDRA_FULL_ERROR=1 shows the traceback.
"""

import logging
import os
import sys
import warnings
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from collapsar import composition
from collapsar.errors import NonFiniteError, UsageError

USAGE_EXIT_CODE = 2
logger = logging.getLogger("collapsar")


def run_job(config: DictConfig) -> None:
    """Run one chain, and leave its page and its table."""
    quieten_libraries()
    console = Console(stderr=True)
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    settings = composition.settings(config)
    chain = composition.chain_name(_root_=config)
    experiment = composition.build(config)
    experiment.run(folder, chain=chain, config=settings, console=console)
    composition.present([folder], page=folder / "report.html")


def quieten_libraries() -> None:
    """Keep what Lightning says of itself out of the way of what the chain says."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")


def main() -> None:
    """Compose, check and run; turn a user's mistake into one line."""
    wants_traceback = bool(os.environ.get("HYDRA_FULL_ERROR"))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra would print a traceback and exit; the line is ours to write
    composition.register()
    command = hydra.main(version_base="1.3", config_path=str(composition.config_folder()), config_name="config")(
        run_job
    )
    try:
        command()
    except (UsageError, HydraException, OmegaConfBaseException, NonFiniteError, OSError) as error:
        if wants_traceback:
            raise
        sys.stderr.write(f"collapsar: {one_line(error)}\n")
        sys.exit(1 if isinstance(error, NonFiniteError) else USAGE_EXIT_CODE)


def one_line(error: BaseException) -> str:
    """The error's text on one line; of a chain of Hydra's errors, the one that says what is wrong."""
    return " ".join(str(error).split())


if __name__ == "__main__":
    main()
