"""The command `collapsar`: one experiment, or a Hydra multirun.

A mistake of the user's gets one line on stderr and exit code 2, a chain that broke down numerically one line and exit
code 1; HYDRA_FULL_ERROR=1 shows the traceback. In a multirun the other jobs still run.
"""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from collapsar import composition
from collapsar.errors import NonFiniteError, UsageError

USAGE_EXIT_CODE, BREAKDOWN_EXIT_CODE = 2, 1
EXPECTED_ERRORS = (UsageError, NonFiniteError, HydraException, OmegaConfBaseException, OSError)

wants_traceback = bool(os.environ.get("HYDRA_FULL_ERROR"))
failures: list[Exception] = []  # of the jobs of this process; Hydra's own report of them would be a traceback


def run_job(config: DictConfig) -> None:
    """Run one chain, and leave its page and its table."""
    quieten_libraries()
    with expected_errors_noted():
        settings = composition.settings(config)
        chain = composition.chain_name(_root_=config)
        experiment = composition.build(config)
        folder = Path(HydraConfig.get().runtime.output_dir)
        console, position = composition.make_console(), composition.position(HydraConfig.get())
        experiment.run(folder, chain=chain, config=settings, console=console, position=position)
        composition.present([folder], page=folder / "report.html")


@contextmanager
def expected_errors_noted() -> Iterator[None]:
    """Keep an expected error for the end of the command, so that the other jobs of a multirun go on."""
    try:
        yield
    except EXPECTED_ERRORS as error:
        is_in_this_process = HydraConfig.get().launcher._target_.endswith("BasicLauncher")
        if wants_traceback or not is_in_this_process:
            raise
        failures.append(error)


def quieten_libraries() -> None:
    """Keep what Lightning says of itself out of the way of what the chain says."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")


def main() -> None:
    """Compose, check and run; turn a user's mistake into one line."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra would print a traceback and exit; the line is ours to write
    composition.register()
    conf = str(composition.config_folder())
    try:
        hydra.main(version_base="1.3", config_path=conf, config_name="config")(run_job)()
    except EXPECTED_ERRORS as error:
        if wants_traceback:
            raise
        failures.append(error)
    except KeyboardInterrupt:
        sys.stderr.write("collapsar: interrupted; the same command continues after the last finished generation\n")
        sys.exit(130)
    for failure in failures:
        sys.stderr.write(f"collapsar: {one_line(failure)}\n")
    if failures:
        sys.exit(BREAKDOWN_EXIT_CODE if isinstance(failures[0], NonFiniteError) else USAGE_EXIT_CODE)


def one_line(error: BaseException) -> str:
    """What is wrong, the value, and what is allowed, on one line."""
    match error, error.__cause__:
        case OSError(filename=str()), _:
            text = f"cannot use {error.filename}: {error.strerror}; hydra.run.dir names the output folder"
        case _, OmegaConfBaseException() as cause if cause.parent_node is not None:
            text = f"{cause.full_key}: {str(cause.msg).splitlines()[0]}"
            if isinstance(cause.parent_node, DictConfig) and cause.key not in cause.parent_node:
                keys = [str(key) for key in cause.parent_node if not str(key).startswith("_")]
                close = get_close_matches(str(cause.key), keys, n=1)
                hint = f"did you mean {close[0]}? " if close else ""
                text = f"{cause.full_key} is not an option: {hint}allowed are {', '.join(keys)}"
        case _:
            text = str(error).partition("Config search path")[0]
    return " ".join(text.split())


if __name__ == "__main__":
    main()
