"""Multiruns: their jobs, and the table and the page over all their chains, which is written while they run."""

import json
import logging
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from collapsar.config import composition
from collapsar.config.choices import SHARED_VARIABLE
from collapsar.config.command_line import as_typed
from collapsar.foundations.chosen import Chosen
from collapsar.foundations.errors import UsageError
from collapsar.foundations.settings import SEEDS, arm_settings, digest
from collapsar.foundations.words import counted

if TYPE_CHECKING:
    from collapsar.study.study import Study

logger = logging.getLogger(__name__)

NUM_JOBS_VARIABLE = "COLLAPSAR_NUM_JOBS"  # passes the number of jobs on to every process of a multirun
QUIET = "hydra._internal.core_plugins.basic_launcher"  # its lines would stand beside ours
LENGTHS_VARIABLE = "COLLAPSAR_LENGTHS"  # the same for the lengths that arms keep, by study and arm
run_folders: list[Path] = []  # of the chains of this command, in the order of their jobs
begun: list[float] = []  # when each job of this multirun began, if they run one after another in this process
LOG = "job.log"  # in the folder of a chain
PAGE = "report.html"  # in the folder of a study, and in that of a chain
SHARE = 0.03  # of the time, at most, that the writing takes
MIN_SECONDS, FIRST_SECONDS = 3.0, 0.3  # between two pages, and what writing the first one is taken to cost


class StudySummary(Callback):
    """Count the jobs when a multirun starts; show and mirror its study, a table and a page, when it ends."""

    def __init__(self, *, is_table_printed: bool = True) -> None:
        self.is_table_printed = is_table_printed

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        os.environ.pop(LENGTHS_VARIABLE, None)
        with suppress(HydraException, UsageError):  # the sweeper will refuse the same overrides
            os.environ[NUM_JOBS_VARIABLE] = str(count_jobs(config))
            os.environ[SHARED_VARIABLE] = json.dumps(shared_overrides(config))
        if runs_here(config.hydra) and not config.get("dry_run"):
            logging.getLogger(QUIET).setLevel(logging.WARNING)
            begun.clear()
            if number := num_jobs():
                logger.info("%s, one after another; details are in %s of each run folder", counted(number, "job"), LOG)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        has_outcome = any(any(folder.rglob(name)) for name in ("records.jsonl", "profile.json"))
        if has_outcome and not config.get("dry_run"):
            from collapsar.report.sections.answer import headline

            study = show_results(folder, is_printed=self.is_table_printed)
            answer = f"{counted(len(study.chains), 'chain')}. {headline(study.summaries)}"
            tracking, is_alert = instantiate(config.tracking, _convert_="object"), config.alarm.action != "warn"
            tracking.add_study(folder, name=str(config.name), page=folder / PAGE, answer=answer, is_alert=is_alert)


def count_jobs(config: DictConfig) -> int:
    """The number of jobs of a multirun; 0 if its sweeper decides as it goes on."""
    params, typed = given_overrides(config)
    arms = config.hydra.sweeper.get("arms", [""])
    return len(arm_jobs(arms, params=params, typed=typed)) if is_grid(config.hydra) else 0


def shared_overrides(config: DictConfig) -> list[str] | None:
    """The overrides that all arms of a multirun have; None if its jobs differ in their seeds alone."""
    params, typed = given_overrides(config)
    has_arms = not is_grid(config.hydra) or len(config.hydra.sweeper.get("arms", [])) > 1
    overrides = OverridesParser.create().parse_overrides([*(params if is_grid(config.hydra) else []), *typed])
    has_arms |= any(each.is_sweep_override() and each.get_key_element() not in SEEDS for each in overrides)
    return [str(each.input_line) for each in overrides if not each.is_sweep_override()] if has_arms else None


def given_overrides(config: DictConfig) -> tuple[list[str], list[str]]:
    """The overrides of a multirun: the sweeper's `params`, and those that were typed."""
    params = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    typed: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    return params, typed


def arm_jobs(
    arms: Sequence[str | None], *, params: Sequence[str], typed: Sequence[str], loader: ConfigLoader | None = None
) -> list[list[str]]:
    """The overrides of every job: each arm with every combination of what is swept.

    An arm is its own overrides, separated by spaces. They come after `params`, which every arm has; typed ones come
    last and win. The loader finds the choices of a group for sweeps over them (`glob`). Every arm has its first seed
    before any has its second, so a comparison that is stopped early has fewer seeds, not fewer arms.
    """
    if not arms:
        raise UsageError('hydra.sweeper.arms must name at least one arm: got []; [""] is the baseline alone')
    parser = OverridesParser.create(config_loader=loader)
    first, last = parser.parse_overrides(list(params)), parser.parse_overrides(list(typed))
    found = []
    for arm in arms:
        try:
            own = parser.parse_overrides([as_typed(override, may_sweep=True) for override in (arm or "").split()])
        except (HydraException, UsageError) as error:
            raise UsageError(f"hydra.sweeper.arms: {arm!r} is not a list of overrides: {error}") from error
        found += BasicSweeper.split_arguments([*first, *own, *last], max_batch_size=None)  # one batch
    in_turn = (tuple(job) for turn in zip_longest(*found) for job in turn if job is not None)
    return [list(job) for job in dict.fromkeys(in_turn)]


def chosen_for(config: DictConfig, folder: Path) -> Chosen:
    """What was chosen for the job of this run folder, with a name that no other arm of its study has."""
    return composition.chosen_arm(config, beside=[folder, *folder.parent.glob(composition.RUNS)])


def keep_length(config: DictConfig, *, hydra_config: Any, folder: Path) -> None:
    """Lower `num_generations` to the length that the arm of this run folder keeps, unless `extend` extends the arm.

    A multirun decides once, before its first job, and every process gets the decision.
    """
    if config.get("extend") is None:
        return
    own, is_alone = digest(arm_settings(composition.settings(config))), hydra_config.mode != RunMode.MULTIRUN
    study = folder.parent if is_alone else Path(hydra_config.sweep.dir)
    known = {} if is_alone else json.loads(os.environ.get(LENGTHS_VARIABLE, "{}"))
    if str(study) not in known:
        runs = sorted(path.parent for path in study.glob("*/records.jsonl" if is_alone else "**/records.jsonl"))
        kept = _kept_lengths(runs, wanted=config.num_generations, only=own if is_alone else "") if runs else {}
        known[str(study)] = kept
        if not is_alone:
            os.environ[LENGTHS_VARIABLE] = json.dumps(known)
    config.num_generations = min(config.num_generations, known[str(study)].get(own, config.num_generations))


def _kept_lengths(runs: Sequence[Path], *, wanted: int, only: str) -> dict[str, int]:
    """Lengths of arms without a censored chain, by the digest of their settings; logs what becomes of shorter arms."""
    from collapsar.study.study import read_study
    from collapsar.study.survival import has_lost_recall

    kept = {}
    for key, arm in ((digest(arm.settings), arm) for arm in read_study(runs).arms):
        lengths, of = sorted({chain.num_generations for chain in arm.distinct}), counted(len(arm.distinct), "chain")
        lasting = [chain for chain in arm.distinct if not has_lost_recall(chain)]
        # An open chain that `extend` itself runs to the length of its arm does not count.
        num_censored = sum(not (chain.is_open and chain.config.get("extend")) for chain in lasting)
        why = f"recall is not halved in {num_censored} of {of}" if num_censored else "its chains differ in length"
        text = f"is extended to {counted(wanted, 'generation')}: {why}"
        if not num_censored and len(lengths) == 1:
            kept[key] = lengths[0]
            text = f"keeps its {counted(lengths[0], 'generation')}: recall is halved in {of}"
        if only in ("", key) and lengths[0] < wanted:
            logger.info("%s %s", arm.name, text)
    return kept


def runs_here(hydra_config: Any) -> bool:
    """Whether jobs run in this process, one after another."""
    return str(hydra_config.launcher._target_).endswith("BasicLauncher")


def is_grid(hydra_config: Any) -> bool:
    """Whether a multirun takes every combination of what is swept, for each of its arms if it has any."""
    return str(hydra_config.sweeper._target_).endswith(("BasicSweeper", "ArmsSweeper"))


def is_optimised(hydra_config: Any) -> bool:
    """Whether a multirun searches for the best chain and so needs an objective."""
    sweeper = hydra_config.sweeper
    return hydra_config.mode == RunMode.MULTIRUN and ("direction" in sweeper or "at_least" in sweeper)


def job_number(hydra_config: Any) -> str:
    """Which job of a multirun this is, in words; empty for a single chain."""
    if hydra_config.mode != RunMode.MULTIRUN:
        return ""
    number, of = int(hydra_config.job.num) + 1, num_jobs()
    return f"job {number} of {of}, {of - number} left" if of else f"job {number}"


def num_jobs() -> int:
    """The number of jobs of the multirun that this process belongs to; 0 if unknown."""
    return int(os.environ.get(NUM_JOBS_VARIABLE, "0"))


class WatchedPage:
    """The page over the folder of a study, or of a chain that runs alone; call it after each generation.

    One process at a time writes it, at most every few seconds and for a small share of the time; the others go on.
    Beside it lie its lock, and a file whose time of change is when the next page is due. `num_chains` is 0 if unknown.
    """

    def __init__(self, folder: Path, *, num_chains: int) -> None:
        self.folder, self.page, self.num_chains = folder, folder / PAGE, num_chains
        self._due = folder / f".{PAGE}.due"
        self._has_failed = False

    def __call__(self) -> None:
        if self._has_failed:
            return
        with suppress(Timeout, NotImplementedError, OSError), FileLock(f"{self._due}.lock", timeout=0):
            if not self._due.exists():
                self._set_due(FIRST_SECONDS)
            if self._due.stat().st_mtime <= time.time():
                self._write()

    def _set_due(self, seconds: float) -> None:
        """Let the next page wait until a page that takes these seconds to write is a small share of the time."""
        due = time.time() + max(MIN_SECONDS, seconds / SHARE)
        self._due.touch()
        os.utime(self._due, (due, due))

    def _write(self) -> None:
        from collapsar.report.page import write_page
        from collapsar.study.study import read_study

        start = time.time()
        try:
            study = read_study([self.folder])
            total = max(self.num_chains, len(study.chains))
            done = f"{sum(not chain.is_open for chain in study.chains)} of {counted(total, 'chain')}"
            if total == 1:
                done = counted(len(study.chains[0].records), "generation")
            write_page(study, self.page, notice=f"{done} done at {time.strftime('%Y-%m-%d %H:%M:%S')}")
        except Exception as error:  # a section of a plug-in may fail in any way, and no chain must end by it
            self._has_failed = True
            logger.warning("%s is written when the chains are done: %s: %s", self.page, type(error).__name__, error)
        self._set_due(time.time() - start)


def show_results(folder: Path, *, is_printed: bool = True) -> "Study":
    """Print the table of the chains in a folder, if wanted, and write their page; returns their study."""
    from collapsar.report.page import write_page
    from collapsar.report.tables import report_tables
    from collapsar.study.study import read_study

    study = read_study([folder])
    if is_printed:
        make_console().print(report_tables(study))
    logger.info("page: %s", write_page(study, folder / PAGE))
    for left in folder.glob(f".{PAGE}.due*"):  # of the pages before (`WatchedPage`)
        left.unlink(missing_ok=True)
    return study


def make_console() -> Console:
    """The console for progress and tables; without a terminal, wide enough for a table."""
    console = Console(stderr=True)
    return console if console.is_terminal else Console(stderr=True, width=120)
